use super::*;
use crate::exit::Exit;
use crate::value::Shown;

fn json(given: &[&str]) -> String {
    let given: Vec<_> = given.iter().map(|text| (*text).to_owned()).collect();
    let Ok(Some(read)) = read(&given) else { panic!("{given:?} cannot be read") };
    serde_json::to_string(&Shown(&decode(&read))).unwrap()
}

fn wrong(text: &str) -> String {
    let Err(Stop::Failed(report)) = read(&[text.to_owned()]) else { panic!("{text:?} was taken") };
    assert_eq!(report.exit, Exit::Usage);
    assert!(report.what.contains("--where"), "{report:?}");
    report.why
}

#[test]
fn short_forms_are_the_managers_criteria() {
    for (short, long) in [
        ("agent=web-1", r#"{"eq":{"agent":"web-1"}}"#),
        (" agent = web-1 ", r#"{"eq":{"agent":"web-1"}}"#),
        ("agent==web-1", r#"{"eq":{"agent":"web-1"}}"#),
        ("agent=web-*", r#"{"match":{"agent":"web-*"}}"#),
        ("procedure=\"a*\"", r#"{"eq":{"procedure":"a*"}}"#),
        ("info.tenant=acme", r#"{"eq":{"info.tenant":"acme"}}"#),
        ("info.customer=7", r#"{"in":{"info.customer":[7,"7"]}}"#),
        ("info.customer=007", r#"{"eq":{"info.customer":"007"}}"#),
        ("info.customer=\"7\"", r#"{"eq":{"info.customer":"7"}}"#),
        ("info.customer:=7", r#"{"eq":{"info.customer":7}}"#),
        ("info:={\"a\": 1, \"b\": [2, 3]}", r#"{"eq":{"info":{"a":1,"b":[2,3]}}}"#),
        ("info/a.b=x=y", r#"{"eq":{"info/a.b":"x=y"}}"#),
        ("info.dry!=true", r#"{"and":[{"neq":{"info.dry":true}},{"neq":{"info.dry":"true"}}]}"#),
        ("submitter!=ada", r#"{"neq":{"submitter":"ada"}}"#),
        ("attempt>1", r#"{"gt":{"attempt":1}}"#),
        ("info.n<-2.5", r#"{"lt":{"info.n":-2.5}}"#),
        ("attempt>=2", r#"{"or":[{"gt":{"attempt":2}},{"eq":{"attempt":2}}]}"#),
        ("info.name<=m", r#"{"or":[{"lt":{"info.name":"m"}},{"eq":{"info.name":"m"}}]}"#),
        ("held=true", r#"{"eq":{"held":true}}"#),
        ("state in (queued, held)", r#"{"in":{"state":["queued","held"]}}"#),
        ("state in(queued)", r#"{"in":{"state":["queued"]}}"#),
        ("info.x in (1, \"a, b\")", r#"{"in":{"info.x":[1,"1","a, b"]}}"#),
        ("queue:={\"site\": 7}", r#"{"eq":{"queue":{"site":7}}}"#),
        ("queue={\"site\": 7}", r#"{"eq":{"queue":{"site":7}}}"#),
        ("queue!={\"site\":\"*\"}", r#"{"neq":{"queue":{"site":"*"}}}"#),
        ("queue in ({\"site\": 7}, nightly)", r#"{"in":{"queue":[{"site":7},"nightly"]}}"#),
        ("key=\"\"", r#"{"eq":{"key":""}}"#),
        ("id=in", r#"{"eq":{"id":"in"}}"#),
        ("agent!=\"=web-1\"", r#"{"neq":{"agent":"=web-1"}}"#),
        ("key=\"a b\"", r#"{"eq":{"key":"a b"}}"#),
        ("key in (\"a b\", c)", r#"{"in":{"key":["a b","c"]}}"#),
        ("info.x=a b", r#"{"eq":{"info.x":"a b"}}"#),
        ("info.x in (a b, <c)", r#"{"in":{"info.x":["a b","<c"]}}"#),
        ("info.x!=\"a b\"", r#"{"neq":{"info.x":"a b"}}"#),
    ] {
        assert_eq!(json(&[short]), long, "{short}");
    }
}

#[test]
fn several_all_have_to_hold() {
    let both = r#"{"and":[{"eq":{"agent":"web-1"}},{"eq":{"state":"queued"}}]}"#;
    assert_eq!(json(&["agent=web-1,state=queued"]), both);
    assert_eq!(json(&["agent=web-1", "state=queued"]), both);
    assert_eq!(json(&["agent=web-1", r#"{"eq": {"state": "queued"}}"#]), both);
    assert_eq!(json(&[r#"{"eq": {"agent": "web-1"}}"#]), r#"{"eq":{"agent":"web-1"}}"#);
    assert!(read(&[]).unwrap().is_none());
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, at, why) in [
        ("", 1, "a field is missing"),
        ("agent=a,", 9, "a field is missing"),
        ("agent=a, ,held=true", 10, "a field is missing"),
        ("=a", 1, "a field is missing"),
        ("web-1", 1, "no field \"web-1\""),
        ("agnet=web-1", 1, "is \"agent\" meant?"),
        ("agent=a,stat=held", 9, "is \"state\" meant?"),
        ("state=queued,held", 18, "state in (queued, held)"),
        ("agent", 6, "none of = :="),
        ("agent web-1", 7, "none of = :="),
        ("agent inside", 7, "none of = :="),
        ("agent=", 7, "a value for agent is missing"),
        ("ä=1", 1, "no field"),
        ("info.ä=ö, agent=", 17, "a value for agent is missing"),
        ("attempt=one", 9, "attempt is a number, not one"),
        ("attempt = one , held=true", 11, "attempt is a number, not one"),
        ("held=yes", 6, "true or false"),
        ("held>true", 6, "has no order"),
        ("agent!=web-*", 8, "!= takes no *"),
        ("agent in a,b", 10, "in needs a list"),
        ("agent in (a,)", 10, "a value of the list is missing"),
        ("agent in (a*)", 10, "in takes no *"),
        ("info.x=\"a", 8, "is not closed"),
        ("info.x=(a,b", 8, "is not closed"),
        ("info.x=\"a\"b", 8, "not one text in quotes"),
        ("info.x:={", 9, "is not closed"),
        ("info.x:=a", 9, "is not JSON"),
        // with != these would be unlike everything
        ("agent!==web-1", 8, "mistyped? A value begins with = only in quotes"),
        ("agent!=web-1 state=queued", 8, "is a comma missing?"),
        ("agent<>10-web", 7, "begins with > only"),
        ("agent=!web-1", 7, "begins with ! only"),
        ("agent=~web", 7, "begins with ~ only"),
        ("agent==:web", 8, "begins with : only"),
        ("agent=<web-*", 7, "begins with < only"),
        ("agent=web-* state=queued", 7, "is a comma missing?"),
        ("agent>=a held=true", 8, "is a comma missing?"),
        ("attempt=>2", 9, "begins with > only"),
        ("held=true attempt>1", 6, "is a comma missing?"),
        ("state in (queued held)", 10, "is a comma missing?"),
        ("state in (!queued)", 10, "begins with ! only"),
        ("info.x!==1", 9, "begins with = only"),
        ("info.x!=1 state=queued", 9, "is a comma missing?"),
        ("info.x<>1", 8, "begins with > only"),
        ("info.x>==1", 9, "begins with = only"),
    ] {
        let told = wrong(text);
        assert!(told.starts_with(&format!("at character {at}: ")) && told.contains(why), "{text:?}: {told}");
    }
    assert_eq!(wrong("[1]"), "criteria are a JSON map");
}

#[test]
fn fields_and_their_values_are_offered() {
    let found = |current| candidates(current).unwrap();
    assert_eq!(found("").len(), FIELDS.len());
    assert!(found("st").contains(&"state=".to_owned()) && found("").contains(&"info.".to_owned()));
    assert!(found("agent=a,st").contains(&"agent=a,state=".to_owned()));
    assert!(found("agent=a,state=q").contains(&"agent=a,state=queued".to_owned()));
    assert_eq!(found("held="), ["held=false", "held=true"]);
    assert_eq!(found("info.x="), Vec::<String>::new());
    assert_eq!(candidates("held=true,agent=w"), None, "the manager knows them");
}

use super::*;
use serde_json::json;

fn asked(typed: &str) -> (Option<Wanted>, String) {
    let (before, current) = split(typed);
    (wanted(&before), current)
}

#[test]
fn what_is_wanted_follows_from_the_words_before() {
    let agent = |agent: &str| agent.to_owned();
    assert_eq!(asked("rpctl call we"), (Some(Wanted::Agent { manager: true }), "we".to_owned()));
    assert_eq!(
        asked("rpctl -o json --config x.toml call "),
        (Some(Wanted::Agent { manager: true }), String::new())
    );
    let procedure = Some(Wanted::Procedure { agent: agent("web-1") });
    assert_eq!(asked("rpctl call web-1 web."), (procedure.clone(), "web.".to_owned()));
    assert_eq!(asked("rpctl run "), (Some(Wanted::Agent { manager: false }), String::new()));
    let own = Some(Wanted::Procedure { agent: agent("@manager") });
    assert_eq!(asked("rpctl call @manager "), (own, String::new()));
    assert_eq!(asked("rpctl run --detach 'web-1,web-2' "), (procedure, String::new()));
    let argument = Some(Wanted::Argument { agent: agent("a"), procedure: "p@2".to_owned() });
    assert_eq!(asked("rpctl call a p@2 x=1 mode=f"), (argument, "mode=f".to_owned()));
    let criteria = Some(Wanted::Criteria);
    assert_eq!(asked("rpctl -o json jobs cancel --where ag"), (criteria.clone(), "ag".to_owned()));
    assert_eq!(asked("rpctl jobs cancel --where a=b --where ").0, criteria);
    assert_eq!(asked("rpctl jobs list --where ").0, None);
    for line in ["rpctl jobs list --agent ", "rpctl jobs cancel --agent ", "rpctl jobs read 00ab --agent "] {
        assert_eq!(asked(line).0, Some(Wanted::Agent { manager: false }), "{line}");
    }
    for line in ["rpctl -o ", "rpctl jobs list --output "] {
        assert_eq!(asked(line).0, Some(Wanted::Format), "{line}");
    }
    for line in ["rpctl cp ", "rpctl cp --verify file "] {
        assert_eq!(asked(line).0, Some(Wanted::Target), "{line}");
    }
    for nothing in [
        "rpctl cp a b ",
        "rpctl run --agent ",
        "rpctl call a exec.run -- -o ",
        "rpctl ",
        "rpctl call a exec.run -- ",
        "rpctl call --timeout ",
        "rpctl jobs ",
        "",
    ] {
        assert_eq!(asked(nothing).0, None, "{nothing:?}");
    }
}

#[test]
fn arguments_and_their_values_follow_from_the_schema() {
    let schema = json!({"properties": {
        "site": {"type": "string"}, "mode": {"enum": ["fast", "safe"]}, "dry": {"type": "boolean"},
    }});
    let found = |current| from_schema(&schema, current);
    assert_eq!(found(""), ["dry:=", "mode=", "site="]);
    assert_eq!(found("mode=f"), ["mode=fast", "mode=safe"]);
    assert_eq!(found("dry:="), ["dry:=true", "dry:=false"]);
    assert_eq!(found("site="), Vec::<String>::new());
    let bash = Shell::Bash { breaks: " \t\n\"'@><=;|&(:" };
    assert_eq!(cut(bash, "mode=f", "mode=fast"), "fast");
    assert_eq!(cut(bash, "dry:=t", "dry:=true"), "true");
    assert_eq!(cut(bash, "disk.used@", "disk.used@1"), "@1");
    assert_eq!(cut(bash, "@man", "@manager"), "@manager");
    assert_eq!(cut(bash, "to=a@b", "to=a@bc"), "@bc");
    let plain = Shell::Bash { breaks: " \t\n\"'><=;|&(" };
    assert_eq!(cut(plain, "disk.used@", "disk.used@1"), "disk.used@1");
    assert_eq!(cut(plain, "dry:=t", "dry:=true"), "true");
    assert_eq!(cut(Shell::Other, "mode=f", "mode=fast"), "mode=fast");
}

#[test]
fn nothing_is_offered_that_would_read_a_file_or_be_an_option() {
    let key = "/home/ada/.ssh/id_ed25519";
    let of = |names: &[&str]| {
        let values = json!({"enum": [format!("@{key}"), format!("\\@{key}"), key, "safe"]});
        json!({"properties": names.iter().map(|name| ((*name).to_owned(), values.clone())).collect::<serde_json::Map<_, _>>()})
    };
    let offered = |schema: &serde_json::Value, current: &str| fitting(from_schema(schema, current), current);
    assert_eq!(offered(&of(&["mode"]), "mode="), [format!("mode={key}"), "mode=safe".to_owned()]);
    let strange = of(&["--kwargs", "--stdin", "@x", "a:", "mode", "mode=@/x", "-c"]);
    assert_eq!(offered(&strange, ""), ["mode="]);
    for current in ["--kwargs=", "--stdin=", "@x=", "a:=", "-c="] {
        assert_eq!(offered(&strange, current), Vec::<String>::new(), "{current}");
    }
    let number = json!({"properties": {"n": {"type": "string", "enum": [5, "5"]}}});
    assert_eq!(offered(&number, "n="), ["n=5"]);
    assert_eq!(fitting(vec!["--kwargs=@/x".to_owned(), "web.deploy".to_owned()], ""), ["web.deploy"]);
}

#[test]
fn the_manager_that_the_line_names_is_asked() {
    let named = |typed: &str| {
        let found = global(&split(typed).0);
        (found.manager, found.config.map(|path| path.display().to_string()))
    };
    let both = (Some("a:1".to_owned()), Some("x.toml".to_owned()));
    assert_eq!(named("rpctl --manager a:1 --config x.toml call "), both);
    assert_eq!(named("rpctl --manager=a:1 --config=x.toml call "), both);
    assert_eq!(named("rpctl --manager=b:1 --manager a:1 --config x.toml call "), both);
    assert_eq!(named("rpctl call "), (None, None));
    assert_eq!(asked("rpctl agents ping -c 5 we").0, Some(Wanted::Agent { manager: false }));
}

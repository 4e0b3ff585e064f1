//! What operators tell agents about their procedures, through the manager.

use redpoll_tests::world::{HONEST, World};
use serde_json::{Value, json};

#[tokio::test]
async fn an_operator_reloads_disables_and_enables_through_the_manager() {
    let world = World::start(&[]).await;
    let ask = async |method: &str, kwargs: Value| {
        world.operator.ask(method, &kwargs).await.map(|answer| answer.decode::<Value>().unwrap())
    };
    let answer = ask("rp.agents.reload", json!({"agent": HONEST})).await.unwrap();
    assert!(answer["offered"].as_u64().unwrap() > 0, "{answer}");
    assert_eq!(answer["problems"], json!([]));
    let echo = json!({"agent": HONEST, "procedure": "sys.echo"});
    assert!(ask("rp.call", echo.clone()).await.is_ok());
    let done = ask("rp.procedures.disable", echo.clone()).await.unwrap();
    assert_eq!(done, json!({"procedure": "sys.echo", "enabled": false, "changed": true}));
    let fault = ask("rp.call", echo.clone()).await.unwrap_err();
    assert!(fault.to_string().contains("switched off by the manager"), "{fault}");
    assert!(ask("rp.procedures.enable", echo.clone()).await.unwrap()["changed"].as_bool().unwrap());
    assert!(ask("rp.call", echo.clone()).await.is_ok());
    assert!(!ask("rp.procedures.enable", echo).await.unwrap()["changed"].as_bool().unwrap());
    let events = ask("rp.events.list", json!({"type": "procedure.*"})).await.unwrap();
    let told: Vec<String> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| format!("{} {} {}", event["type"], event["agent"], event["detail"]).replace('"', ""))
        .collect();
    let by = |kind: &str| format!("procedure.{kind} {HONEST} sys.echo by ada");
    assert_eq!(told, [by("disabled"), by("enabled")], "what changed nothing is not told");
    let nobody = ask("rp.agents.reload", json!({"agent": "nobody"})).await.unwrap_err();
    assert!(nobody.to_string().contains("nobody"), "{nobody}");
}

/// What the first steps show of a fresh agent is what a fresh agent offers.
#[tokio::test]
async fn the_built_in_procedures_are_listed_in_the_first_steps_as_they_are() {
    let text = include_str!("../../docs/procedures.md");
    let (before, list) = text.split_once("\nPROCEDURE ").unwrap();
    let (_, list) = list.split_once('\n').unwrap();
    let shown: Vec<&str> = list.lines().take_while(|line| !line.starts_with("```")).collect();
    let counts = before.rsplit_once("offered").unwrap().1;
    assert_eq!(counts.split_whitespace().next(), Some(shown.len().to_string().as_str()));

    let mut world = World::quiet(&[]).await;
    world.agent(HONEST, &["procedures.builtin=sys.*"]).await;
    let output = world.run_rpctl(&["agents", "procedures", HONEST]).await;
    let listed = String::from_utf8(output.stdout).unwrap();
    let listed: Vec<&str> = listed.lines().skip(1).collect();
    // one of them is what the first steps add
    let own = shown.iter().position(|line| line.starts_with("disk.used ")).unwrap();
    let built_in: Vec<&str> =
        shown.iter().enumerate().filter(|(place, _)| *place != own).map(|(_, line)| *line).collect();
    assert_eq!(built_in, listed, "{listed:#?}");
    // the counts that follow: twice no more, then a version more each time
    let later: Vec<&str> =
        list.lines().filter_map(|line| line.strip_prefix("offered  ")).map(str::trim).collect();
    let count = shown.len();
    assert_eq!(later, [count, count, count + 1, count + 2].map(|count| count.to_string()));
}

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
    assert!(fault.to_string().contains("disabled here by the manager"), "{fault}");
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

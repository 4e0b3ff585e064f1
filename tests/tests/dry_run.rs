//! `rpctl run --dry-run` on whole systems: what each agent says beforehand is what happens afterwards, and nothing happens meanwhile.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use redpoll_common::api::AgentState;
use redpoll_common::wire::{Fault, FaultCode, Message, Response};
use redpoll_tests::eventually;
use redpoll_tests::line::Line;
use redpoll_tests::policy::{open_rules, write_policy};
use redpoll_tests::secret::holders;
use redpoll_tests::world::World;
use serde_json::{Value, json};

/// What nobody may see.
const SECRET: &str = "hunter2-s3cr3t";

const MANIFEST: &str = r#"
name = "web.deploy"
version = VERSION
command = ["/bin/sh", "-c", "echo ran >> 'MARK'; echo '{\"result\": true}'"]
redact = ["pin"]
EXTRA
[args]
type = "object"
required = ["stage"]
additionalProperties = false
[args.properties.stage]
enum = ["live", "test"]
[args.properties.pin]
type = "string"
"#;

const DENY: &str = r#"
[[rule]]
name = "no deploying"
deny = ["web.*"]
args.stage = "live"
"#;

/// The agents `allow-1`, which runs everything, `deny-1`, which deploys nothing that is live, and `gone-1`, which was there.
async fn world() -> World {
    let mut world = World::quiet(&[]).await;
    let folder = world.directory().join("procedures.d");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (version, extra) in [("1", "deprecated = \"use 2\""), ("2", "")] {
        let mark = world.directory().join("ran").display().to_string();
        let text = MANIFEST.replace("VERSION", version).replace("EXTRA", extra).replace("MARK", &mark);
        let file = folder.join(format!("deploy{version}.toml"));
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    for (id, rules) in [
        ("allow-1", open_rules().to_owned()),
        ("deny-1", format!("{DENY}\n{}", open_rules())),
        ("gone-1", open_rules().to_owned()),
    ] {
        let file = world.directory().join(format!("policy-{id}.toml"));
        write_policy(&file, &rules);
        let settings =
            [format!("policy.file={}", file.display()), format!("procedures.dir={}", folder.display())];
        world.agent(id, &settings.each_ref().map(String::as_str)).await;
        eventually("the manager knows what the agent offers", async || {
            let output = world.run_rpctl(&["agents", "procedures", id, "web.deploy"]).await;
            (output.status.code() == Some(0)).then_some(())
        })
        .await;
    }
    drop(world.take_agent("gone-1"));
    world.operator.until("gone-1", AgentState::Away).await;
    world
}

/// Runs rpctl; neither of its streams may show the secret.
async fn rpctl(world: &World, words: &[&str]) -> (Option<i32>, String, String) {
    let output = world.run_rpctl(words).await;
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(!out.contains(SECRET) && !err.contains(SECRET), "{words:?} shows the secret:\n{out}{err}");
    (output.status.code(), out, err)
}

/// Tries `web.deploy` with the secret, and gives the exit code, the rows and what was said beside them.
async fn tried(world: &World, agents: &str, words: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let pin = format!("pin={SECRET}");
    let words = [&["-o", "json", "run", agents], words, &[&pin, "--dry-run"]].concat();
    let (code, out, err) = rpctl(world, &words).await;
    assert!(err.ends_with("nothing was submitted\n"), "{err}");
    (code, serde_json::from_str(&out).unwrap(), err)
}

fn starts(world: &World) -> usize {
    std::fs::read_to_string(world.directory().join("ran")).map_or(0, |text| text.lines().count())
}

async fn says_it_is_old(line: &mut Line) {
    let request = line.requested().await;
    assert_eq!(request.method, "rp.policy.test");
    let fault = Fault::new(FaultCode::UnknownMethod, SECRET);
    line.say(&Message::Response(Response { id: request.id, result: Err(fault) })).await;
}

#[tokio::test]
async fn each_agent_says_what_it_would_do_and_does_that_afterwards() {
    let world = world().await;
    let mut old = world.line("old-1").await;
    let all = "allow-1,deny-1,gone-1,old-1";
    let live = ["web.deploy", "stage=live"];
    let ((code, rows, err), ()) = tokio::join!(tried(&world, all, &live), says_it_is_old(&mut old));
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("1 would run, 1 would refuse, 1 away, 1 unknown"), "{err}");
    let [allow, deny, gone, old_row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((&allow["id"], &allow["verdict"]), (&json!("allow-1"), &json!("would_run")));
    assert_eq!((&allow["rule"], &allow["procedure"]), (&json!("everything"), &json!("web.deploy@2")));
    assert_eq!((&deny["verdict"], &deny["by"]), (&json!("would_refuse"), &json!("agent")));
    assert_eq!((&deny["code"], &deny["rule"]), (&json!("rejected"), &json!("no deploying")));
    assert_eq!((&gone["verdict"], &gone["connected"]), (&json!("away"), &json!(false)));
    assert!(gone["why"].as_str().unwrap().contains("would wait"), "{gone}");
    assert_eq!(old_row["verdict"], "unknown");
    assert!(old_row["why"].as_str().unwrap().contains("older"), "{old_row}");

    // the exit code is that of the worst: refused, unknown, good
    let (code, _, err) = tried(&world, "allow-1", &live).await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(tried(&world, "allow-1,gone-1", &live).await.0, Some(0), "the job would wait for it");
    let (unknown, ()) = tokio::join!(tried(&world, "gone-1,old-1", &live), says_it_is_old(&mut old));
    assert_eq!(unknown.0, Some(8));
    let (code, out, _) = rpctl(&world, &["run", "deny-1", "web.deploy", "stage=live", "--dry-run"]).await;
    assert!(code == Some(3) && out.contains("would refuse  no deploying  rule \"no deploying\""), "{out}");

    // nothing ran, nothing is stored, and the secret is nowhere
    assert_eq!(starts(&world), 0);
    let (_, jobs, _) = rpctl(&world, &["-o", "json", "jobs", "list"]).await;
    assert_eq!(serde_json::from_str::<Value>(&jobs).unwrap(), json!([]));
    assert_eq!(holders(world.directory(), SECRET), Vec::<PathBuf>::new());

    // and then it is as they said
    let (code, _, err) = rpctl(&world, &["run", "allow-1", "web.deploy", "stage=live"]).await;
    assert_eq!((code, starts(&world)), (Some(0), 1), "{err}");
    let (code, _, err) = rpctl(&world, &["run", "deny-1", "web.deploy", "stage=live"]).await;
    assert!(code == Some(3) && err.contains(deny["why"].as_str().unwrap()), "{err}");
    assert_eq!(starts(&world), 1);
}

#[tokio::test]
async fn what_the_manager_itself_would_refuse_is_told_without_asking_an_agent() {
    let world = world().await;
    let (code, rows, err) = tried(&world, "allow-1,deny-1,gone-1", &["web.deploy", "stage=nowhere"]).await;
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("the manager would not store the job: web.deploy@2: stage: "), "{err}");
    assert!(err.contains("so say 3 of 3 agents") && !err.contains("nothing was stored"), "{err}");
    for row in &rows {
        let expected = (&json!("would_refuse"), &json!("manager"), &json!("bad_arguments"));
        assert_eq!((&row["verdict"], &row["by"], &row["code"]), expected, "{row}");
        assert!(row["why"].as_str().unwrap().starts_with("web.deploy@2: stage: "), "{row}");
    }
    // what the list of an agent does not have is the agent's to refuse
    let (code, rows, _) = tried(&world, "allow-1", &["web.undo"]).await;
    assert_eq!(
        (code, &rows[0]["code"], &rows[0]["by"]),
        (Some(3), &json!("unknown_procedure"), &json!("agent"))
    );
    let (code, rows, err) =
        tried(&world, "gone-1", &["web.deploy", "stage=live", "--offline", "require"]).await;
    assert!(code == Some(5) && err.contains("the manager would not store the job"), "{err}");
    assert!(rows[0]["why"].as_str().unwrap().contains("requires it"), "{rows:?}");
    // a job that names somebody who is revoked is refused as a whole, whatever the others would do
    assert_eq!(rpctl(&world, &["agents", "revoke", "gone-1", "--yes"]).await.0, Some(0));
    let (code, rows, err) = tried(&world, "allow-1,gone-1", &["web.deploy", "stage=live"]).await;
    assert!(code == Some(5) && err.contains("1 of its agents are revoked: gone-1"), "{err}");
    let expected = (&json!("would_refuse"), &json!("manager"), &json!("it is revoked"));
    assert_eq!((&rows[1]["verdict"], &rows[1]["by"], &rows[1]["why"]), expected, "{rows:?}");
}

#[tokio::test]
async fn a_dry_run_uses_nothing_of_a_rate_and_sees_what_is_left_of_it() {
    let world = world().await;
    let file = world.directory().join("policy-allow-1.toml");
    write_policy(&file, &format!("{}rate = \"1/1d\"\n", open_rules()));
    let reloaded = world.operator.ask("rp.agents.reload", &json!({"agent": "allow-1"})).await.unwrap();
    assert_eq!(reloaded.decode::<Value>().unwrap()["problems"], json!([]));
    for _ in 0..3 {
        assert_eq!(tried(&world, "allow-1", &["web.deploy", "stage=live"]).await.0, Some(0));
    }
    let (code, _, err) = rpctl(&world, &["run", "allow-1", "web.deploy", "stage=live"]).await;
    assert_eq!((code, starts(&world)), (Some(0), 1), "{err}");
    let (code, rows, _) = tried(&world, "allow-1", &["web.deploy", "stage=live"]).await;
    assert_eq!((code, &rows[0]["rule"]), (Some(3), &json!("everything")));
    assert!(rows[0]["retry_after_ms"].as_u64().unwrap() > 1_000_000, "{rows:?}");
}

#[tokio::test]
async fn a_run_of_something_deprecated_is_warned_of_once_dry_or_not() {
    let world = world().await;
    let warning = "warning: web.deploy@1 is deprecated: use 2\n";
    let (code, _, err) = tried(&world, "allow-1,deny-1", &["web.deploy@1", "stage=test"]).await;
    assert!(code == Some(0) && err.starts_with(warning), "{err}");
    let (code, _, err) = rpctl(&world, &["run", "allow-1,deny-1", "web.deploy@1", "stage=test"]).await;
    assert_eq!((code, err.matches(warning).count()), (Some(0), 1), "{err}");
    let (_, _, err) = rpctl(&world, &["run", "allow-1", "web.deploy", "stage=test"]).await;
    assert!(!err.contains("deprecated"), "{err}");
    // on some of them alone: there the older one is meant
    assert_eq!(rpctl(&world, &["agents", "disable", "deny-1", "web.deploy@2"]).await.0, Some(0));
    eventually("the manager knows the new list", async || {
        let (_, out, _) = rpctl(&world, &["agents", "procedures", "deny-1"]).await;
        out.contains("(disabled: switched off by the manager").then_some(())
    })
    .await;
    let (_, _, err) = tried(&world, "allow-1,deny-1", &["web.deploy", "stage=test"]).await;
    assert!(err.starts_with("warning: web.deploy@1 is deprecated on 1 of 2 agents: use 2\n"), "{err}");
}

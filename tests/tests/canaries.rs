//! Secrets of every kind through every way that a call or a job has, with a procedure that tells all it was given, and programs that log
//! all they can. Afterwards none is in a file, an output, a webhook, or on the command line or in the environment of a process.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "test code, which prints its seed")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use redpoll_net::random;
use redpoll_tests::eventually;
use redpoll_tests::manifests::{Manifests, checkout};
use redpoll_tests::policy::{open_rules, write_policy};
use redpoll_tests::process::command;
use redpoll_tests::secret::{Canaries, files_with, held, processes_with};
use redpoll_tests::world::World;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const AGENT: &str = "vault-1";
/// All that the programs have to say; what they are built from says too much.
const LOUD: &str = "log.level=trace,rustls=warn,h2=warn,mio=warn";
const ARGS: &str = r#"
redact = ["secret", "pin"]
[args]
type = "object"
additionalProperties = false
[args.properties]
secret = { type = "object", maxProperties = 20 }
pin = {}
how = { type = "string", enum = ["result", "raises", "dies", "sleeps", "asks", "nonsense"] }
file = { type = "string" }
"#;

/// A world, the secrets, and what is said of them outside the folder of the world.
struct Scene {
    world: World,
    manifests: Manifests,
    inputs: TempDir,
    canaries: Canaries,
}

impl Scene {
    async fn new() -> Self {
        let seed = u64::from_be_bytes(random::bytes16()[..8].try_into().unwrap());
        eprintln!("seed {seed}");
        let (canaries, inputs) = (Canaries::of(seed), TempDir::new().unwrap());
        std::fs::write(inputs.path().join("secret"), canaries.value().to_string()).unwrap();
        std::fs::write(inputs.path().join("pin"), canaries.bytes()).unwrap();
        let site = inputs.path().join("site");
        std::fs::create_dir(&site).unwrap();
        let site = Manifests::new(&site);
        manifest(&site, "site.leak", "once", "callers = [\"operator:*\", \"agent:*\"]", ARGS);
        let settings = [
            &*site.setting(),
            LOUD,
            "agents.emit=vault.*",
            "agents.submit=leak.*",
            "jobs.callbacks.first=10ms",
            "jobs.callbacks.tries=2",
        ];
        let mut world = World::quiet(&settings).await;
        let manifests = Manifests::new(world.directory());
        for mode in ["once", "worker"] {
            let asks = "manager = { submit = true, calls = [\"site.*\"] }";
            manifest(&manifests, &format!("leak.{mode}"), mode, asks, ARGS);
            manifest(&manifests, &format!("denied.{mode}"), mode, "", ARGS);
        }
        let denied = "\n[[rule]]\nname = \"no\"\ndeny = [\"denied.*\"]\n";
        write_policy(&world.directory().join("policy.toml"), &format!("{}{denied}", open_rules()));
        world.agent(AGENT, &[&manifests.setting(), LOUD, "limits.grace=300ms"]).await;
        let scene = Self { world, manifests, inputs, canaries };
        scene.listed("leak.once").await;
        scene
    }

    async fn listed(&self, procedure: &str) {
        eventually("the manager knows what the agent offers", async || {
            (self.rpctl(&["agents", "procedures", AGENT, procedure]).await.0 == Some(0)).then_some(())
        })
        .await;
    }

    fn input(&self, name: &str) -> PathBuf {
        self.inputs.path().join(name)
    }

    /// The secret arguments, which are on no command line.
    fn arguments(&self, how: &str) -> Vec<String> {
        let (secret, pin) = (self.input("secret"), self.input("pin"));
        vec![
            format!("secret:=@{}", secret.display()),
            format!("pin=@{}", pin.display()),
            format!("how={how}"),
            format!("file={}", self.input("runs").display()),
        ]
    }

    fn assert_silent(&self, of: &[&str], bytes: &[u8]) {
        if let Some(around) = held(bytes, &self.canaries.traces()) {
            unreachable!("{of:?} shows a secret: …{around}…");
        }
    }

    /// Runs rpctl; neither of its streams may show a secret.
    async fn rpctl(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self.world.run_rpctl(words).await;
        self.assert_silent(words, &output.stdout);
        self.assert_silent(words, &output.stderr);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }

    async fn with_secrets(&self, words: &[&str], how: &str) -> (Option<i32>, String) {
        let arguments = self.arguments(how);
        let all: Vec<&str> = words.iter().copied().chain(arguments.iter().map(String::as_str)).collect();
        self.rpctl(&all).await
    }

    /// Submits a job that goes on for ever, and waits until it does.
    async fn sleeping(&self, procedure: &str) -> String {
        let _none = std::fs::remove_file(self.input("runs"));
        let (code, said) = self.with_secrets(&["run", "--detach", AGENT, procedure], "sleeps").await;
        assert_eq!(code, Some(0), "{said}");
        eventually("it runs", async || self.input("runs").exists().then_some(())).await;
        said.lines().next().unwrap().to_owned()
    }

    /// Looks at a job in all ways, once it has ended.
    async fn look_at(&self, job: &str, wanted: &str) {
        for verb in ["show", "result", "read", "follow"] {
            let (_, said) = self.rpctl(&["jobs", verb, job]).await;
            assert!(verb != "follow" || !said.is_empty(), "{said}");
            self.rpctl(&["-o", "json", "jobs", verb, job]).await;
        }
        let (_, said) = self.rpctl(&["-o", "json", "jobs", "show", job]).await;
        assert!(said.contains(wanted) && said.contains("***"), "{said}");
    }

    async fn nothing_is_anywhere(&self) {
        let traces = self.canaries.traces();
        for words in [
            ["jobs", "list"].as_slice(),
            &["events", "--since", "0"],
            &["-o", "json", "events", "--since", "0"],
        ] {
            self.rpctl(words).await;
        }
        let last = Mutex::new(Vec::new());
        // what the runs needed goes soon
        eventually("no file holds a secret", async || {
            let left = files_with(self.world.directory(), &traces);
            let mut last = last.lock().unwrap();
            if *last != left {
                eprintln!("left:\n{}", left.join("\n\n"));
                *last = left;
            }
            last.is_empty().then_some(())
        })
        .await;
        assert_eq!(processes_with(&traces), Vec::<String>::new());
        for log in ["manager.log", "agent-vault-1.log"] {
            assert!(
                std::fs::read_to_string(self.world.directory().join(log)).unwrap().contains("DEBUG"),
                "{log}"
            );
        }
    }
}

fn manifest(folder: &Manifests, name: &str, mode: &str, fields: &str, args: &str) {
    let script = checkout("tests/src/leaky_procedure.py").canonicalize().unwrap();
    let text = format!(
        "name = \"{name}\"\nmode = \"{mode}\"\ncommand = [\"python3\", \"{}\", \"{mode}\"]\n{fields}\n{args}",
        script.display()
    );
    folder.write(name, &text);
}

#[tokio::test]
async fn no_secret_of_a_call_is_told_however_it_ends() {
    let scene = Scene::new().await;
    for procedure in ["leak.once", "leak.worker"] {
        for format in ["table", "json"] {
            // never two deaths of a worker in a row: its next start would wait longer than a call does
            for how in ["dies", "result", "nonsense", "raises", "asks"] {
                let (code, said) =
                    scene.with_secrets(&["-v", "-o", format, "call", AGENT, procedure], how).await;
                let good = matches!(how, "result" | "asks");
                assert_eq!(code, Some(i32::from(!good)), "{procedure} {how}: {said}");
                assert!(said.contains("***") && !said.contains("forbidden"), "{procedure} {how}: {said}");
            }
        }
        let (code, said) = scene.with_secrets(&["--timeout", "2s", "call", AGENT, procedure], "sleeps").await;
        assert_eq!(code, Some(6), "{said}");
    }
    // what a worker writes late, about the call before; while it waits for answers all of that is read
    let (code, said) = scene.with_secrets(&["call", AGENT, "leak.worker"], "result").await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = scene.rpctl(&["-v", "call", AGENT, "leak.worker", "how=asks"]).await;
    assert!(code == Some(0) && said.contains("stderr ***"), "{said}");
    let (code, said) = scene.with_secrets(&["call", "@manager", "site.leak"], "raises").await;
    assert!(code == Some(1) && said.contains("***"), "{said}");
    scene.nothing_is_anywhere().await;
}

#[tokio::test]
async fn no_secret_of_a_job_is_told_or_kept_however_it_ends() {
    let mut scene = Scene::new().await;
    for procedure in ["leak.once", "leak.worker"] {
        for (how, wanted) in
            [("result", "succeeded"), ("raises", "failed"), ("dies", "failed"), ("nonsense", "failed")]
        {
            let (code, said) = scene.with_secrets(&["run", "--detach", AGENT, procedure], how).await;
            assert_eq!(code, Some(0), "{said}");
            let job = said.lines().next().unwrap();
            scene.rpctl(&["-v", "jobs", "follow", job]).await;
            scene.look_at(job, wanted).await;
        }
        let job = scene.sleeping(procedure).await;
        assert_eq!(processes_with(&scene.canaries.traces()), Vec::<String>::new());
        assert_eq!(scene.rpctl(&["jobs", "cancel", &job]).await.0, Some(0));
        assert_eq!(scene.rpctl(&["jobs", "result", &job, "--wait"]).await.0, Some(7));
        scene.look_at(&job, "cancelled").await;
    }
    // nobody knows how it ended
    let job = scene.sleeping("leak.once").await;
    let setting = scene.manifests.setting();
    scene.world.restart_agent(AGENT, &[&setting, LOUD, "limits.grace=300ms"]).await;
    assert_eq!(scene.rpctl(&["jobs", "result", &job, "--wait"]).await.0, Some(8));
    scene.look_at(&job, "unknown").await;
    scene.rpctl(&["call", AGENT, "sys.leftovers"]).await;
    scene.rpctl(&["call", AGENT, "sys.leftovers.stop", &job]).await;
    scene.nothing_is_anywhere().await;
}

#[tokio::test]
async fn no_secret_is_told_by_who_refuses_it() {
    let scene = Scene::new().await;
    for verb in ["call", "run"] {
        let (code, said) = scene.with_secrets(&[verb, AGENT, "denied.once"], "result").await;
        assert!(code == Some(3), "{said}");
        // against the schema: of the wrong type, unknown, and one too many
        for wrong in ["secret=@", "other=@", "how=@"] {
            let wrong = format!("{wrong}{}", scene.input("secret").display());
            let (code, said) = scene.rpctl(&[verb, AGENT, "leak.once", &wrong]).await;
            assert!(code == Some(3), "{wrong}: {said}");
        }
    }
    // as a job its arguments would be kept: nobody can say that they are secret
    let (code, said) = scene.with_secrets(&["call", AGENT, "no.such.procedure"], "result").await;
    assert_ne!(code, Some(0), "{said}");
    for procedure in ["leak.once", "denied.worker"] {
        let (_, said) = scene.with_secrets(&["run", AGENT, procedure, "--dry-run"], "result").await;
        assert!(!said.is_empty());
        scene.with_secrets(&["-o", "json", "run", AGENT, procedure, "--dry-run"], "result").await;
        let config = scene.world.directory().join("agent-vault-1.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let config = scene.world.directory().join("tested.toml");
        write_policy(
            &config,
            &format!("{text}\n[procedures]\ndir = \"{}\"\n", scene.manifests.path().display()),
        );
        let mut test = command("redpoll-agent");
        test.args(["policy", "test", "--config"]).arg(config).arg(procedure);
        test.arg(format!("secret:={}", scene.canaries.value())).arg("how=result");
        let tested = test.output().await.unwrap();
        scene.assert_silent(&["policy", "test"], &tested.stdout);
        scene.assert_silent(&["policy", "test"], &tested.stderr);
        assert!(!tested.stdout.is_empty());
    }
    scene.nothing_is_anywhere().await;
}

#[tokio::test]
async fn no_secret_is_in_a_webhook_or_in_a_run_that_an_agent_makes_by_itself() {
    let scene = Scene::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let bodies: Arc<Mutex<Vec<u8>>> = Arc::default();
    let mut server = JoinSet::new();
    server.spawn(hook(listener, bodies.clone()));
    for how in ["result", "raises"] {
        scene.with_secrets(&["run", AGENT, "leak.once", "--callback", &url], how).await;
        eventually("it is told", async || {
            let said = String::from_utf8_lossy(&bodies.lock().unwrap()).into_owned();
            said.contains(if how == "result" { "succeeded" } else { "failed" }).then_some(())
        })
        .await;
    }
    scene.assert_silent(&["webhook"], &bodies.lock().unwrap());
    assert!(String::from_utf8_lossy(&bodies.lock().unwrap()).contains("***"));

    let kwargs = inline(&serde_json::json!({"secret": scene.canaries.value(), "how": "raises"}));
    let schedule = format!("[schedule]\nevery = \"365d\"\nat_start = true\nkwargs = {kwargs}\n");
    // outside the world: a schedule holds its secrets itself
    let own = scene.input("own");
    std::fs::create_dir(&own).unwrap();
    let manifests = Manifests::new(&own);
    manifest(&manifests, "leak.watch", "once", "", &format!("{ARGS}\n{schedule}"));
    let mut scene = scene;
    scene.world.restart_agent(AGENT, &[&manifests.setting(), LOUD]).await;
    let job = eventually("it is recorded", async || {
        let (_, list) = scene.rpctl(&["-o", "json", "jobs", "list"]).await;
        let list: Value = serde_json::from_str(&list).ok()?;
        let jobs = list
            .as_array()?
            .iter()
            .find(|job| job["procedure"].as_str().is_some_and(|name| name.contains("watch")))?;
        Some(jobs["job"].as_str()?.to_owned())
    })
    .await;
    scene.look_at(&job, "failed").await;
    scene.nothing_is_anywhere().await;
}

/// A value as TOML has it within a line.
fn inline(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{key:?} = {}", inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// Takes webhooks.
async fn hook(listener: TcpListener, bodies: Arc<Mutex<Vec<u8>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = Vec::new();
        let whole = |request: &[u8]| {
            let text = String::from_utf8_lossy(request).to_lowercase();
            let (head, _) = text.split_once("\r\n\r\n")?;
            let len: usize = head.split("content-length:").nth(1)?.lines().next()?.trim().parse().ok()?;
            (request.len() >= head.len() + 4 + len).then_some(())
        };
        while whole(&request).is_none() && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {}
        bodies.lock().unwrap().extend(request);
        let _gone = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    }
}

#[tokio::test]
async fn no_secret_is_kept_of_a_run_whose_definition_has_lost_or_gained_its_redact() {
    for (before, after) in [(ARGS.to_owned(), ""), (ARGS.replace("redact", "x-other"), ARGS)] {
        let mut scene = Scene::new().await;
        let before =
            before.lines().filter(|line| !line.starts_with("x-other")).collect::<Vec<_>>().join("\n");
        manifest(&scene.manifests, "leak.once", "once", "", &before);
        assert_eq!(scene.world.run_rpctl(&["agents", "reload", AGENT]).await.status.code(), Some(0));
        let _none = std::fs::remove_file(scene.input("runs"));
        let arguments = scene.arguments("sleeps");
        let words: Vec<&str> = ["run", "--detach", AGENT, "leak.once"]
            .into_iter()
            .chain(arguments.iter().map(String::as_str))
            .collect();
        let said = scene.world.run_rpctl(&words).await.stdout;
        let job = String::from_utf8(said).unwrap().lines().next().unwrap().to_owned();
        eventually("it runs", async || scene.input("runs").exists().then_some(())).await;
        manifest(&scene.manifests, "leak.once", "once", "", after);
        let setting = scene.manifests.setting();
        scene.world.restart_agent(AGENT, &[&setting, LOUD, "limits.grace=300ms"]).await;
        assert_eq!(scene.world.run_rpctl(&["jobs", "result", &job, "--wait"]).await.status.code(), Some(8));
        scene.world.run_rpctl(&["call", AGENT, "sys.leftovers.stop", &job]).await;
        let shown = scene.world.run_rpctl(&["-o", "json", "jobs", "show", &job]).await.stdout;
        let mut shown: Value = serde_json::from_slice(&shown).unwrap();
        if !after.is_empty() {
            // what it told before anybody called it secret is as it was
            for run in shown["runs"].as_array_mut().unwrap() {
                run["progress"] = Value::Null;
            }
        }
        let shown = shown.to_string();
        scene.assert_silent(&["show"], shown.as_bytes());
        assert!(shown.contains("***"));
    }
}

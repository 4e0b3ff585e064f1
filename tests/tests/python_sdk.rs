//! The Python SDK with a real agent, in both modes: its manifests as it writes them, called through `rpctl` and in jobs.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::Path;
use std::process::Command;

use redpoll_common::wire::Raw;
use redpoll_tests::manifests::{Manifests, python_with_sdk};
use redpoll_tests::operator::Operator;
use redpoll_tests::told::Told;
use redpoll_tests::world::World;
use redpoll_tests::{PATIENCE, eventually, in_time};
use serde_json::{Value, json};

const AGENT: &str = "snake-1";
const SOURCE: &str = include_str!("../src/python_procedures.py");
/// Both modes, and the family of names that the procedures have there.
const MODES: [(&str, &str); 2] = [("worker", "w"), ("once", "o")];

/// A world whose agent offers the procedures in both modes, by the manifests that the SDK wrote.
async fn world() -> World {
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    let python = python_with_sdk(world.directory());
    for (mode, family) in MODES {
        let file = world.directory().join(format!("{mode}.py"));
        fs::write(&file, SOURCE.replace("MODE", mode).replace("FAMILY", family)).unwrap();
        let mut writing = Command::new(&python);
        writing.args(["-m", "redpoll", "manifest"]).arg(&file);
        writing.arg("--write").arg(manifests.path()).arg("--python").arg(&python);
        let written = writing.output().unwrap();
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    }
    world.agent(AGENT, &[&manifests.setting()]).await;
    let listed = world.run_rpctl(&["agents", "procedures", AGENT]).await;
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains("w.dog.bark") && text.contains("o.patient"), "{text}");
    world
}

async fn told(world: &World, procedure: &str, words: &[&str]) -> Told {
    Told::of(world, &[&[AGENT, procedure], words].concat()).await
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|n| u8::try_from(n % 256).unwrap()).collect()
}

#[tokio::test]
async fn bytes_go_both_ways_unchanged() {
    let world = world().await;
    for (_, family) in MODES {
        for size in [256, 100_000] {
            let data = pattern(size);
            // a file that is no text is sent as binary
            let file = world.directory().join("data.bin");
            fs::write(&file, &data).unwrap();
            let words = [format!("data=@{}", file.display()), format!("size:={size}")];
            let output = world
                .run_rpctl(&["-o", "json", "call", AGENT, &format!("{family}.bytes"), &words[0], &words[1]])
                .await;
            let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
            let binary = |bytes: &[u8]| json!({ "$bin": base64(bytes) });
            assert_eq!(shown["values"][0], binary(&data), "{family} {size}");
            let sum: u64 = data.iter().copied().map(u64::from).sum();
            assert_eq!(shown["values"][1], json!({"sum": sum, "mode": null}));
            assert_eq!(
                shown["result"],
                binary(&data.into_iter().rev().collect::<Vec<_>>()),
                "{family} {size}"
            );
        }
        // by an operator's own program, as bytes of MessagePack
        let kwargs = Raw::encode(&Binary { data: pattern(256), size: 256 }).unwrap();
        let call = Operator::call_of(AGENT, &format!("{family}.bytes"), &json!([]), &json!({}), PATIENCE);
        let answer = world.operator.peer().call(with(call, kwargs, family)).await.unwrap();
        assert_eq!(answer.as_bytes().get(..3), Some(&[0xc5, 1, 0][..]), "a byte string of 256 bytes");
        assert_eq!(answer.as_bytes().get(3..).unwrap(), pattern(256).into_iter().rev().collect::<Vec<_>>());
    }
}

/// Arguments with bytes.
#[derive(serde::Serialize)]
struct Binary {
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
    size: u32,
}

/// The same call with arguments that JSON has no form for.
fn with(call: redpoll_net::Call, kwargs: Raw, family: &str) -> redpoll_net::Call {
    let arguments = redpoll_common::api::CallArguments {
        agent: AGENT.to_owned(),
        procedure: format!("{family}.bytes"),
        args: Raw::encode::<[u8; 0]>(&[]).unwrap(),
        kwargs,
    };
    call.with_kwargs(arguments.write())
}

/// By a program of this machine: a test of an encoding should not use the same code.
fn base64(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data");
    fs::write(&file, bytes).unwrap();
    let output = Command::new("base64").args(["-w", "0"]).arg(&file).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn exceptions_cross_whole_and_people_see_what_they_need() {
    let world = world().await;
    for (_, family) in MODES {
        let fails = format!("{family}.fails");
        let failed = told(&world, &fails, &["how=class"]).await;
        assert_eq!((failed.code, failed.said("code"), failed.said("class")), (Some(1), "failed", "Stubborn"));
        let fault = failed.fault();
        assert_eq!(fault["args"], json!(["no room", 3]));
        assert_eq!(fault["state"], json!({"left": 3, "inner": {"deep": [1, null]}}));
        assert!(
            failed.said("trace").contains("in fails") && failed.said("trace").contains("Stubborn"),
            "{fault}"
        );
        assert!(!failed.said("module").is_empty(), "{fault}");
        assert!(failed.stderr.contains(&fails) && failed.stderr.contains("Stubborn"), "{}", failed.stderr);
        // for people: the class and the text, and the trace when they want it
        let plain = world.run_rpctl(&["call", AGENT, &fails, "how=class", "-v"]).await;
        let text = String::from_utf8(plain.stderr).unwrap();
        assert!(
            text.contains("Stubborn: ") && text.contains("no room") && text.contains("in fails"),
            "{text}"
        );

        let failed = told(&world, &fails, &["how=data"]).await;
        assert_eq!((failed.said("message"), &failed.fault()["data"]), ("no space", &json!({"free": 12})));
        let failed = told(&world, &fails, &["how=later"]).await;
        assert_eq!(
            (failed.said("class"), &failed.values),
            ("KeyError", &vec![json!(1)]),
            "values before it stay"
        );
        let failed = told(&world, &fails, &["how=exit"]).await;
        assert_eq!(failed.said("class"), "SystemExit");
        assert_eq!(
            told(&world, &fails, &["how=not"]).await.result(),
            "not at all",
            "and nothing is broken by it"
        );

        // in a job the same is recorded
        let run = world.run_rpctl(&["-o", "json", "run", AGENT, &fails, "how=class"]).await;
        let text = String::from_utf8(run.stdout).unwrap();
        assert_eq!(run.status.code(), Some(1), "{text}");
        assert!(text.contains("Stubborn") && text.contains("\"left\":3"), "{text}");
    }
}

#[tokio::test]
async fn generators_give_values_and_progress_and_a_worker_stays() {
    let world = world().await;
    let mut pids = Vec::new();
    for (mode, family) in MODES {
        for _ in 0..2 {
            let counted = told(&world, &format!("{family}.count"), &["upto:=50"]).await;
            assert_eq!(counted.values, (1..=50).map(|n| json!(n)).collect::<Vec<_>>());
            assert_eq!(counted.result()["counted"], 50);
            let last = json!({"completed": 50, "total": 50, "details": "at 50"});
            assert_eq!(counted.progress.last(), Some(&last), "the newest is told: {:?}", counted.progress);
            let seen: Vec<u64> =
                counted.progress.iter().map(|seen| seen["completed"].as_u64().unwrap()).collect();
            assert!(seen.is_sorted(), "{seen:?}");
            pids.push((mode, counted.result()["pid"].as_u64().unwrap()));
        }
    }
    assert_eq!(pids[0], pids[1], "a worker takes one call after the other");
    assert_ne!(pids[2], pids[3], "each call a process");
    let refused = told(&world, "w.count", &["upto=many"]).await;
    assert_eq!((refused.said("code"), refused.code), ("bad_arguments", Some(3)), "by its schema");
}

#[tokio::test]
async fn arguments_without_a_name_go_by_the_order_of_the_parameters() {
    let world = world().await;
    for (_, family) in MODES {
        let count = told(&world, &format!("{family}.count"), &["--args", "[3]"]).await;
        assert_eq!(count.result()["counted"], 3, "{count:?}");
        assert_eq!(told(&world, &format!("{family}.fails"), &["not"]).await.result(), "not at all");
        // a schema says which they are: too many are refused, and so are wrong ones, before anything runs
        let many = told(&world, &format!("{family}.fails"), &["not", "more"]).await;
        assert_eq!((many.said("code"), many.code), ("bad_arguments", Some(3)), "{many:?}");
        assert!(many.said("message").contains("at most 1 positional"), "{many:?}");
        let wrong = told(&world, &format!("{family}.count"), &["three"]).await;
        assert!(wrong.said("code") == "bad_arguments" && wrong.said("message").contains("upto"), "{wrong:?}");
        let twice = told(&world, &format!("{family}.fails"), &["not", "how=not"]).await;
        assert!(twice.said("message").contains("by name and by position"), "{twice:?}");
    }
}

#[tokio::test]
async fn a_class_is_exposed_with_what_its_constructor_takes() {
    let world = world().await;
    for (_, family) in MODES {
        let bark = format!("{family}.dog.bark");
        let barked = told(&world, &bark, &[r#"init:={"name": "rex", "age": 7}"#, "times:=2"]).await;
        assert_eq!(
            (barked.values.clone(), barked.result()),
            (vec![json!("rex says wuff"); 2], &json!({"age": 7}))
        );
        let barked = told(&world, &bark, &[r#"init:=["bello"]"#, "times:=1"]).await;
        assert_eq!(
            (barked.values.clone(), barked.result()),
            (vec![json!("bello says wuff")], &json!({"age": 1}))
        );
        let refused = told(&world, &bark, &[r#"init:={"age": 7}"#, "times:=1"]).await;
        assert_eq!(refused.said("code"), "bad_arguments", "{refused:?}");
        assert!(refused.said("message").contains("init"), "{refused:?}");
    }
}

const DOG: &str = r#"
import redpoll

@redpoll.expose(redact=["init.collar"])
class Dog:
    def __init__(self, name: str, collar: str = "") -> None:
        self.name, self.collar = name, collar

    def bark(self, times: int) -> str:
        """Barks so often."""
        return f"{self.name} says {'wuff' * times}"
"#;

#[tokio::test]
async fn a_class_is_offered_as_it_is_written_and_its_capitals_count() {
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    let python = python_with_sdk(world.directory());
    let file = world.directory().join("dog.py");
    fs::write(&file, DOG).unwrap();
    let mut writing = Command::new(&python);
    writing.args(["-m", "redpoll", "manifest"]).arg(&file);
    writing.arg("--write").arg(manifests.path()).arg("--python").arg(&python);
    assert!(writing.status().unwrap().success());
    assert!(manifests.path().join("Dog.bark.toml").exists());
    world.agent(AGENT, &[&manifests.setting()]).await;
    let texts = |output: std::process::Output| {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };

    let words = [r#"init:={"name": "rex", "collar": "s3cret"}"#, "times:=2"];
    assert_eq!(told(&world, "Dog.bark", &words).await.result(), "rex says wuffwuff");
    let (_, job, _) =
        texts(world.run_rpctl(&[&["run", "--detach", AGENT, "Dog.bark@1"][..], &words].concat()).await);
    let id = job.trim();
    let (code, result, _) = texts(world.run_rpctl(&["jobs", "result", id, "--wait"]).await);
    assert!(code == Some(0) && result.contains("rex says wuffwuff"), "{result}");
    let (_, shown, _) = texts(world.run_rpctl(&["jobs", "show", id, "-o", "json"]).await);
    assert!(shown.contains("Dog.bark@1") && shown.contains("rex") && !shown.contains("s3cret"), "{shown}");

    // its schema is found by its name
    let (code, help, _) = texts(world.run_rpctl(&["call", AGENT, "Dog.bark", "--help"]).await);
    assert!(code == Some(0) && help.contains("Barks so often.") && help.contains("init"), "{help}");
    let refused = told(&world, "Dog.bark", &["times:=2"]).await;
    assert!(
        refused.said("code") == "bad_arguments" && refused.said("message").contains("init"),
        "{refused:?}"
    );

    // in another case it is another name, and the right one is told
    let unknown = told(&world, "dog.bark", &words).await;
    assert_eq!(unknown.said("code"), "unknown_procedure");
    assert!(unknown.said("message").ends_with("is \"Dog.bark\" meant?"), "{unknown:?}");
    for words in [&["agents", "procedures", AGENT, "DOG.bark"][..], &["agents", "disable", AGENT, "dog.bark"]]
    {
        let (code, _, said) = texts(world.run_rpctl(words).await);
        assert!(code == Some(3) && said.contains("is \"Dog.bark\" meant?"), "{words:?}: {said}");
    }
    manifests.shell("dog.bark", "", "echo '{\"result\":1}'");
    manifests.shell("Exec.run", "", "echo '{\"result\":1}'");
    let (_, shown, said) = texts(world.run_rpctl(&["agents", "reload", AGENT]).await);
    let both = ["dog.bark.toml: name: dog.bark differs from Dog.bark of ", "Dog.bark.toml by case alone"];
    for words in both.into_iter().chain(["Exec.run.toml", "exec.* is the agent's own"]) {
        assert!(format!("{shown}{said}").contains(words), "{words}: {shown}{said}");
    }
    assert_eq!(told(&world, "Dog.bark", &words).await.result(), "rex says wuffwuff", "the first file stays");
}

/// Waits for the file of a procedure that has begun, and gives what it wrote.
async fn begun(mark: &Path) -> String {
    eventually("it has begun", async || fs::read_to_string(mark).ok().filter(|pid| !pid.is_empty())).await
}

#[tokio::test]
async fn a_procedure_sees_its_cancel_in_calls_and_in_jobs_and_its_worker_lives_on() {
    let world = world().await;
    for (mode, family) in MODES {
        let patient = format!("{family}.patient");
        let mark = world.directory().join(format!("{mode}-call"));
        let call = Operator::call_of(AGENT, &patient, &json!([]), &json!({"mark": mark}), PATIENCE * 3);
        let mut stream = world.operator.peer().start(call).await.unwrap();
        let first = begun(&mark).await;
        stream.cancel();
        let end = Operator::end_of(&mut stream).await;
        let seen = mark.with_extension("seen");
        assert!(seen.exists(), "it saw the cancel before the call had its end: {end:?}");

        let mark = world.directory().join(format!("{mode}-job"));
        let word = format!("mark={}", mark.display());
        let run = world.run_rpctl(&["run", "--detach", AGENT, &patient, &word]).await;
        let job = String::from_utf8(run.stdout).unwrap().trim().to_owned();
        let second = begun(&mark).await;
        assert!(world.run_rpctl(&["jobs", "cancel", &job]).await.status.success());
        let run = in_time("its end", world.operator.job_ended(&job)).await;
        let outcome = run.end.unwrap().outcome;
        assert!(
            mark.with_extension("seen").exists() && ["cancelled", "succeeded"].contains(&outcome.as_str())
        );
        assert_eq!(first == second, mode == "worker", "the worker that heeds it lives on: {first} {second}");
    }
}

//! A procedure that says of itself that it may be repeated is tried again when its job asks for that, and no other is.

use std::os::unix::fs::PermissionsExt as _;

use redpoll_tests::eventually;
use redpoll_tests::world::{HONEST, World};

/// Fails the first time.
const MANIFEST: &str = r#"
name = "NAME"
version = VERSION
command = ["/bin/sh", "-c", "echo ran >> 'MARK'; test $(wc -l < 'MARK') -gt 1 && echo '{\"result\": true}'"]
idempotent = IDEMPOTENT
"#;

#[tokio::test]
async fn a_job_is_repeated_when_every_version_that_could_be_meant_says_that_it_may_be() {
    let mut world = World::quiet(&["jobs.retry_first=10ms", "jobs.retry_max=10ms"]).await;
    let folder = world.directory().join("procedures.d");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (name, version, idempotent) in [
        ("twice", 1, true),
        ("once", 1, false),
        ("mixed", 1, true),
        ("mixed", 2, false),
        ("flag", 1, false),
        ("plain", 1, true),
        ("never", 1, true),
    ] {
        let mark = world.directory().join(format!("{name}@{version}")).display().to_string();
        let text = MANIFEST.replace("NAME", name).replace("VERSION", &version.to_string());
        let text = text.replace("MARK", &mark).replace("IDEMPOTENT", &idempotent.to_string());
        let file = folder.join(format!("{name}{version}.toml"));
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    world.agent(HONEST, &[&format!("procedures.dir={}", folder.display())]).await;
    eventually("the manager knows what the agent offers", async || {
        let output = world.run_rpctl(&["agents", "procedures", HONEST, "twice"]).await;
        (output.status.code() == Some(0)).then_some(())
    })
    .await;
    let starts = |name: &str| {
        let text = std::fs::read_to_string(world.directory().join(name)).unwrap();
        text.lines().count()
    };
    for (words, mark, code, expected) in [
        (&["twice", "--retry", "2"][..], "twice@1", 0, 2),
        (&["once", "--retry", "2"], "once@1", 1, 1),
        // that it may be repeated is no wish
        (&["plain"], "plain@1", 1, 1),
        // what a later attempt of a bare name means is not known yet
        (&["mixed", "--retry", "2"], "mixed@2", 1, 1),
        (&["mixed@1", "--retry", "2"], "mixed@1", 0, 2),
        (&["flag", "--retry", "2", "--idempotent"], "flag@1", 0, 2),
        // who submits has the last word
        (&["never", "--retry", "2", "--idempotent=false"], "never@1", 1, 1),
    ] {
        let output = world.run_rpctl(&[&["run", HONEST], words].concat()).await;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(starts(mark), expected, "{words:?}");
    }
}

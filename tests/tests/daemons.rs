//! How the daemons start, refuse to start, and read their files again while they run.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use redpoll_certs::testing::TestAuthority;
use redpoll_tests::line::Line;
use redpoll_tests::process::{Daemon, command};
use redpoll_tests::world::{HONEST, World, arguments, manager_config, tls_section, write_config};
use redpoll_tests::{eventually, in_time};
use rustix::process::Signal;
use tempfile::TempDir;

/// A folder from which a manager would start.
fn sound() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    TestAuthority::new("home").manager("m-1").write(directory.path(), "manager");
    let config = manager_config(directory.path(), "127.0.0.1:0");
    (directory, config)
}

/// Starts a manager that must not start, and gives its exit code and what it says.
async fn refusal(config: &Path, settings: &[&str]) -> (Option<i32>, String) {
    let output = run("redpoll-manager", &arguments(config, settings)).await;
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

async fn run(program: &str, arguments: &[String]) -> Output {
    in_time("the end of a daemon", command(program).args(arguments).output()).await.unwrap()
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn files_that_others_may_read_or_change_are_refused_with_77_and_the_remedy() {
    let (directory, config) = sound();
    let key = directory.path().join("manager.key");
    chmod(&key, 0o640);
    let (code, said) = refusal(&config, &[]).await;
    assert_eq!(code, Some(77), "{said}");
    assert!(said.contains("manager.key is open to others") && said.contains("chmod 600"), "{said}");
    chmod(&key, 0o600);

    let state = directory.path().join("manager-state");
    std::fs::create_dir_all(&state).unwrap();
    chmod(&state, 0o755);
    let (code, said) = refusal(&config, &[]).await;
    assert_eq!(code, Some(77), "{said}");
    assert!(said.contains("manager-state") && said.contains("chmod 700"), "{said}");
}

#[tokio::test]
async fn a_wrong_configuration_ends_with_64_and_names_the_key_and_the_right_one() {
    let (directory, config) = sound();
    for (settings, says) in [
        (&["sesion.ping_interval=5s"][..], "session.ping_interval"),
        (&["session.ping_interval=fast"], "session.ping_interval"),
        (&["session.dead_after=1s"], "session.dead_after"),
        (&["manager.id=somebody"], "manager.id is somebody, the certificate says m-1"),
    ] {
        let (code, said) = refusal(&config, settings).await;
        assert_eq!(code, Some(64), "{settings:?}: {said}");
        assert!(said.contains(says), "{settings:?}: {said}");
    }
    let missing = directory.path().join("none.toml");
    let (code, said) = refusal(&missing, &[]).await;
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("none.toml"), "{said}");
    let text = std::fs::read_to_string(&config).unwrap();
    write_config(&config, &format!("{text}\n[admision]\nhandshakes = 5\n"));
    let (code, said) = refusal(&config, &[]).await;
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("manager.toml") && said.contains("admision") && said.contains("admission"),
        "{said}"
    );
}

#[tokio::test]
async fn an_address_in_use_ends_with_69() {
    let (_directory, config) = sound();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let (code, said) = refusal(&config, &[&format!("listen.address={address}")]).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains(&format!("cannot listen on {address}")) && said.contains("help: "), "{said}");
}

#[tokio::test]
async fn check_config_shows_every_value_and_where_it_comes_from_and_starts_nothing() {
    let (directory, config) = sound();
    let mut arguments = arguments(&config, &["session.write_timeout=7s"]);
    arguments.push("--check-config".to_owned());
    let mut command = command("redpoll-manager");
    command.args(&arguments).env("REDPOLL_MANAGER_SESSION__PING_INTERVAL", "5s");
    let output = in_time("the report", command.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    for (key, value, origin) in [
        ("session.write_timeout", "7s", "write_timeout"),
        ("session.ping_interval", "5s", "REDPOLL_MANAGER_SESSION__PING_INTERVAL"),
        ("listen.address", "127.0.0.1:0", "manager.toml"),
        ("admission.hello_timeout", "5s", "default"),
    ] {
        let line = said.lines().find(|line| line.contains(key)).unwrap_or_default();
        assert!(line.contains(value) && line.contains(origin), "{key}: {line:?} in\n{said}");
    }
    assert!(!directory.path().join("manager-state").exists());
}

#[tokio::test]
async fn a_manager_reads_certificates_and_log_level_again_and_drops_no_session() {
    let mut world = World::start(&[]).await;
    let own = world.certificate("web-9");
    let shown = async |world: &World| Line::stranger(world.address, &own).await.peer_certificate();
    let before = shown(&world).await;
    let renewed = world.authority.manager("m-1");
    assert_ne!(before, renewed.chain[0]);
    for suffix in ["crt", "key"] {
        std::fs::remove_file(world.directory().join(format!("manager.{suffix}"))).unwrap();
    }
    renewed.write(world.directory(), "manager");
    let config = world.directory().join("manager.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    write_config(&config, &format!("{text}\n[log]\nlevel = \"debug\"\n[session]\nping_interval = \"14s\"\n"));
    world.manager.signal(Signal::HUP);
    world.manager.logged(&["INFO", "reloaded"]).await;
    world.manager.logged(&["WARN", "session.ping_interval", "restart"]).await;
    assert_eq!(shown(&world).await, renewed.chain[0]);
    world.manager.logged(&["DEBUG"]).await;

    // what cannot be used is told, and what was in use stays
    let good = std::fs::read(world.directory().join("manager.crt")).unwrap();
    std::fs::write(world.directory().join("manager.crt"), "no certificate").unwrap();
    world.manager.signal(Signal::HUP);
    world.manager.logged(&["ERROR", "not reloaded", "manager.crt"]).await;
    assert_eq!(shown(&world).await, renewed.chain[0]);
    std::fs::write(world.directory().join("manager.crt"), good).unwrap();
    write_config(&config, "what = is this");
    world.manager.signal(Signal::HUP);
    world.manager.logged(&["ERROR", "nothing was reloaded", "manager.toml"]).await;
    world.operator.echo(HONEST, "still here").await.unwrap();
    world.witness_saw_nothing().await;
}

#[tokio::test]
async fn an_agent_reads_its_certificate_again_and_shows_it_in_its_next_session() {
    let mut world = World::start(&[]).await;
    world.agent("web-1", &[]).await;
    let since = world.operator.agent("web-1").await.unwrap().since_ms;
    for suffix in ["crt", "key"] {
        std::fs::remove_file(world.directory().join(format!("agent-web-1.{suffix}"))).unwrap();
    }
    world.certificate("web-1").write(world.directory(), "agent-web-1");
    world.agent_process("web-1").signal(Signal::HUP);
    world.agent_process("web-1").logged(&["INFO", "reloaded"]).await;
    world.operator.echo("web-1", "same session").await.unwrap();
    assert!(world.operator.agent("web-1").await.unwrap().since_ms >= since);
    // a certificate of somebody else is not a renewal
    for suffix in ["crt", "key"] {
        std::fs::remove_file(world.directory().join(format!("agent-web-1.{suffix}"))).unwrap();
    }
    TestAuthority::new("elsewhere").agent("web-1").write(world.directory(), "agent-web-1");
    world.agent_process("web-1").signal(Signal::HUP);
    world.agent_process("web-1").logged(&["ERROR", "not reloaded"]).await;
    // the next session is made with what was in use
    drop(Line::agent(world.address, &world.certificate("web-1"), "web-1").await);
    eventually("the agent is back", async || world.operator.echo("web-1", "again").await.ok()).await;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn logs_can_be_json_with_agent_connection_and_request_as_fields() {
    let mut world = World::start(&["log.format=json"]).await;
    let mut line = world.line("web-9").await;
    line.request("r-1", "rp.status", &serde_json::json!({})).await;
    line.hear().await;
    let denied = world.manager.logged(&["request denied"]).await;
    let denied: serde_json::Value = serde_json::from_str(&denied).unwrap();
    let text = denied.to_string();
    for part in ["\"agent\":\"web-9\"", "\"connection\"", "\"level\":\"WARN\""] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!((&denied["request"], &denied["method"]), (&"r-1".into(), &"rp.status".into()), "{text}");
    world.nobody_else_noticed().await;
}

/// Looks at a configuration as the start does. Gives the exit code and what was said on stderr.
async fn checked(program: &str, config: &Path, settings: &[&str]) -> (Option<i32>, String) {
    let mut arguments = arguments(config, settings);
    arguments.push("--check-config".to_owned());
    let output = in_time("the report", command(program).args(&arguments).output()).await.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn check_config_refuses_what_the_start_of_a_manager_refuses_in_the_same_words() {
    let (directory, config) = sound();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for (name, mode) in [("loose", 0o755), ("loose-store", 0o750)] {
        std::fs::create_dir(path(name)).unwrap();
        chmod(Path::new(&path(name)), mode);
    }
    std::fs::write(path("policy.toml"), "rule = 7").unwrap();
    std::fs::write(path("secret"), "0123456789abcdef0123456789abcdef").unwrap();
    chmod(Path::new(&path("secret")), 0o644);
    for (wrong, code) in [
        (format!("tls.cert={}", path("none.crt")), 64),
        (format!("tls.key={}", path("manager.crt")), 77),
        ("manager.id=another".to_owned(), 64),
        ("log.level=a=b=c".to_owned(), 64),
        (format!("procedures.policy={}", path("policy.toml")), 64),
        (format!("manager.state_dir={}", path("loose")), 77),
        (format!("store.path={}", path("loose-store")), 77),
        (format!("jobs.callbacks.secret_file={}", path("secret")), 77),
    ] {
        let (started, told) = refusal(&config, &[&wrong]).await;
        let (found, said) = checked("redpoll-manager", &config, &[&wrong]).await;
        assert_eq!((started, found), (Some(code), Some(code)), "{wrong}\n{told}\n{said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(!last.is_empty() && told.contains(said.trim()), "{wrong}\n{told}\n{said}");
    }
    assert_eq!(checked("redpoll-manager", &config, &[]).await, (Some(0), String::new()));
}

#[tokio::test]
async fn check_config_refuses_what_the_start_of_an_agent_refuses() {
    let (directory, authority) = (TempDir::new().unwrap(), TestAuthority::new("home"));
    let path = |name: &str| directory.path().join(name).display().to_string();
    authority.agent("web-1").write(directory.path(), "agent");
    authority.agent("web-2").write(directory.path(), "other");
    let config = directory.path().join("agent.toml");
    let tls = tls_section(directory.path(), "agent");
    let policy = format!("[policy]\nfile = \"{}\"\n", path("policy.toml"));
    let text = format!("[agent]\nstate_dir = \"{}\"\n{tls}{policy}", path("agent-state"));
    write_config(&config, &format!("manager = \"127.0.0.1:1\"\n{text}"));
    assert_eq!(checked("redpoll-agent", &config, &[]).await, (Some(0), String::new()));
    assert!(!directory.path().join("agent-state").exists());
    std::fs::write(path("credentials"), "x").unwrap();
    chmod(Path::new(&path("credentials")), 0o644);
    for (wrong, code, what) in [
        ("agent.id=web-2".to_owned(), 64, "agent.id is web-2"),
        ("procedures.builtin=exec.rum".to_owned(), 64, "is \"exec.run\" meant?"),
        (format!("tls.key={}", path("other.key")), 64, "private key"),
        (format!("manager.credentials_file={}", path("credentials")), 77, "chmod 600"),
    ] {
        let (found, said) = checked("redpoll-agent", &config, &[&wrong]).await;
        assert!(found == Some(code) && said.contains(what), "{wrong}: {found:?}\n{said}");
    }
    write_config(&directory.path().join("policy.toml"), "rule = 7");
    let (found, said) = checked("redpoll-agent", &config, &[]).await;
    assert!(found == Some(64) && said.contains("the policy cannot be used"), "{found:?}\n{said}");
}

/// What the first one writes just now, and what it has noted, is its own.
#[tokio::test]
async fn a_second_agent_with_the_same_state_folder_ends_and_touches_nothing_of_the_first() {
    let (directory, authority) = (TempDir::new().unwrap(), TestAuthority::new("home"));
    let path = |name: &str| directory.path().join(name);
    authority.agent("web-1").write(directory.path(), "agent");
    std::fs::create_dir(path("root")).unwrap();
    let config = path("agent.toml");
    let text = format!(
        "manager = \"127.0.0.1:1\"\n[agent]\nstate_dir = \"{}\"\n{}[files]\nwrite = [\"{}\"]\n[procedures]\nbuiltin = [\"file.*\"]\n",
        path("state").display(),
        tls_section(directory.path(), "agent"),
        path("root").display(),
    );
    write_config(&config, &text);
    let arguments = arguments::<&str>(&config, &[]);
    let first = Daemon::start("redpoll-agent", "first", &arguments, &path("first.log"));
    first.logged(&["the agent is ready"]).await;
    let part = path("root/.redpoll-00112233445566778899aabbccddeeff");
    let note = path("state/uploads/.redpoll-00112233445566778899aabbccddeeff.whole");
    let remembered = path("state/leftovers.json");
    std::fs::write(&part, "half").unwrap();
    std::fs::write(&note, path("root/x").to_str().unwrap()).unwrap();
    std::fs::write(&remembered, "what the second one cannot read").unwrap();
    let output = run("redpoll-agent", &arguments).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(70) && said.contains("spool"), "{:?} {said}", output.status);
    let missing: Vec<_> = [&part, &note, &remembered].into_iter().filter(|path| !path.exists()).collect();
    assert_eq!(missing, Vec::<&PathBuf>::new(), "{said}");
}

#[tokio::test]
async fn check_config_ends_in_order_when_nobody_reads_the_report() {
    let (_directory, config) = sound();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut arguments = arguments::<&str>(&config, &[]);
    arguments.push("--check-config".to_owned());
    let mut command = command("redpoll-manager");
    let output = command.args(&arguments).stdout(writer).output();
    let output = in_time("the end of the command", output).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
}

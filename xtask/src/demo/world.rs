//! The demo's throw-away world: a folder with certificates, configurations, logs and state, and its daemons.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::demo::Interrupt;
use crate::demo::children::{Daemon, POLL};
use crate::demo::command::{Answer, Show, run};

/// The longest that a daemon may take to start, and anything else that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The manager's name in its certificate.
const MANAGER: &str = "m1";

/// The operator that `rpctl` speaks for.
const OPERATOR: &str = "ada";

/// What the owner of the demo's machines allows: without it, no program of an operator's choice runs.
const POLICY: &str = include_str!("policy.toml");

/// A folder and the processes that live in it. Dropping it ends them and removes it.
#[derive(Debug)]
pub(super) struct World {
    // the order matters: agents end before the manager, and both before the folder goes
    agents: BTreeMap<String, Daemon>,
    manager: Option<Daemon>,
    address: Option<SocketAddr>,
    programs: PathBuf,
    interrupt: Interrupt,
    folder: TempDir,
}

impl World {
    /// An empty folder that nobody else can read; `programs` is where the three programs are.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(super) fn new(programs: &Path, interrupt: Interrupt) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("redpoll-demo-").tempdir();
        Ok(Self {
            agents: BTreeMap::new(),
            manager: None,
            address: None,
            programs: programs.to_owned(),
            interrupt,
            folder: folder.context("cannot make a folder for the demo")?,
        })
    }

    /// Makes the certificate authority, and a certificate with a key for each who takes part.
    ///
    /// # Errors
    /// When `rpctl certs` fails.
    pub(super) fn make_certificates(&self, agents: &[&str]) -> anyhow::Result<()> {
        let folder = self.certs();
        let folder = folder.to_str().context("the temporary folder's name is not text")?;
        self.rpctl(&["certs", "init", folder, "--cluster", "demo"])?.exits(0)?;
        let issue = |role: &str, name: &str| -> anyhow::Result<()> {
            self.rpctl(&["certs", "issue", role, name, "--dir", folder])?.exits(0).map(drop)
        };
        issue("manager", MANAGER)?;
        issue("operator", OPERATOR)?;
        agents.iter().try_for_each(|name| issue("agent", name))
    }

    /// Starts the manager on a free port and waits until it listens; then `rpctl` can find it.
    ///
    /// # Errors
    /// When it ends early or does not listen in time.
    pub(super) fn start_manager(&mut self) -> anyhow::Result<SocketAddr> {
        let state = self.folder.path().join("manager");
        let listen = self.address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let text = format!(
            "[listen]\naddress = [\"{listen}\"]\n\n{tls}\n[manager]\nstate_dir = {state:?}\n",
            tls = self.tls("manager", MANAGER),
        );
        let config = self.write("manager.toml", &text)?;
        make_private(&state)?;
        let mut daemon = self.start_daemon("redpoll-manager", MANAGER, &config)?;
        let listens = state.join("listen.json");
        let id = daemon.id();
        let address = self.wait_for("the manager to listen", || {
            daemon.check_alive()?;
            let text = std::fs::read(&listens).unwrap_or_default();
            // half a file is no JSON: look again
            let listen: Option<Value> = serde_json::from_slice(&text).ok();
            // one that was killed has left its file
            let listen = listen.filter(|listen| listen.get("pid").and_then(Value::as_u64) == Some(id.into()));
            Ok(listen.and_then(|listen| first_address(&listen)))
        })?;
        self.manager = Some(daemon);
        self.address = Some(address);
        let text = format!("[manager]\naddress = [\"{address}\"]\n\n{}", self.tls("operator", OPERATOR));
        self.write("rpctl.toml", &text)?;
        Ok(address)
    }

    /// Starts an agent and waits until it answers through the manager.
    ///
    /// # Errors
    /// When it ends early or does not answer in time.
    pub(super) fn start_agent(&mut self, name: &str) -> anyhow::Result<()> {
        let address = self.address.context("the manager comes first")?;
        let state = self.folder.path().join(name);
        let text = format!(
            "[agent]\nid = \"{name}\"\nstate_dir = {state:?}\n\n[manager]\naddresses = [\"{address}\"]\n\n{tls}\n\
             [procedures]\nbuiltin = [\"sys.*\", \"exec.run\"]\n\n[policy]\nfile = {policy:?}\n",
            tls = self.tls("agent", name),
            policy = self.write("policy.toml", POLICY)?,
        );
        let config = self.write(&format!("{name}.toml"), &text)?;
        make_private(&state)?;
        let mut daemon = self.start_daemon("redpoll-agent", name, &config)?;
        self.wait_for(&format!("{name} to answer"), || {
            daemon.check_alive()?;
            let answer = self.rpctl_quietly(&["agents", "ping", name])?;
            Ok(answer.succeeded().then_some(()))
        })?;
        self.agents.insert(name.to_owned(), daemon);
        Ok(())
    }

    /// Kills the manager as `kill -9` does.
    ///
    /// # Errors
    /// When it does not run, or cannot be killed.
    pub(super) fn kill_manager(&mut self) -> anyhow::Result<()> {
        let daemon = self.manager.take().context("the manager does not run")?;
        println!("\n$ kill -9 {}    # the process of the manager", daemon.id());
        daemon.kill()
    }

    /// Kills an agent as `kill -9` does.
    ///
    /// # Errors
    /// When there is no such agent.
    pub(super) fn kill_agent(&mut self, name: &str) -> anyhow::Result<()> {
        let daemon = self.agents.remove(name).with_context(|| format!("{name} does not run"))?;
        println!("\n$ kill -9 {}    # the process of {name}", daemon.id());
        daemon.kill()
    }

    /// Waits until `agents list` has a line with all of these words.
    ///
    /// # Errors
    /// When it does not in time.
    pub(super) fn wait_for_listing(&self, words: &[&str]) -> anyhow::Result<()> {
        self.wait_for(&format!("`rpctl agents list` to say {}", words.join(" ")), || {
            let answer = self.rpctl_quietly(&["agents", "list"])?;
            Ok(answer.has_line_with(words).then_some(()))
        })
    }

    /// Runs `rpctl` for all to see.
    ///
    /// # Errors
    /// When it cannot be run to its end. Its exit code is the caller's to judge.
    pub(super) fn rpctl(&self, words: &[&str]) -> anyhow::Result<Answer> {
        self.run_rpctl(words, Show::Live)
    }

    fn rpctl_quietly(&self, words: &[&str]) -> anyhow::Result<Answer> {
        self.run_rpctl(words, Show::Nothing)
    }

    fn run_rpctl(&self, words: &[&str], show: Show) -> anyhow::Result<Answer> {
        let mut command = self.program("rpctl");
        let config = self.folder.path().join("rpctl.toml");
        if config.exists() {
            command.arg("--config").arg(config);
        }
        command.args(words);
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        run(format!("rpctl {}", words.join(" ")), command, show, &self.interrupt)
    }

    /// Ends everybody politely, agents first, and removes the folder.
    ///
    /// # Errors
    /// When somebody did not end well.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        // agents end at the same time; the manager stays until they have said goodbye
        self.agents.values_mut().for_each(Daemon::ask_to_end);
        for (name, daemon) in std::mem::take(&mut self.agents) {
            daemon.end()?;
            println!("  {name} ended");
        }
        if let Some(manager) = self.manager.take() {
            manager.end()?;
            println!("  the manager ended");
        }
        self.folder.close().context("cannot remove the demo's folder")
    }

    /// Asks everybody to end, and does not wait.
    pub(super) fn ask_all_to_end(&mut self) {
        self.agents.values_mut().chain(&mut self.manager).for_each(Daemon::ask_to_end);
    }

    /// Leaves everything as it is, and tells how to go on and how to stop.
    pub(super) fn keep(self) {
        let Self { agents, manager, programs, folder, .. } = self;
        let folder = folder.keep();
        let daemons: Vec<Daemon> = manager.into_iter().chain(agents.into_values()).collect();
        println!("\nLeft running:");
        for daemon in &daemons {
            println!("  {:<8} process {:<8} log {}", daemon.name, daemon.id(), daemon.log.display());
        }
        let ids: Vec<String> = daemons.iter().map(|daemon| daemon.id().to_string()).collect();
        let rpctl = programs.join("rpctl");
        let config = folder.join("rpctl.toml");
        println!(
            "\nTalk to it:\n  alias rpctl='{} --config {}'\n  rpctl agents list",
            rpctl.display(),
            config.display()
        );
        println!("\nStop it:\n  kill {}; sleep 1; rm -r {}", ids.join(" "), folder.display());
        daemons.into_iter().for_each(Daemon::keep);
    }

    /// The end of every log, for the one who has to find out what went wrong.
    pub(super) fn show_logs(&self) {
        for daemon in self.manager.iter().chain(self.agents.values()) {
            eprintln!("\nThe log of {} ends with\n{}", daemon.name, daemon.log_tail());
        }
    }

    fn start_daemon(&self, program: &str, name: &str, config: &Path) -> anyhow::Result<Daemon> {
        let mut command = self.program(program);
        command.arg("--config").arg(config).current_dir(self.folder.path());
        Daemon::start(name, command, self.folder.path().join(format!("{name}.log")))
    }

    /// One of our programs, out of reach of settings that somebody has in the environment.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if text.starts_with("REDPOLL_") || text.starts_with("RPCTL_") {
                command.env_remove(&variable);
            }
        }
        command
    }

    /// Looks until there is an answer, up to [`PATIENCE`].
    fn wait_for<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            self.interrupt.check()?;
            if Instant::now() >= deadline {
                bail!("waited {PATIENCE:?} in vain for {what}");
            }
            sleep(POLL);
        }
    }

    fn certs(&self) -> PathBuf {
        self.folder.path().join("certs")
    }

    /// The section of a configuration that says who somebody is.
    fn tls(&self, role: &str, name: &str) -> String {
        let certs = self.certs();
        let (cert, key) =
            (certs.join(format!("{role}-{name}.crt")), certs.join(format!("{role}-{name}.key")));
        format!("[tls]\ncert = {cert:?}\nkey = {key:?}\nca = {ca:?}\n", ca = certs.join("ca.crt"))
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// A folder that only its owner can read; a daemon refuses any other.
fn make_private(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make {}", folder.display()))
}

/// The first text in the value that is an address with a port.
fn first_address(value: &Value) -> Option<SocketAddr> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Array(values) => values.iter().find_map(first_address),
        Value::Object(fields) => fields.values().find_map(first_address),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// A word as a shell needs it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_address_is_found_wherever_it_stands() {
        let address = "127.0.0.1:7051".parse().ok();
        for listen in [
            json!("127.0.0.1:7051"),
            json!({"peers": ["127.0.0.1:7051"]}),
            json!({"a": 1, "b": "127.0.0.1:7051"}),
        ] {
            assert_eq!(first_address(&listen), address, "{listen}");
        }
        assert_eq!(first_address(&json!({"port": 7051})), None);
    }

    #[test]
    fn words_are_quoted_for_the_shell_only_when_they_need_it() {
        for (word, shown) in
            [("n:=1", "n:=1"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("", "''"), ("*", "'*'")]
        {
            assert_eq!(quoted(word), shown);
        }
    }

    /// Stands in for both daemons: says that it is ready, and ends when asked.
    const DAEMON: &str = r#"#!/bin/sh
        dir=$(sed -n 's/^state_dir = "\(.*\)"$/\1/p' "$2")
        trap 'exit 0' TERM
        echo $$ > "$dir/id"
        printf '{"pid": %d, "peers": ["127.0.0.1:1"]}' $$ > "$dir/listen.json"
        while :; do sleep 0.05; done"#;

    /// Stands in for `rpctl`: everybody is away in a listing, and a ping is answered by who is ready.
    const RPCTL: &str = r#"#!/bin/sh
        echo db-1 away
        [ "$4" != ping ] || kill -0 "$(cat "${2%/*}/$5/id")""#;

    /// A world in which `rpctl` is this script.
    fn stand_ins(programs: &TempDir, rpctl: &str) -> World {
        use std::os::unix::fs::PermissionsExt as _;
        let daemons = ["redpoll-manager", "redpoll-agent"].map(|name| (name, DAEMON));
        for (name, script) in daemons.into_iter().chain([("rpctl", rpctl)]) {
            let path = programs.path().join(name);
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        World::new(programs.path(), Interrupt::never()).unwrap()
    }

    #[test]
    fn daemons_are_started_killed_started_again_and_ended_and_the_folder_is_gone() {
        let programs = tempfile::tempdir().unwrap();
        let mut world = stand_ins(&programs, RPCTL);
        let folder = world.folder.path().to_owned();
        assert_eq!(world.start_manager().unwrap(), "127.0.0.1:1".parse().unwrap());
        world.start_agent("db-1").unwrap();
        world.kill_agent("db-1").unwrap();
        assert!(world.kill_agent("db-1").is_err());
        world.wait_for_listing(&["db-1", "away"]).unwrap();
        world.start_agent("db-1").unwrap();
        world.end().unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn a_world_in_which_something_went_wrong_is_cleaned_up_too() {
        let programs = tempfile::tempdir().unwrap();
        let mut world = stand_ins(&programs, "#!/bin/sh\nexit 4");
        let folder = world.folder.path().to_owned();
        world.start_manager().unwrap();
        let manager = world.manager.as_ref().map(Daemon::id).unwrap();
        assert!(world.make_certificates(&["db-1"]).unwrap_err().to_string().contains("certs init"));
        drop(world);
        let manager = rustix::process::Pid::from_raw(i32::try_from(manager).unwrap()).unwrap();
        assert!(rustix::process::test_kill_process(manager).is_err());
        assert!(!folder.exists());
    }
}

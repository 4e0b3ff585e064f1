//! A folder with an authority, a manager and its agents in it. Everything ends with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use redpoll_certs::testing::{TestAuthority, TestCertificate};
use redpoll_common::api::AgentState;
use tempfile::TempDir;
use tokio::process::Command;

use crate::line::Line;
use crate::operator::Operator;
use crate::policy::policy_section;
use crate::port::Port;
use crate::process::{Daemon, command};
use crate::witness::Witness;
use crate::{eventually, in_time};

/// The agent that every world has.
pub const HONEST: &str = "honest-1";

/// Configuration of every agent here: back-off that does not make tests wait, and all procedures.
const AGENT_DEFAULTS: &[&str] = &[
    "manager.backoff_initial=100ms",
    "manager.backoff_max=400ms",
    "procedures.builtin=sys.*,exec.run",
    "limits.calls=1024",
];

/// A manager, an honest agent and an honest operator, and whatever a test adds.
#[derive(Debug)]
pub struct World {
    /// The authority that all trust.
    pub authority: TestAuthority,
    /// The manager.
    pub manager: Daemon,
    /// Where it listens.
    pub address: SocketAddr,
    /// The honest operator.
    pub operator: Arc<Operator>,
    agents: BTreeMap<String, Daemon>,
    settings: Vec<String>,
    witness: Option<Witness>,
    _port: Port,
    // last, so that the files outlive the processes
    directory: TempDir,
}

impl World {
    /// Starts a manager with `settings` (each `key=value`), an agent [`HONEST`], an operator, and a [`Witness`].
    ///
    /// # Panics
    /// When one of them does not start.
    pub async fn start(settings: &[&str]) -> Self {
        let mut world = Self::quiet(settings).await;
        world.agent(HONEST, &[]).await;
        world.witness = Some(Witness::of(world.operator.clone(), HONEST));
        world
    }

    /// The same without an agent and a witness.
    ///
    /// # Panics
    /// When the manager does not start.
    pub async fn quiet(settings: &[&str]) -> Self {
        let directory = TempDir::new().expect("a folder");
        let authority = TestAuthority::new("home");
        authority.manager("m-1").write(directory.path(), "manager");
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let port = Port::reserve();
        let manager = start_manager(directory.path(), &port.address().to_string(), &settings);
        let address = listening(directory.path(), &manager).await;
        let operator = Arc::new(Operator::dial(address, &authority.operator("ada")).await);
        let agents = BTreeMap::new();
        Self {
            authority,
            manager,
            address,
            operator,
            agents,
            settings,
            witness: None,
            _port: port,
            directory,
        }
    }

    /// The folder.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts a real agent with `settings` and waits until the manager has let it in.
    pub async fn agent(&mut self, id: &str, settings: &[&str]) {
        self.start_agent(id, settings);
        self.operator.until(id, AgentState::Connected).await;
    }

    /// The same below another program, see [`Daemon::start_under`].
    pub async fn agent_under(&mut self, wrapper: &[String], id: &str, settings: &[&str]) {
        self.authority.agent(id).write(self.directory(), &format!("agent-{id}"));
        let daemon = start_agent_under(wrapper, self.directory(), id, &self.address.to_string(), settings);
        self.agents.insert(id.to_owned(), daemon);
        self.operator.until(id, AgentState::Connected).await;
    }

    /// The same with an agent of one's own, a program that is built on the library.
    pub async fn own_agent(&mut self, program: &str, id: &str, settings: &[&str]) {
        self.authority.agent(id).write(self.directory(), &format!("agent-{id}"));
        let (config, settings) = agent_config(self.directory(), id, &self.address.to_string(), settings);
        let log = self.directory().join(format!("agent-{id}.log"));
        let daemon = Daemon::start(program, &format!("agent {id}"), &arguments(&config, &settings), &log);
        self.agents.insert(id.to_owned(), daemon);
        self.operator.until(id, AgentState::Connected).await;
    }

    /// Starts a real agent, and does not wait for anything.
    pub fn start_agent(&mut self, id: &str, settings: &[&str]) {
        let own = self.authority.agent(id);
        own.write(self.directory(), &format!("agent-{id}"));
        let daemon = start_agent(self.directory(), id, &self.address.to_string(), settings);
        self.agents.insert(id.to_owned(), daemon);
    }

    /// Starts an agent again that was started before, with its certificate and its state. Kills it if it runs.
    pub async fn restart_agent(&mut self, id: &str, settings: &[&str]) {
        drop(self.agents.remove(id));
        self.operator.until(id, AgentState::Away).await;
        let daemon = start_agent(self.directory(), id, &self.address.to_string(), settings);
        self.agents.insert(id.to_owned(), daemon);
        self.operator.until(id, AgentState::Connected).await;
    }

    /// An agent in the hands of the test, which the manager has let in and put into its roster.
    pub async fn line(&self, id: &str) -> Line {
        let line = Line::agent(self.address, &self.certificate(id), id).await;
        // the hello is on its way a moment before the roster knows
        self.operator.until(id, AgentState::Connected).await;
        line
    }

    /// A real agent that was started before.
    ///
    /// # Panics
    /// When it was not.
    pub fn agent_process(&mut self, id: &str) -> &mut Daemon {
        self.agents.get_mut(id).expect("an agent that was started")
    }

    /// The same, taken out: dropping it kills it with SIGKILL.
    ///
    /// # Panics
    /// When it was not started.
    pub fn take_agent(&mut self, id: &str) -> Daemon {
        self.agents.remove(id).expect("an agent that was started")
    }

    /// Another operator.
    pub async fn operator(&self, id: &str) -> Operator {
        Operator::dial(self.address, &self.authority.operator(id)).await
    }

    /// Kills the manager if it still runs, and starts it again at the same address. The honest operator comes anew.
    pub async fn restart_manager(&mut self) {
        let _old = std::fs::remove_file(self.directory().join("manager-state/listen.json"));
        self.manager = start_manager(self.directory(), &self.address.to_string(), &self.settings);
        self.manager_is_back().await;
    }

    /// Waits until a manager that was started again listens. The honest operator comes anew.
    ///
    /// # Panics
    /// When it listens elsewhere.
    pub async fn manager_is_back(&mut self) {
        assert_eq!(listening(self.directory(), &self.manager).await, self.address);
        self.operator = Arc::new(self.operator("ada").await);
    }

    /// Waits until a manager that was started again listens, or ends before it does. In the first case, the honest operator
    /// comes anew if it can; gives whether it did.
    pub async fn manager_listens_or_ends(&mut self) -> bool {
        let Self { manager, directory, .. } = self;
        let (folder, pid) = (directory.path().to_owned(), manager.pid());
        let listens = tokio::select! {
            _status = manager.ended() => false,
            _address = listening_as(&folder, pid) => true,
        };
        let own = self.authority.operator("ada");
        let Some(operator) = (if listens { Operator::try_dial(self.address, &own).await } else { None })
        else {
            return false;
        };
        self.operator = Arc::new(operator);
        true
    }

    /// Starts the manager again below another program, see [`Daemon::start_under`], and does not wait for anything.
    pub fn restart_manager_under(&mut self, wrapper: &[String]) {
        let config = manager_config(self.directory(), &self.address.to_string());
        let (arguments, log) = (arguments(&config, &self.settings), self.directory().join("manager.log"));
        self.manager = Daemon::start_under(wrapper, "redpoll-manager", "the manager", &arguments, &log);
    }

    /// `rpctl` as the operator `ada`, ready for more arguments.
    ///
    /// # Panics
    /// When its files cannot be written.
    pub fn rpctl(&self) -> Command {
        let files = |name: &str| self.directory().join(name);
        let path = files("rpctl.toml");
        if !path.exists() {
            self.authority.operator("ada").write(self.directory(), "ada");
            let text = format!("manager = \"{}\"\n{}", self.address, tls_section(self.directory(), "ada"));
            std::fs::write(&path, text).expect("a file");
        }
        let mut command = command("rpctl");
        command.arg("--config").arg(path).env("HOME", self.directory());
        command
    }

    /// Runs `rpctl` and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn run_rpctl(&self, arguments: &[&str]) -> Output {
        in_time("the end of rpctl", self.rpctl().args(arguments).output()).await.expect("rpctl")
    }

    /// Ends the witness's work, which must have been undisturbed, and checks that nobody's log calls for a person.
    ///
    /// # Panics
    /// When others noticed.
    pub async fn nobody_else_noticed(&mut self) {
        self.witness_saw_nothing().await;
        assert_eq!(self.manager.troubles(), Vec::<String>::new());
        if let Some(honest) = self.agents.get(HONEST) {
            assert_eq!(honest.troubles(), Vec::<String>::new());
        }
    }

    /// Ends the witness's work, which must have been undisturbed; the logs may hold what they like.
    ///
    /// # Panics
    /// When others noticed.
    pub async fn witness_saw_nothing(&mut self) {
        if let Some(witness) = self.witness.take() {
            witness.testify().await;
        }
    }

    /// A good certificate of an agent.
    pub fn certificate(&self, agent: &str) -> TestCertificate {
        self.authority.agent(agent)
    }
}

/// The `[tls]` section for a certificate that was written to `directory` as `name`.
pub fn tls_section(directory: &Path, name: &str) -> String {
    let path = |name: String| directory.join(name).display().to_string();
    format!(
        "[tls]\ncert = \"{}\"\nkey = \"{}\"\nca = \"{}\"\n",
        path(format!("{name}.crt")),
        path(format!("{name}.key")),
        path("ca.crt".to_owned())
    )
}

/// Writes a configuration file that nobody else may change.
///
/// # Panics
/// When it cannot be written.
pub fn write_config(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).expect("a configuration file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
}

/// `--config FILE --set KEY=VALUE …`
pub fn arguments<S: AsRef<str>>(config: &Path, settings: &[S]) -> Vec<String> {
    let mut arguments = vec!["--config".to_owned(), config.display().to_string()];
    for setting in settings {
        arguments.extend(["--set".to_owned(), setting.as_ref().to_owned()]);
    }
    arguments
}

/// How long a manager of tests has an agent wait for the next session: theirs come and go far more often than those of a fleet.
const AS_OFTEN: &str = "0s";

/// The configuration of the manager of a world, written to `manager.toml`.
pub fn manager_config(directory: &Path, listen: &str) -> PathBuf {
    let path = directory.join("manager.toml");
    let text = format!(
        "listen = \"{listen}\"\n[manager]\nstate_dir = \"{}\"\n{}[admission]\nagent_interval = \"{AS_OFTEN}\"\n",
        directory.join("manager-state").display(),
        tls_section(directory, "manager")
    );
    write_config(&path, &text);
    path
}

fn start_manager(directory: &Path, listen: &str, settings: &[String]) -> Daemon {
    let config = manager_config(directory, listen);
    let log = directory.join("manager.log");
    Daemon::start("redpoll-manager", "the manager", &arguments(&config, settings), &log)
}

/// Starts a real agent whose certificate was written as `agent-ID`.
pub fn start_agent(directory: &Path, id: &str, manager: &str, settings: &[&str]) -> Daemon {
    start_agent_under(&[], directory, id, manager, settings)
}

/// The same below another program, see [`Daemon::start_under`].
pub fn start_agent_under(
    wrapper: &[String],
    directory: &Path,
    id: &str,
    manager: &str,
    settings: &[&str],
) -> Daemon {
    let (config, settings) = agent_config(directory, id, manager, settings);
    let log = directory.join(format!("agent-{id}.log"));
    let (name, arguments) = (format!("agent {id}"), arguments(&config, &settings));
    Daemon::start_under(wrapper, "redpoll-agent", &name, &arguments, &log)
}

/// The configuration of an agent, written to `agent-ID.toml`, and its settings.
fn agent_config<'s>(
    directory: &Path,
    id: &str,
    manager: &str,
    settings: &[&'s str],
) -> (PathBuf, Vec<&'s str>) {
    let path = directory.join(format!("agent-{id}.toml"));
    let text = format!(
        "manager = \"{manager}\"\n[agent]\nstate_dir = \"{}\"\n{}{}",
        directory.join(format!("agent-{id}-state")).display(),
        policy_section(directory),
        tls_section(directory, &format!("agent-{id}"))
    );
    write_config(&path, &text);
    (path, AGENT_DEFAULTS.iter().chain(settings).copied().collect())
}

/// Waits until a manager says where it listens.
pub async fn listening(directory: &Path, manager: &Daemon) -> SocketAddr {
    listening_as(directory, manager.pid()).await
}

async fn listening_as(directory: &Path, pid: u32) -> SocketAddr {
    let path = directory.join("manager-state/listen.json");
    eventually("the manager listens", async || {
        let text = std::fs::read_to_string(&path).ok()?;
        let list: serde_json::Value = serde_json::from_str(&text).ok()?;
        (list.get("pid")?.as_u64()? == u64::from(pid)).then_some(())?;
        list.get("addresses")?.get(0)?.as_str()?.parse().ok()
    })
    .await
}

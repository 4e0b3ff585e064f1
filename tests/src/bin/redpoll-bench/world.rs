//! The folder of one measurement, and the real daemons in it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use redpoll_common::api::{CallArguments, method};
use redpoll_common::identity::Role;
use redpoll_common::session::backoff::BackoffOptions;
use redpoll_common::session::handshake::SPOKEN;
use redpoll_common::wire::{AgentHello, Limits, Raw};
use redpoll_net::dial::{DialOptions, connect_once};
use redpoll_net::registry::RegistryService;
use redpoll_net::tls::{self, TlsClient, TlsTransport};
use redpoll_net::{Call, DriverOptions, Peer, Registry};
use redpoll_tests::policy::policy_section;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::pki::{self, AGENT, MANAGER, OPERATOR};
use crate::process::{Child, beside};

/// Any free port.
pub(crate) const ANY_PORT: &str = "127.0.0.1:0";
/// The longest that anything may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a start is looked at.
const POLL: Duration = Duration::from_millis(2);
/// As many requests in flight as anything here needs.
const IN_FLIGHT: u64 = 1024;
/// An open door: the measurement is of the work, not of the limits.
const OPEN_DOOR: &str = "[admission]\nhandshakes = 65536\nhandshakes_per_address = 65536\n\
    accept_rate = 100000\naccept_burst = 1000000\ntls_timeout = \"60s\"\nhello_timeout = \"60s\"\n\
    connections = 100000\nagent_interval = \"0s\"\n";

/// A folder with certificates, configurations, state and logs. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct World(TempDir);

/// A daemon that others dial.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl World {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::of(tempfile::Builder::new().prefix("redpoll-bench-").tempdir())
    }

    /// In the folder of this program, which lies on a disk also where temporary files lie in memory.
    pub(crate) fn on_disk() -> anyhow::Result<Self> {
        let own = beside("")?;
        Self::of(tempfile::Builder::new().prefix("redpoll-bench-").tempdir_in(own))
    }

    fn of(folder: std::io::Result<TempDir>) -> anyhow::Result<Self> {
        let world = Self(folder.context("cannot make a folder")?);
        pki::init(&world.pki())?;
        Ok(world)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.0.path().join("pki")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.log"))
    }

    fn files(&self, role: Role, name: &str) -> anyhow::Result<String> {
        let id = redpoll_common::ids::PeerId::parse(name)?;
        let files = redpoll_certs::store::paths(&self.pki(), role, &id);
        Ok(format!("[tls]\ncert = {:?}\nkey = {:?}\nca = {:?}\n", files.cert, files.key, files.ca))
    }

    /// Starts the manager and waits until it listens.
    pub(crate) async fn manager(&self, listen: &str, ping: Duration) -> anyhow::Result<Server> {
        self.start_manager("manager", listen, ping, "").await
    }

    /// The same with a name for its state, and with sections that the others do not need.
    pub(crate) async fn start_manager(
        &self,
        name: &str,
        listen: &str,
        ping: Duration,
        sections: &str,
    ) -> anyhow::Result<Server> {
        let state = self.0.path().join(name);
        let text = format!(
            "listen = {listen:?}\n[manager]\nstate_dir = {state:?}\n[session]\nping_interval = \"{}ms\"\n\
             dead_after = \"120s\"\nin_flight = {IN_FLIGHT}\n{OPEN_DOOR}{sections}{}",
            ping.as_millis(),
            self.files(Role::Manager, MANAGER)?,
        );
        let config = self.0.path().join(format!("{name}.toml"));
        std::fs::write(&config, text)?;
        let config = config.to_string_lossy();
        let mut child = Child::start("redpoll-manager", &["--config", &config], &self.log(name))?;
        let file = state.join("listen.json");
        let begun = Instant::now();
        loop {
            if let Some(address) = std::fs::read(&file).ok().and_then(|text| listening(&text, child.id())) {
                return Ok(Server { child, address });
            }
            if let Some(status) = child.ended()? {
                let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
                bail!("the manager ended, {status}:\n{log}");
            }
            if begun.elapsed() > PATIENCE {
                bail!("the manager does not listen");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Starts the agent. It may take a moment until it is connected.
    pub(crate) fn agent(&self, manager: SocketAddr) -> anyhow::Result<Child> {
        self.start_agent("redpoll-agent", AGENT, &self.0.path().join("agent"), manager)
    }

    /// The same with a program, a name that has a certificate, and a state folder of its own.
    pub(crate) fn start_agent(
        &self,
        program: &str,
        name: &str,
        state: &Path,
        manager: SocketAddr,
    ) -> anyhow::Result<Child> {
        self.start_agent_with(program, name, state, manager, "")
    }

    /// The same with sections that the others do not need.
    pub(crate) fn start_agent_with(
        &self,
        program: &str,
        name: &str,
        state: &Path,
        manager: SocketAddr,
        sections: &str,
    ) -> anyhow::Result<Child> {
        let text = format!(
            "manager = \"{manager}\"\n[agent]\nstate_dir = {state:?}\n[session]\nin_flight = {IN_FLIGHT}\n\
             [limits]\ncalls = {IN_FLIGHT}\noutput = \"1GiB\"\n{sections}{}{}",
            policy_section(self.0.path()),
            self.files(Role::Agent, name)?,
        );
        let config = self.0.path().join(format!("agent-{name}.toml"));
        std::fs::write(&config, text)?;
        let config = config.to_string_lossy();
        Child::start(program, &["--config", &config], &self.log(&format!("agent-{name}")))
    }

    /// The configuration of `rpctl` as the operator.
    pub(crate) fn rpctl_config(&self, manager: SocketAddr) -> anyhow::Result<PathBuf> {
        let path = self.0.path().join("rpctl.toml");
        std::fs::write(&path, format!("manager = \"{manager}\"\n{}", self.files(Role::Operator, OPERATOR)?))?;
        Ok(path)
    }

    /// Starts a bare process that listens, and waits until it does.
    pub(crate) async fn bare(&self, part: &str, listen: &str) -> anyhow::Result<Server> {
        self.bare_with(part, listen, &[]).await
    }

    /// The same with further arguments.
    pub(crate) async fn bare_with(&self, part: &str, listen: &str, more: &[&str]) -> anyhow::Result<Server> {
        let pki = self.pki();
        let pki = pki.to_string_lossy();
        let arguments = [&[part, "--pki", &pki, "--address", listen], more].concat();
        let mut child = Child::part(&arguments, &self.log(part))?;
        let address = child.expect("listening").await?.parse()?;
        Ok(Server { child, address })
    }

    /// Starts a store behind a connection.
    pub(crate) async fn bare_store(&self, folder: &Path) -> anyhow::Result<Server> {
        self.bare_with("bare-store", ANY_PORT, &["--folder", &folder.to_string_lossy()]).await
    }

    /// Starts a bare process that dials.
    pub(crate) fn bare_dialler(&self, part: &str, whom: SocketAddr) -> anyhow::Result<Child> {
        let pki = self.pki();
        let arguments = [part, "--pki", &pki.to_string_lossy(), "--address", &whom.to_string()];
        Child::part(&arguments, &self.log(part))
    }

    /// Starts an empty fleet.
    pub(crate) fn fleet(&self, kind: &str, target: SocketAddr, at_once: usize) -> anyhow::Result<Child> {
        let (pki, target, at_once) = (self.pki(), target.to_string(), at_once.to_string());
        let pki = pki.to_string_lossy();
        let arguments = ["fleet", kind, "--pki", &pki, "--target", &target, "--at-once", &at_once];
        Child::part(&arguments, &self.log(&format!("fleet-{kind}")))
    }

    /// Connects as the operator.
    pub(crate) async fn operator(&self, manager: SocketAddr, tracker: &TaskTracker) -> anyhow::Result<Peer> {
        let own = pki::credentials(&self.pki(), Role::Operator, OPERATOR)?;
        let client = Arc::new(TlsClient::new(own)?);
        let address = manager.to_string().into();
        let transport = TlsTransport::new(vec![address], client, tls::DialOptions::default());
        let options = DialOptions {
            hello_timeout: PATIENCE,
            liveness: None,
            driver: DriverOptions::default(),
            backoff: BackoffOptions::default(),
        };
        let service = Arc::new(RegistryService(Arc::new(Registry::new())));
        Ok(connect_once(&transport, hello(OPERATOR), service, &options, tracker).await?)
    }
}

/// The hello of a peer of ours.
pub(crate) fn hello(name: &str) -> AgentHello {
    AgentHello {
        id: name.to_owned(),
        version: "bench".to_owned(),
        protocol: Some(SPOKEN),
        limits: Some(Limits { in_flight: IN_FLIGHT, ..Limits::default() }),
        ..AgentHello::default()
    }
}

/// `sys.echo` on the agent.
pub(crate) fn echo_call() -> anyhow::Result<Call> {
    let arguments = CallArguments {
        agent: AGENT.to_owned(),
        procedure: "sys.echo".to_owned(),
        args: Raw::encode(&["0123456789abcdef0123456789abcdef"])?,
        kwargs: Raw::empty_map(),
    };
    Ok(Call::new(method::CALL, PATIENCE).with_kwargs(arguments.write()))
}

/// Waits until the agent answers.
pub(crate) async fn wait_for_agent(operator: &Peer) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        match operator.call(echo_call()?).await {
            Ok(_answer) => return Ok(()),
            Err(error) if begun.elapsed() > PATIENCE => {
                return Err(error).context("the agent does not answer");
            }
            Err(_not_yet) => tokio::time::sleep(POLL).await,
        }
    }
}

/// The address in `listen.json`, if this process wrote it.
fn listening(text: &[u8], id: u32) -> Option<SocketAddr> {
    let listen: Value = serde_json::from_slice(text).ok()?;
    let own = listen.get("pid")?.as_u64()? == u64::from(id);
    own.then(|| listen.get("addresses")?.get(0)?.as_str()?.parse().ok()).flatten()
}

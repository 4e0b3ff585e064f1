//! The daemons of one world, which die and come back at the same place with the same state.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use redpoll_certs::testing::TestAuthority;
use rustix::process::Signal;

use super::oracle::{append, wall_ms};
use crate::PATIENCE;
use crate::policy::policy_section;
use crate::port::Port;
use crate::process::Daemon;
use crate::world::{arguments, listening, manager_config, tls_section, write_config};

/// Settings of every manager here: nothing waits longer than a test can.
const MANAGER: &[&str] = &["jobs.retry_first=50ms", "jobs.retry_max=200ms", "log.level=info"];
/// Settings of every agent here.
const AGENT: &[&str] = &[
    "manager.backoff_initial=100ms",
    "manager.backoff_max=100ms",
    "procedures.builtin=sys.*,exec.run",
    "log.level=info",
];

/// A place of `redpoll_net::failpoint`, and the how manieth passing of it is the last.
pub type Arm = (&'static str, u32);

/// Which daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The manager.
    Manager,
    /// The agent of this place in [`Site::agents`].
    Agent(usize),
}

/// A death.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Whose.
    pub who: String,
    /// Where, if it was at a named place.
    pub point: Option<&'static str>,
    /// When it was noticed, in UTC milliseconds; the successor was not started yet.
    pub at_ms: u64,
    /// Its process.
    pub pid: u32,
}

/// A manager and its agents.
#[derive(Debug)]
pub struct Site {
    folder: PathBuf,
    /// What all trust.
    pub authority: TestAuthority,
    /// Where the manager listens.
    pub address: SocketAddr,
    /// The agents' names.
    pub agents: Vec<String>,
    /// Who died, in order.
    pub deaths: Vec<Death>,
    /// What went wrong with the daemons themselves.
    pub findings: Vec<String>,
    daemons: Vec<(Who, Daemon, u32)>,
    _port: Port,
}

impl Site {
    /// Starts a manager and `count` agents with their files in `folder`.
    ///
    /// # Panics
    /// When they do not start.
    pub async fn start(folder: &Path, count: usize) -> Self {
        let authority = TestAuthority::new("home");
        authority.manager("m-1").write(folder, "manager");
        let port = Port::reserve();
        let address = port.address();
        let agents: Vec<String> = (1..=count).map(|n| format!("agent-{n}")).collect();
        for agent in &agents {
            authority.agent(agent).write(folder, agent);
            let state = folder.join(format!("{agent}-state"));
            let text = format!(
                "manager = \"{address}\"\n[agent]\nstate_dir = \"{}\"\n{}{}",
                state.display(),
                policy_section(folder),
                tls_section(folder, agent)
            );
            write_config(&folder.join(format!("{agent}.toml")), &text);
        }
        let folder = folder.to_path_buf();
        let (deaths, findings, daemons) = (Vec::new(), Vec::new(), Vec::new());
        let mut site = Self { folder, authority, address, agents, deaths, findings, daemons, _port: port };
        site.revive(Who::Manager, None);
        let manager = site.daemon(Who::Manager);
        let manager = manager.expect("the manager");
        assert_eq!(listening(&site.folder, manager).await, address, "the port was taken by somebody else");
        for n in 0..count {
            site.revive(Who::Agent(n), None);
        }
        site
    }

    /// The oracle's file.
    pub fn oracle(&self) -> PathBuf {
        self.folder.join("oracle")
    }

    /// The file to which the manager's procedure adds each delivery that it takes.
    pub fn taken(&self) -> PathBuf {
        self.folder.join("taken")
    }

    /// The manager's configuration, with a procedure for the ends of jobs. It fails the first time with every other delivery.
    fn manager_config(&self) -> PathBuf {
        const SCRIPT: &str = "cat > /dev/null; case $REDPOLL_DELIVERY in *[02468ace]-*) mkdir \"$1.$REDPOLL_DELIVERY\" 2> /dev/null \
                              && exit 1;; esac; echo \"$REDPOLL_DELIVERY\" >> \"$1\"";
        let path = manager_config(&self.folder, &self.address.to_string());
        let text = std::fs::read_to_string(&path).expect("a configuration");
        let argv = ["/bin/sh", "-c", SCRIPT, "sh", &self.taken().display().to_string()].map(str::to_owned);
        let callbacks = format!(
            "{text}[jobs.callbacks]\nfirst = \"50ms\"\nmax = \"200ms\"\n[jobs.callbacks.procedures]\n{} = {argv:?}\n",
            super::order::TELL
        );
        write_config(&path, &callbacks);
        path
    }

    /// The name of a daemon.
    pub fn name(&self, who: Who) -> String {
        match who {
            Who::Manager => "manager".to_owned(),
            Who::Agent(n) => self.agents.get(n).cloned().unwrap_or_default(),
        }
    }

    /// Everybody.
    pub fn everybody(&self) -> Vec<Who> {
        std::iter::once(Who::Manager).chain((0..self.agents.len()).map(Who::Agent)).collect()
    }

    fn daemon(&self, who: Who) -> Option<&Daemon> {
        self.daemons.iter().find(|(other, ..)| *other == who).map(|(_, daemon, _)| daemon)
    }

    /// The process that a daemon is, if it lives.
    pub fn pid(&self, who: Who) -> Option<u32> {
        self.daemons.iter().find(|(other, ..)| *other == who).map(|(_, _, pid)| *pid)
    }

    /// Starts a daemon that is dead, to die at a named place or not.
    pub fn revive(&mut self, who: Who, arm: Option<Arm>) {
        let name = self.name(who);
        let (program, config, settings) = match who {
            Who::Manager => ("redpoll-manager", self.manager_config(), MANAGER),
            Who::Agent(_) => ("redpoll-agent", self.folder.join(format!("{name}.toml")), AGENT),
        };
        let log = self.folder.join(format!("{name}.log"));
        let order = arm.map(|(point, passing)| format!("{point}:{passing}"));
        let variable = order.as_deref().map(|order| ("REDPOLL_FAILPOINT", order));
        let daemon = Daemon::start_with(program, &name, &arguments(&config, settings), &log, variable);
        let pid = daemon.pid();
        self.daemons.push((who, daemon, pid));
    }

    /// Kills a daemon.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub async fn kill(&mut self, who: Who) {
        let Some(place) = self.daemons.iter().position(|(other, ..)| *other == who) else { return };
        let (_, mut daemon, pid) = self.daemons.remove(place);
        daemon.signal(Signal::KILL);
        let status = daemon.ended().await;
        self.buried(who, pid, status, None);
    }

    /// Waits for a daemon to die at the place where it was told to, and tells whether it did.
    pub async fn died(&mut self, who: Who, point: &'static str, limit: Duration) -> bool {
        let Some(place) = self.daemons.iter().position(|(other, ..)| *other == who) else { return false };
        let (_, mut daemon, pid) = self.daemons.remove(place);
        let Some(status) = daemon.ended_within(limit).await else {
            self.daemons.push((who, daemon, pid));
            return false;
        };
        self.buried(who, pid, status, Some(point));
        true
    }

    /// Asks a daemon to end in order.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn end(&mut self, who: Who) {
        let Some(place) = self.daemons.iter().position(|(other, ..)| *other == who) else { return };
        let (_, mut daemon, _) = self.daemons.remove(place);
        daemon.signal(Signal::TERM);
        match daemon.ended_within(PATIENCE).await {
            Some(status) if status.success() => {}
            status => self.findings.push(format!("{} did not end in order: {status:?}", self.name(who))),
        }
    }

    fn buried(&mut self, who: Who, pid: u32, status: ExitStatus, point: Option<&'static str>) {
        let name = self.name(who);
        if status.signal() != Some(Signal::KILL.as_raw()) {
            self.findings.push(format!("{name} ended by itself, with {status}"));
        }
        if let Who::Agent(_) = who {
            let noted = append(&self.oracle(), &format!("killed {name} {pid}"));
            noted.expect("the oracle's file");
        }
        self.deaths.push(Death { who: name, point, at_ms: wall_ms(), pid });
    }

    /// Lines of the logs that call for a person.
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        for who in self.everybody() {
            let name = self.name(who);
            let log = std::fs::read(self.folder.join(format!("{name}.log"))).unwrap_or_default();
            for line in String::from_utf8_lossy(&log).lines() {
                if line.contains(" ERROR ") || line.contains("panicked") {
                    troubles.push(format!("{name}: {line}"));
                }
            }
        }
        troubles
    }
}

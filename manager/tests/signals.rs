//! The manager as a process: what SIGHUP changes, what it leaves alone, and how SIGTERM ends it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: whatever cannot be done is a failure of the test"
)]

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redpoll_certs::credentials::Credentials;
use redpoll_certs::identity;
use redpoll_certs::testing::{TestAuthority, TestCertificate};
use redpoll_common::session::CloseReason;
use redpoll_common::session::backoff::BackoffOptions;
use redpoll_common::session::handshake::SPOKEN;
use redpoll_common::wire::{AgentHello, ByeCode};
use redpoll_net::dial::{self, connect_once};
use redpoll_net::registry::RegistryService;
use redpoll_net::tls::{DialOptions, TlsClient, TlsTransport};
use redpoll_net::{DriverOptions, Peer, Registry};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_secs(20);

/// A manager in a folder of its own; it is killed when this is dropped.
struct Manager {
    child: Child,
    folder: tempfile::TempDir,
    authority: TestAuthority,
    tracker: TaskTracker,
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Manager {
    fn start() -> Self {
        let manager = Self::begin(|_folder, _command| {});
        manager.wait_for("the manager is ready", 1);
        manager
    }

    /// The same without waiting for it, in a folder and by a command that are changed.
    fn begin(change: impl FnOnce(&Path, &mut Command)) -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), TestAuthority::new("home"));
        authority.manager("m-1").write(folder.path(), "manager");
        let config = folder.path().join("manager.toml");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&config).unwrap();
        let tls = "[tls]\ncert = \"manager.crt\"\nkey = \"manager.key\"\nca = \"ca.crt\"\n";
        write!(file, "listen = \"127.0.0.1:0\"\n[manager]\nstate_dir = \"state\"\n{tls}").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_redpoll-manager"));
        command.arg("--config").arg(&config).stderr(File::create(folder.path().join("log")).unwrap());
        change(folder.path(), &mut command);
        Self { child: command.spawn().unwrap(), folder, authority, tracker: TaskTracker::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the log has said something so many times.
    fn wait_for(&self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(self.path("log")).unwrap();
            if log.matches(text).count() >= times {
                return;
            }
            assert!(Instant::now() < deadline, "never {times} times {text:?} in:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it hangs on a pipe, orders it to stop, and waits for its end.
    fn stop_while_it_reads(&mut self, name: &str) {
        let mut writer = OpenOptions::new();
        writer.write(true).custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap());
        let deadline = Instant::now() + PATIENCE;
        // there is nobody to write for before the manager reads
        let _hanging = loop {
            match writer.open(self.path(name)) {
                Ok(writer) => break writer,
                Err(error) => assert!(Instant::now() < deadline, "it is not read: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        self.signal(Signal::TERM);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(self.child.wait().unwrap().success());
        assert!(!self.path("state/listen.json").exists());
    }

    /// Reloads, and waits for what the manager says of it.
    fn reload(&self, says: &str) {
        self.signal(Signal::HUP);
        self.wait_for(says, 1);
    }

    async fn agent(&self, id: &str) -> Peer {
        let own = self.authority.agent(id);
        let client = Arc::new(TlsClient::new(credentials(&own)).unwrap());
        let listen = fs::read_to_string(self.path("state/listen.json")).unwrap();
        let listen: serde_json::Value = serde_json::from_str(&listen).unwrap();
        let address: Arc<str> = listen["addresses"][0].as_str().unwrap().into();
        let transport = TlsTransport::new(vec![address], client, DialOptions::default());
        let hello = AgentHello { id: id.to_owned(), protocol: Some(SPOKEN), ..AgentHello::default() };
        let service = Arc::new(RegistryService(Arc::new(Registry::new())));
        let options = dial::DialOptions {
            hello_timeout: PATIENCE,
            liveness: None,
            driver: DriverOptions::default(),
            backoff: BackoffOptions::default(),
        };
        connect_once(&transport, hello, service, &options, &self.tracker).await.unwrap()
    }
}

fn credentials(own: &TestCertificate) -> Credentials {
    Credentials {
        chain: own.chain.clone(),
        key: own.key(),
        roots: vec![own.root.clone()],
        info: identity::read(&own.chain[0]).unwrap(),
    }
}

/// The serial number of the certificate that the manager showed.
fn shown(peer: &Peer) -> &str {
    &peer.info().certificate.as_ref().unwrap().serial
}

/// Puts another file in the place of one, as `mv` does.
fn replace(path: &Path, text: impl AsRef<[u8]>) {
    let (draft, mode) = (path.with_extension("draft"), fs::metadata(path).unwrap().permissions());
    fs::write(&draft, text).unwrap();
    fs::set_permissions(&draft, mode).unwrap();
    fs::rename(draft, path).unwrap();
}

#[tokio::test]
async fn a_reload_takes_a_renewed_certificate_for_new_sessions_and_keeps_the_old_ones() {
    let manager = Manager::start();
    let before = manager.agent("web-1").await;
    let renewed = manager.authority.manager("m-1");
    replace(&manager.path("manager.crt"), renewed.certificate_pem.as_bytes());
    replace(&manager.path("manager.key"), renewed.key_pem.expose());
    manager.reload("reloaded; new handshakes use");
    let after = manager.agent("web-2").await;
    assert_ne!(shown(&before), shown(&after));
    assert!(before.ping().await.is_some(), "the session of before the reload goes on");
}

#[tokio::test]
async fn a_reload_that_cannot_be_used_is_told_and_changes_nothing() {
    let manager = Manager::start();
    let before = manager.agent("web-1").await;
    let good = |name: &str| fs::read_to_string(manager.path(name)).unwrap();
    let (crt, key, toml) = (good("manager.crt"), good("manager.key"), good("manager.toml"));

    replace(&manager.path("manager.crt"), "rubbish");
    manager.reload("no certificates can be read");
    let other = manager.authority.manager("m-2");
    replace(&manager.path("manager.crt"), other.certificate_pem.as_bytes());
    replace(&manager.path("manager.key"), other.key_pem.expose());
    manager.reload("the new certificate is that of spiffe://home/manager/m-2");
    replace(&manager.path("manager.crt"), &crt);
    replace(&manager.path("manager.key"), &key);
    fs::set_permissions(manager.path("manager.key"), Permissions::from_mode(0o644)).unwrap();
    manager.reload("is open to others (mode 0644) help=\"`chmod 600 ");
    fs::set_permissions(manager.path("manager.key"), Permissions::from_mode(0o600)).unwrap();
    replace(&manager.path("manager.toml"), format!("{toml}[lgo]\n"));
    manager.reload("nothing was reloaded");
    replace(
        &manager.path("manager.toml"),
        format!("{toml}[listen]\nbacklog = 7\n").replacen("listen = ", "# ", 1),
    );
    manager.reload("listen.backlog");

    let after = manager.agent("web-2").await;
    assert_eq!(shown(&before), shown(&after));
    assert!(before.ping().await.is_some());
}

#[tokio::test]
async fn an_order_to_stop_says_goodbye_with_a_hint_and_ends_well() {
    let mut manager = Manager::start();
    let agent = manager.agent("web-1").await;
    manager.signal(Signal::TERM);
    let reason = tokio::time::timeout(PATIENCE, agent.closed()).await.unwrap();
    let CloseReason::Theirs(bye) = reason else { panic!("no goodbye: {reason}") };
    assert_eq!(bye.code, Some(ByeCode::ShuttingDown));
    assert!(bye.retry_after_ms.is_some());
    assert!(manager.child.wait().unwrap().success());
    assert!(!manager.path("state/listen.json").exists());
}

/// A pipe: whoever reads it waits until somebody has written.
fn pipe(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

#[test]
fn an_order_to_stop_is_heard_while_a_reload_hangs() {
    let mut manager = Manager::start();
    pipe(&manager.path("draft"));
    fs::rename(manager.path("draft"), manager.path("manager.toml")).unwrap();
    manager.signal(Signal::HUP);
    manager.stop_while_it_reads("manager.toml");
}

#[test]
fn an_order_to_stop_is_heard_while_the_start_hangs() {
    let mut manager = Manager::begin(|folder, command| {
        pipe(&folder.join("authorities"));
        command.env("SSL_CERT_FILE", folder.join("authorities"));
    });
    manager.stop_while_it_reads("authorities");
    manager.wait_for("stopped before it was ready", 1);
}

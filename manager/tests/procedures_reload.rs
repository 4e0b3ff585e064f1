//! The manager's procedures, read anew: what cannot be read for the moment, and what was away for a while.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::time::Duration;

use redpoll_common::identity::{Identity, Role};
use redpoll_common::wire::Raw;
use redpoll_config::ManagerProceduresConfig;
use redpoll_manager::procedures::Offering;
use redpoll_net::service::detached_call;
use redpoll_net::transport::PeerInfo;
use tempfile::TempDir;
use tokio::task::JoinSet;

struct Site {
    folder: TempDir,
    offering: Offering,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("d");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
        let own = Identity::parse("spiffe://home/manager/m").unwrap();
        let config = ManagerProceduresConfig { dir, ..ManagerProceduresConfig::default() };
        Self { folder, offering: Offering::new(own, &config, None) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("d/{name}.toml"))
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.file(file);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }

    fn serves(&self, name: &str) -> bool {
        self.offering.serves(Role::Operator, name)
    }
}

fn manifest(name: &str) -> String {
    format!("name = \"{name}\"\ncommand = [\"true\"]\ncallers = [\"operator:*\"]\n")
}

#[test]
fn what_cannot_be_read_at_a_reload_stays_as_it_was_read_before() {
    let site = Site::new();
    for name in ["a", "b"] {
        site.write(name, &manifest(name));
    }
    assert_eq!(site.offering.reload(), Vec::<String>::new());
    // a file of ours that gives an error when it is read
    fs::remove_file(site.file("a")).unwrap();
    symlink("/proc/self/mem", site.file("a")).unwrap();
    fs::remove_file(site.file("b")).unwrap();
    // nobody takes its name meanwhile, in whatever case
    site.write("c", &manifest("a"));
    let problems = site.offering.reload();
    assert_eq!((site.serves("a"), site.serves("b")), (true, false), "{problems:?}");
    for said in ["a.toml", "one of this name and version already", "describes 1 of the procedures"] {
        assert!(problems.iter().any(|problem| problem.contains(said)), "{said}: {problems:?}");
    }
    site.write("c", &manifest("A"));
    let problems = site.offering.reload();
    assert_eq!((site.serves("a"), site.serves("A")), (true, false), "{problems:?}");
    let both = format!("c.toml: A@1: A differs from a of {}", site.file("a").display());
    assert!(problems.iter().any(|problem| problem.contains(&both)), "{problems:?}");
    fs::remove_file(site.file("a")).unwrap();
    fs::remove_file(site.file("c")).unwrap();
    assert_eq!(site.offering.reload(), Vec::<String>::new());
    assert!(!site.serves("a"), "it is gone");
}

#[tokio::test]
async fn runs_of_a_description_that_was_away_count_when_it_comes_back() {
    let site = Site::new();
    let go = site.folder.path().join("go");
    let wait = format!("until [ -e {} ]; do sleep 0.01; done", go.display());
    let text = format!(
        "name = \"p\"\ncommand = [\"/bin/sh\", \"-c\", '''echo '{{\"value\":1}}'; {wait}; echo '{{\"result\":2}}'''']\n\
         callers = [\"operator:*\"]\nconcurrency = 1\n"
    );
    site.write("p", &text);
    assert_eq!(site.offering.reload(), Vec::<String>::new());
    let mut tasks = JoinSet::new();
    let mut start = || {
        let caller = PeerInfo {
            identity: Identity::parse("spiffe://home/operator/ada").unwrap(),
            address: "test".into(),
            ip: None,
            speaks_rp1: true,
            certificate: None,
        };
        let (call, output, stop) = detached_call(caller, "p", Raw::empty_array(), Raw::empty_map());
        let answer = site.offering.start(call).unwrap().answer;
        tasks.spawn(async move { answer.await.map(|raw| (raw.decode::<u32>().unwrap(), stop)) });
        output
    };
    start().next().await.unwrap().unwrap();
    site.write("p", "a mistake");
    assert_eq!((site.offering.reload().len(), site.serves("p")), (1, false));
    site.write("p", &text);
    assert_eq!(site.offering.reload(), Vec::<String>::new());
    let mut second = start();
    // long enough for whoever starts beside the first; whoever waits does so as long as that runs
    let early = tokio::time::timeout(Duration::from_millis(300), second.next()).await;
    assert!(early.is_err(), "it runs beside the other, and the file says one at a time");
    fs::write(&go, "").unwrap();
    while let Some(end) = tasks.join_next().await {
        assert_eq!(end.unwrap().unwrap().0, 2);
    }
}

//! An offline authority on disk: made, used, described, and never overwritten.
#![cfg(feature = "issue")]
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, SystemTime};

use redpoll_certs::authority::{AUTHORITY_LIFETIME, Authority, AuthorityError, MAX_AUTHORITY_LIFETIME};
use redpoll_certs::credentials::load_identity_files;
use redpoll_certs::describe::{Description, KeyState, Subject, describe};
use redpoll_certs::expect::Expect;
use redpoll_certs::files::FileError;
use redpoll_certs::issue::{IssueOptions, LEAF_LIFETIME};
use redpoll_certs::store::{StoreError, init, issue, open, paths};
use redpoll_certs::testing::{TestAuthority, Wrong};
use redpoll_common::identity::Role;
use redpoll_common::ids::{ClusterName, PeerId};
use rustls_pki_types::ServerName;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn cluster() -> ClusterName {
    ClusterName::parse("home").unwrap()
}

fn peer(id: &str) -> PeerId {
    PeerId::parse(id).unwrap()
}

fn fresh() -> (tempfile::TempDir, PathBuf, SystemTime) {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("pki");
    let now = SystemTime::now();
    init(&directory, &cluster(), AUTHORITY_LIFETIME, now).unwrap();
    (outer, directory, now)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn half_an_authority_is_told_as_that_and_not_as_a_whole_or_none() {
    for (gone, kept) in [("ca.crt", "ca.key"), ("ca.key", "ca.crt")] {
        let (_outer, directory, now) = fresh();
        fs::remove_file(directory.join(gone)).unwrap();
        let tried = [
            init(&directory, &cluster(), AUTHORITY_LIFETIME, now).map(drop),
            open(&directory).map(drop),
            issue(&directory, Role::Agent, &peer("x"), &IssueOptions::default(), now).map(drop),
        ];
        for error in tried.map(Result::unwrap_err) {
            assert!(error.to_string().ends_with(&format!("has a {kept} and no {gone}")), "{error}");
            assert!(
                error.help().contains(&format!("move {}/{kept} away", directory.display())),
                "{}",
                error.help()
            );
        }
        assert_eq!(names(&directory), [kept]);
        fs::remove_file(directory.join(kept)).unwrap();
        init(&directory, &cluster(), AUTHORITY_LIFETIME, now).unwrap();
    }
}

#[test]
fn what_is_issued_loads_and_describes_itself_without_a_problem() {
    let (_outer, directory, now) = fresh();
    assert_eq!(mode(&directory), 0o700);
    assert_eq!((mode(&directory.join("ca.key")), mode(&directory.join("ca.crt"))), (0o600, 0o644));
    let addresses = ["manager.example", "192.0.2.1", "::1"].map(|name| ServerName::try_from(name).unwrap());
    for role in Role::ALL {
        let names = if role == Role::Manager { addresses.to_vec() } else { Vec::new() };
        let options = IssueOptions { names, ..IssueOptions::default() };
        let issued = issue(&directory, role, &peer("x.1"), &options, now).unwrap();
        assert_eq!(issued.files, paths(&directory, role, &peer("x.1")));
        assert_eq!((mode(&issued.files.key), mode(&issued.files.cert)), (0o600, 0o644));
        let want = Expect::role(role).in_cluster(cluster());
        let credentials = load_identity_files(&issued.files, &want, now).unwrap();
        assert_eq!(credentials.info.identity, issued.identity);
    }
    let all = describe(&directory, now).unwrap();
    assert!(all.iter().all(|one| one.problems.is_empty() && one.key == KeyState::Good), "{all:#?}");
    let subjects: Vec<_> = all.iter().map(|one| one.subject.clone()).collect();
    let [Subject::Peer(agent), Subject::Authority(Some(home)), Subject::Peer(manager), Subject::Peer(_)] =
        subjects.as_slice()
    else {
        panic!("{subjects:?}")
    };
    assert_eq!((agent.role, home, manager.role), (Role::Agent, &cluster(), Role::Manager));
    assert_eq!(all[2].names, ["manager.example", "192.0.2.1", "::1"]);
    assert_eq!(all[2].usages, ["clientAuth", "serverAuth"]);
    let left: Vec<_> = all.iter().map(|one| one.validity.unwrap().days_left).collect();
    assert_eq!(left, [90, 3650, 90, 90]);
    assert_eq!(LEAF_LIFETIME, 90 * DAY);
    assert_eq!(all[0].issuer, all[1].issuer);
}

#[test]
fn nothing_is_ever_overwritten_and_the_help_says_how_to_go_on() {
    let (_outer, directory, now) = fresh();
    let options = IssueOptions::default();
    issue(&directory, Role::Agent, &peer("a"), &options, now).unwrap();
    let before: Vec<_> =
        names(&directory).iter().map(|name| fs::read(directory.join(name)).unwrap()).collect();
    let again = init(&directory, &cluster(), AUTHORITY_LIFETIME, now).unwrap_err();
    assert!(matches!(again, StoreError::HasAuthority { .. }), "{again:?}");
    assert!(again.help().contains("rpctl certs issue"), "{}", again.help());
    let again = issue(&directory, Role::Agent, &peer("a"), &options, now).unwrap_err();
    assert!(matches!(again, StoreError::Issued { .. }), "{again:?}");
    assert!(again.help().contains("agent-a.crt"), "{}", again.help());
    let after: Vec<_> =
        names(&directory).iter().map(|name| fs::read(directory.join(name)).unwrap()).collect();
    assert_eq!(before, after);
    issue(&directory, Role::Operator, &peer("a"), &options, now).unwrap();
}

#[test]
fn no_half_pair_is_left_behind() {
    let (_outer, directory, now) = fresh();
    // half a pair of somebody else's stays what it is, and gets no second half
    fs::write(directory.join("agent-a.crt"), "theirs").unwrap();
    let before = names(&directory);
    assert!(issue(&directory, Role::Agent, &peer("a"), &IssueOptions::default(), now).is_err());
    assert_eq!(names(&directory), before);
    // a failure of the authority itself leaves nothing either
    let refused = IssueOptions { lifetime: Duration::ZERO, ..IssueOptions::default() };
    let error = issue(&directory, Role::Agent, &peer("b"), &refused, now).unwrap_err();
    assert!(matches!(error, StoreError::Authority { source: AuthorityError::Lifetime { .. }, .. }));
    assert_eq!(names(&directory), before);
}

#[test]
fn of_many_who_ask_for_one_name_at_once_exactly_one_wins() {
    let (_outer, directory, now) = fresh();
    let barrier = Barrier::new(8);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            issue(&directory, Role::Agent, &peer("a"), &IssueOptions::default(), now)
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(won, 1, "{outcomes:?}");
    let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(StoreError::Issued { .. }))).count();
    assert_eq!(lost, 7, "{outcomes:?}");
    let files = paths(&directory, Role::Agent, &peer("a"));
    load_identity_files(&files, &Expect::ANY, now).unwrap();
}

#[test]
fn a_directory_without_an_authority_or_with_a_damaged_one_issues_nothing() {
    let empty = tempfile::tempdir().unwrap();
    let error = open(empty.path()).unwrap_err();
    assert!(matches!(error, StoreError::NoAuthority { .. }), "{error:?}");
    assert!(error.help().contains("rpctl certs init"), "{}", error.help());

    let (_outer, directory, now) = fresh();
    let other = Authority::create(&cluster(), AUTHORITY_LIFETIME, now).unwrap();
    fs::write(directory.join("ca.crt"), other.certificate_pem()).unwrap();
    let error = open(&directory).unwrap_err();
    assert!(matches!(error, StoreError::Authority { source: AuthorityError::KeyMismatch, .. }), "{error:?}");
    fs::set_permissions(directory.join("ca.key"), Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(open(&directory), Err(StoreError::File(FileError::Loose { .. }))));
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
    let error = open(&directory).unwrap_err();
    assert!(matches!(error, StoreError::File(FileError::Loose { wanted: 0o700, .. })), "{error:?}");
}

#[test]
fn an_authority_issues_only_within_its_own_time_and_only_what_makes_sense() {
    let now = SystemTime::now();
    for lifetime in [Duration::ZERO, MAX_AUTHORITY_LIFETIME + DAY, Duration::MAX] {
        let error = Authority::create(&cluster(), lifetime, now).unwrap_err();
        assert!(matches!(error, AuthorityError::Lifetime { .. }), "{error:?}");
    }
    let authority = Authority::create(&cluster(), DAY, now).unwrap();
    let options = IssueOptions::default();
    for (role, moment) in [(Role::Agent, now + 2 * DAY), (Role::Manager, now - DAY)] {
        let error = authority.issue(role, &peer("a"), &options, moment).unwrap_err();
        assert!(matches!(error, AuthorityError::OutsideItsTime { .. }), "{error:?}");
    }
    let named = IssueOptions { names: vec![ServerName::try_from("a.example").unwrap()], ..options };
    let error = authority.issue(Role::Agent, &peer("a"), &named, now).unwrap_err();
    assert!(matches!(error, AuthorityError::NamesOnlyForManagers), "{error:?}");
}

#[test]
fn an_authority_comes_back_from_its_two_files_and_names_of_any_length_work() {
    let now = SystemTime::now();
    let long = "x".repeat(128);
    let made = Authority::create(&ClusterName::parse(&long).unwrap(), DAY, now).unwrap();
    let back = Authority::load(made.certificate_pem().as_bytes(), &made.key_pem()).unwrap();
    assert_eq!(back.cluster().as_str(), long);
    assert_eq!(back.certificate(), made.certificate());
    let issued = back.issue(Role::Agent, &peer(&long), &IssueOptions::default(), now).unwrap();
    let root = [made.certificate().clone()];
    redpoll_certs::expect::check_chain(&issued.chain, &root, Role::Agent, now).unwrap();
}

fn only(descriptions: Vec<Description>) -> Description {
    assert_eq!(descriptions.len(), 1, "{descriptions:?}");
    descriptions.into_iter().next().unwrap()
}

#[test]
fn a_description_names_everything_that_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (TestAuthority::new("home"), TestAuthority::new("home"));
    let now = ours.now();
    let shown = |path: &Path| only(describe(path, now).unwrap());
    let late = ours.wrong(Role::Agent, "late", Wrong::Expired).write(directory.path(), "late");
    let foreign = theirs.agent("foreign").write(directory.path(), "foreign");
    let two = ours.wrong(Role::Agent, "two", Wrong::TwoUris).write(directory.path(), "two");
    let open = ours.agent("open").write(directory.path(), "open");
    fs::set_permissions(&open.key, Permissions::from_mode(0o604)).unwrap();

    let described = shown(&late.cert);
    assert!(described.problems[0].what.contains("expired at"), "{described:?}");
    assert_eq!((described.problems.len(), described.validity.unwrap().days_left), (1, -1));
    let described = shown(&foreign.cert);
    assert!(described.problems[0].what.contains("not trusted here"), "{described:?}");
    assert_eq!(described.key, KeyState::Good);
    let described = shown(&two.cert);
    assert_eq!(described.subject, Subject::Unknown);
    assert!(described.problems[0].what.contains("2 URIs"), "{described:?}");
    let described = shown(&open.cert);
    assert_eq!(described.key, KeyState::Bad);
    assert!(described.problems[0].help.contains("chmod 600"), "{described:?}");

    fs::write(directory.path().join("junk.crt"), "junk").unwrap();
    let all = describe(directory.path(), now).unwrap();
    assert_eq!(all.len(), 6, "{all:#?}");
    assert!(matches!(
        describe(&directory.path().join("junk.crt"), now),
        Err(FileError::NoCertificate { .. })
    ));
    assert!(matches!(describe(&directory.path().join("none"), now), Err(FileError::Io { .. })));
}

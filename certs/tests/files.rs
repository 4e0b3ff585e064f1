//! Key files: exclusive, private from the first moment, and refused when they are not.
#![cfg(feature = "issue")]
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use redpoll_certs::credentials::{TlsFiles, load_chain, load_identity_files, load_key, load_roots};
use redpoll_certs::expect::Expect;
use redpoll_certs::files::{
    FileError, MAX_FILE, check_private_directory, create_private, create_private_directory, create_public,
    read_private_key, read_public,
};
use redpoll_certs::testing::{TestAuthority, Wrong};
use redpoll_certs::{CertificateError, PrivatePem};
use redpoll_common::identity::Role;
use redpoll_common::ids::ClusterName;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    // nextest gives each test its process; elsewhere the mask is the same for all threads, so it is put back at once
    let directory = tempfile::tempdir().unwrap();
    for (number, mask) in [0o000, 0o022, 0o027, 0o077].into_iter().enumerate() {
        let at = |name: &str| directory.path().join(format!("{name}-{number}"));
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
        let made = (
            create_private(&at("key"), b"k"),
            create_public(&at("crt"), b"c"),
            create_private_directory(&at("dir").join("inner")),
        );
        rustix::process::umask(before);
        let (Ok(()), Ok(()), Ok(())) = made else { panic!("{mask:o}: {made:?}") };
        assert_eq!((mode(&at("key")), mode(&at("crt"))), (0o600, 0o644), "umask {mask:03o}");
        assert_eq!((mode(&at("dir")), mode(&at("dir").join("inner"))), (0o700, 0o700), "umask {mask:03o}");
    }
}

#[test]
fn nothing_that_is_there_is_overwritten_or_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (file, link) = (directory.path().join("file"), directory.path().join("link"));
    fs::write(&file, "old").unwrap();
    symlink(directory.path().join("nowhere"), &link).unwrap();
    for path in [&file, &link] {
        let error = create_private(path, b"new").unwrap_err();
        assert!(matches!(&error, FileError::Exists { path: there } if there == path), "{error:?}");
        assert!(matches!(create_public(path, b"new"), Err(FileError::Exists { .. })));
    }
    assert_eq!(fs::read(&file).unwrap(), b"old");
    assert!(!directory.path().join("nowhere").exists());
    let missing = create_private(&directory.path().join("no/such/file"), b"x").unwrap_err();
    assert!(matches!(missing, FileError::Io { doing: "create", .. }), "{missing:?}");
}

#[test]
fn a_key_accessible_to_others_is_refused_with_the_command_that_helps() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.key");
    create_private(&path, b"secret").unwrap();
    for good in [0o600, 0o400, 0o700] {
        set_mode(&path, good);
        assert_eq!(read_private_key(&path).unwrap().expose(), b"secret");
    }
    for bit in [0o040, 0o020, 0o010, 0o004, 0o002, 0o001] {
        set_mode(&path, 0o600 | bit);
        let error = read_private_key(&path).unwrap_err();
        assert!(matches!(error, FileError::Loose { mode, .. } if mode == 0o600 | bit), "{error:?}");
        assert!(error.to_string().contains("agent.key"));
        assert_eq!(error.help(), format!("`chmod 600 {}`", path.display()));
    }
}

#[test]
fn what_counts_is_the_file_behind_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let (file, link) = (directory.path().join("file"), directory.path().join("link"));
    create_private(&file, b"secret").unwrap();
    symlink(&file, &link).unwrap();
    assert_eq!(read_private_key(&link).unwrap().expose(), b"secret");
    set_mode(&file, 0o640);
    assert!(matches!(read_private_key(&link), Err(FileError::Loose { .. })));
}

#[test]
fn a_key_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        // only root can give a file away
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    create_private(&path, b"secret").unwrap();
    std::os::unix::fs::chown(&path, Some(54_321), None).unwrap();
    let error = read_private_key(&path).unwrap_err();
    assert!(matches!(error, FileError::Owner { owner: 54_321, user: 0, .. }), "{error:?}");
}

#[test]
fn only_regular_files_of_a_sensible_size_are_read_and_nobody_waits_for_a_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let largest = usize::try_from(MAX_FILE).unwrap();
    create_private(&at("largest"), &vec![b'x'; largest]).unwrap();
    create_private(&at("too-large"), &vec![b'x'; largest + 1]).unwrap();
    assert_eq!(read_private_key(&at("largest")).unwrap().expose().len(), largest);
    assert!(matches!(read_private_key(&at("too-large")), Err(FileError::TooLarge { .. })));
    assert!(matches!(read_public(&at("too-large")), Err(FileError::TooLarge { .. })));
    assert!(matches!(read_private_key(directory.path()), Err(FileError::Kind { .. })));
    assert!(matches!(read_private_key(&at("none")), Err(FileError::Io { .. })));
    let status = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(status.success());
    assert!(matches!(read_private_key(&at("pipe")), Err(FileError::Kind { .. })));
    assert!(matches!(read_public(&at("pipe")), Err(FileError::Kind { .. })));
    assert!(matches!(check_private_directory(&at("pipe")), Err(FileError::Kind { .. })));
}

#[test]
fn a_directory_open_to_others_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    create_private_directory(&path).unwrap();
    create_private_directory(&path).unwrap();
    set_mode(&path, 0o750);
    for result in [create_private_directory(&path), check_private_directory(&path)] {
        let error = result.unwrap_err();
        assert!(matches!(error, FileError::Loose { mode: 0o750, wanted: 0o700, .. }), "{error:?}");
        assert_eq!(error.help(), format!("`chmod 700 {}`", path.display()));
    }
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(create_private_directory(&file), Err(FileError::Kind { wanted: "directory", .. })));
}

#[test]
fn credentials_load_and_show_no_key() {
    let directory = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("home");
    let agent = authority.agent("web-1");
    let files = agent.write(directory.path(), "agent");
    let want = Expect::role(Role::Agent).in_cluster(ClusterName::parse("home").unwrap());
    let credentials = load_identity_files(&files, &want, authority.now()).unwrap();
    assert_eq!(credentials.info.identity.id.as_str(), "web-1");
    assert_eq!((credentials.chain.len(), credentials.roots.len()), (1, 1));
    let der = agent.key().secret_der().to_vec();
    let shown = format!("{credentials:?} {:?} {agent:?} {authority:?}", PrivatePem::new(der.clone()));
    let text = String::from_utf8(agent.key_pem.expose().to_vec()).unwrap();
    let line = text.lines().nth(1).unwrap();
    let hex: String = der.iter().skip(40).take(16).map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{:?}", &der[40..48]);
    for secret in [line, hex.as_str(), list.trim_matches(['[', ']'])] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn credentials_that_do_not_belong_together_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (TestAuthority::new("home"), TestAuthority::new("home"));
    let good = ours.agent("a").write(directory.path(), "a");
    let other = ours.agent("b").write(directory.path(), "b");
    let foreign = theirs.agent("c").write(directory.path(), "c");
    let late = ours.wrong(Role::Agent, "d", Wrong::Expired).write(directory.path(), "d");
    let load = |files: &TlsFiles| load_identity_files(files, &Expect::role(Role::Agent), ours.now());
    let because = |files: &TlsFiles| match load(files) {
        Err(FileError::Certificate { path, source }) => (path, source),
        other => panic!("{other:?}"),
    };
    load(&good).unwrap();
    let mixed = TlsFiles { key: other.key.clone(), ..good.clone() };
    assert!(matches!(load(&mixed), Err(FileError::KeyMismatch { .. })));
    assert_eq!(because(&foreign), (foreign.cert.clone(), CertificateError::OtherAuthority));
    assert!(matches!(because(&late), (_, CertificateError::Expired { .. })));
    let swapped = TlsFiles { cert: good.ca.clone(), ..good.clone() };
    assert_eq!(because(&swapped), (good.ca.clone(), CertificateError::IsAuthority));
    let leaf_as_root = TlsFiles { ca: good.cert.clone(), ..good.clone() };
    assert_eq!(because(&leaf_as_root), (good.cert.clone(), CertificateError::NotAuthority));
    set_mode(&good.key, 0o644);
    assert!(matches!(load(&good), Err(FileError::Loose { .. })));
    let month = SystemTime::now() + Duration::from_secs(91 * 24 * 3600);
    assert!(load_identity_files(&other, &Expect::ANY, month).is_err());
}

#[test]
fn what_is_no_pem_is_refused_and_never_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let key = TestAuthority::new("home").agent("a").key_pem;
    let key = String::from_utf8(key.expose().to_vec()).unwrap();
    let secret = key.lines().nth(1).unwrap();
    let broken = key.replace("-----END", "----END");
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let odd = key.replacen(secret, &format!("{secret}*"), 1);
    for text in ["", "hello", &broken, &encrypted, &odd] {
        create_private(&path, text.as_bytes()).unwrap();
        let wrong_key = load_key(&path).unwrap_err();
        assert!(matches!(wrong_key, FileError::NoKey { .. }), "{wrong_key:?}");
        let wrong = load_chain(&path).unwrap_err();
        assert!(matches!(wrong, FileError::NoCertificate { .. }), "{wrong:?}");
        assert!(load_roots(&path).is_err());
        let shown = format!("{wrong_key:?} {wrong_key} {wrong:?} {wrong}");
        assert!(!shown.contains(secret), "{shown}");
        fs::remove_file(&path).unwrap();
    }
    // a key given where a certificate is wanted
    create_private(&path, key.as_bytes()).unwrap();
    assert!(matches!(load_chain(&path), Err(FileError::NoCertificate { reason: "there is none in it", .. })));
}

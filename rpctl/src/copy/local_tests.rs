//! Tests of [`super`].

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

const NAME: &str = "copy";

fn names(folder: &Path) -> Vec<OsString> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn a_copy_takes_the_place_of_files_and_links_alone() {
    let at = tempfile::tempdir().unwrap();
    let folder = Folder::open(at.path()).unwrap();
    let place = at.path().join(NAME);
    // nothing of a link is kept, least of all its mode
    std::os::unix::fs::symlink("/nowhere", &place).unwrap();
    let target = folder.begin(NAME.as_ref(), "1", true).unwrap();
    assert_eq!(target.old_mode(), None);
    assert_eq!(target.finish(0o600).unwrap(), Vec::<String>::new());
    let found = std::fs::symlink_metadata(&place).unwrap();
    assert!(found.is_file() && found.permissions().mode() & 0o777 == 0o600, "{found:?}");
    assert_eq!(folder.begin(NAME.as_ref(), "2", true).unwrap().old_mode(), Some(0o600));

    let pipe = at.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let refused = folder.begin("pipe".as_ref(), "3", true).unwrap_err();
    assert!(refused.exit == Exit::Usage && refused.what.contains("no regular file"), "{refused:?}");
    let kept = std::os::unix::fs::FileTypeExt::is_fifo(&std::fs::metadata(&pipe).unwrap().file_type());
    assert!(kept, "it is still there");
}

#[test]
fn what_another_copy_writes_is_not_put_in_place() {
    let at = tempfile::tempdir().unwrap();
    let folder = Folder::open(at.path()).unwrap();
    let mut whole = folder.begin(NAME.as_ref(), "1", true).unwrap();
    whole.file.write_all(b"whole").unwrap();
    let other = folder.begin(NAME.as_ref(), "1", true).unwrap_err();
    assert!(other.what.contains("is under way"), "{other:?}");
    // one that began anew, as an older rpctl does
    std::fs::remove_file(at.path().join(".rpctl-1")).unwrap();
    std::fs::write(at.path().join(".rpctl-1"), "ha").unwrap();
    assert!(whole.finish(0o600).unwrap_err().what.contains("is under way"));
    assert!(!at.path().join(NAME).exists());
    std::fs::remove_file(at.path().join(".rpctl-1")).unwrap();
    // one that nobody goes on with leaves nothing
    drop(folder.begin(NAME.as_ref(), "2", false).unwrap());
    assert_eq!(names(at.path()), Vec::<OsString>::new());
    folder.begin(NAME.as_ref(), "3", false).unwrap().finish(0o600).unwrap();
    drop(folder.begin(NAME.as_ref(), "4", true).unwrap());
    assert_eq!(names(at.path()), [".rpctl-4", NAME]);
}

#[test]
fn the_owner_of_what_is_replaced_is_kept_and_nobody_elses_file_is_gone_on_with() {
    if !geteuid().is_root() {
        eprintln!("only root can give files away: not tried");
        return;
    }
    let at = tempfile::tempdir().unwrap();
    let folder = Folder::open(at.path()).unwrap();
    let place = at.path().join(NAME);
    std::fs::write(&place, "old").unwrap();
    std::os::unix::fs::chown(&place, Some(65_534), Some(65_534)).unwrap();
    assert_eq!(folder.begin(NAME.as_ref(), "1", true).unwrap().finish(0o600).unwrap(), Vec::<String>::new());
    let found = std::fs::metadata(&place).unwrap();
    assert_eq!((found.uid(), found.gid(), found.len()), (65_534, 65_534, 0));

    std::fs::write(at.path().join(".rpctl-2"), "theirs").unwrap();
    std::os::unix::fs::chown(at.path().join(".rpctl-2"), Some(65_534), None).unwrap();
    let target = folder.begin(NAME.as_ref(), "2", true).unwrap();
    assert_eq!(target.had, 0, "it is begun anew");
    assert_eq!(target.file.metadata().unwrap().uid(), 0);
    assert_eq!(names(at.path()), [".rpctl-2", NAME]);
    // one that is about to be put in place looks like somebody else's, and is under way
    std::os::unix::fs::chown(at.path().join(".rpctl-2"), Some(65_534), None).unwrap();
    assert!(folder.begin(NAME.as_ref(), "2", true).unwrap_err().what.contains("is under way"));
    assert_eq!(
        std::fs::metadata(at.path().join(".rpctl-2")).unwrap().ino(),
        target.file.metadata().unwrap().ino()
    );
}

/// As vfat is, mounted for everybody: what is made there is somebody else's, and anybody may write it.
#[test]
fn where_files_are_somebody_elses_their_mode_is_what_it_is_with_a_note() {
    if !geteuid().is_root() {
        eprintln!("only root can make files of others: not tried");
        return;
    }
    let nobody = Uid::from_raw(65_534);
    let at = tempfile::tempdir().unwrap();
    std::fs::set_permissions(at.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let folder = Folder::open(at.path()).unwrap();
    let mut target = folder.begin(NAME.as_ref(), "1", true).unwrap();
    target.file.write_all(b"whole").unwrap();
    target.file.set_permissions(std::fs::Permissions::from_mode(0o666)).unwrap();
    let notes = std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            // of this thread alone
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            target.finish(0o600).unwrap()
        });
        working.join().unwrap()
    });
    assert!(matches!(&notes[..], [note] if note.contains("has mode 666 and not 600")), "{notes:?}");
    assert_eq!(std::fs::read(at.path().join(NAME)).unwrap(), b"whole");
}

#[tokio::test]
async fn a_digest_goes_on_where_the_file_stands() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"one and two").unwrap();
    io::Seek::rewind(&mut file).unwrap();
    let hash = hash_aside(&file, 4, Context::new(&SHA256)).await.unwrap();
    let hash = hash_aside(&file, 7, hash).await.unwrap();
    assert_eq!(hash.finish().as_ref(), digest(&SHA256, b"one and two").as_ref());
    assert!(hash_aside(&file, 1, Context::new(&SHA256)).await.is_err(), "there is no more");
}

//! Calls that are broken off, and what they leave. The threads are occupied at will, so that each breaks off where it is meant to.
//! `killed`: those whose agent died.

mod killed;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::poll;
use redpoll_common::identity::Identity;
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};
use redpoll_config::FilesConfig;
use redpoll_net::service::detached_call;
use redpoll_net::transport::PeerInfo;
use rustix::process::geteuid;
use rustix::thread::{Uid, set_thread_res_uid};
use tempfile::TempDir;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::at_once::AtOnce;
use super::open::{Protected, walk};
use super::path::{Need, Roots};
use super::sweep::{broken, sweep, sweep_broken};
use super::upload::{Finish, Part};
use super::uploads::Uploads;
use super::{Cancelled, Files, THREADS, look, write};

/// The number of `nobody`, in every Linux.
const NOBODY: u32 = 65534;

/// The files of an agent, and its disk.
struct Desk {
    files: Files,
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["root", "state"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let root = folder.path().join("root").display().to_string();
        let config = FilesConfig { uploads: 2, ..FilesConfig::default() };
        let files = Files {
            roots: Arc::new(Roots::new(&[], &[root])),
            protected: Arc::new(Protected::default()),
            uploads: Arc::new(Uploads::new(&folder.path().join("state"), &config)),
            places: Arc::new(Semaphore::new(THREADS)),
            streams: None,
        };
        Self { files, folder }
    }

    fn begin(&self, more: impl FnOnce(RawMap) -> RawMap) -> BoxFuture<'static, Result<Raw, Fault>> {
        let path = self.folder.path().join("root/x");
        let kwargs = more(RawMap::new().text("path", path.to_str().unwrap())).finish();
        let caller = PeerInfo {
            identity: Identity::parse("spiffe://home/manager/m").unwrap(),
            address: "test".into(),
            ip: None,
            speaks_rp1: true,
            certificate: None,
        };
        let (call, _output, _stop) = detached_call(caller, "file.write", Raw::empty_array(), kwargs);
        Box::pin(write::write(self.files.clone(), call))
    }

    /// Occupies so many threads.
    async fn occupy(&self, threads: usize) -> OwnedSemaphorePermit {
        let threads = u32::try_from(threads).unwrap();
        self.files.places.clone().acquire_many_owned(threads).await.unwrap()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// The names in the root, and the notes.
    fn found(&self) -> (Vec<String>, Vec<String>) {
        let mut notes = self.names("state/uploads");
        notes.retain(|name| name != "secret");
        (self.names("root"), notes)
    }
}

/// Does something as a user who is not root.
fn unprivileged<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let nobody = Uid::from_raw(NOBODY);
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            if geteuid().is_root() {
                // of this thread alone
                set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            work()
        });
        working.join().unwrap()
    })
}

#[tokio::test]
async fn a_file_in_one_call_that_is_broken_off_leaves_nothing_wherever_that_is() {
    let desk = Desk::new();
    let mut waits = 0;
    for before in 0..8 {
        let mut all = desk.occupy(THREADS).await;
        let mut writing = desk.begin(|map| map.text("data", "whole"));
        // it is let on a thread so many times, and broken off while it waits for the next
        let mut over = poll!(&mut writing).is_ready();
        for _ in 0..before {
            if over {
                break;
            }
            waits += 1;
            drop(all.split(1));
            over = poll!(&mut writing).is_ready();
            all.merge(desk.occupy(1).await);
            over = over || poll!(&mut writing).is_ready();
        }
        drop(writing);
        drop(all);
        let _everything_is_over = desk.occupy(THREADS).await;
        let (names, notes) = desk.found();
        assert!(names.is_empty() || names == ["x"], "{names:?} after {before} threads");
        assert_eq!((notes, desk.files.uploads.slots_kept()), (vec![], 0), "after {before} threads");
    }
    assert!(waits > 0, "it never waited for a thread");
    let chunk = |id: u8| move |map: RawMap| map.text("upload", &format!("{id:032x}")).uint("offset", 0);
    for id in 0..2 {
        desk.begin(|map| chunk(id)(map).text("data", "x")).await.unwrap();
    }
    assert_eq!(desk.files.uploads.slots_kept(), 2);
}

#[tokio::test]
async fn a_question_for_an_upload_that_is_broken_off_leaves_nothing() {
    let desk = Desk::new();
    let upload = |map: RawMap| map.text("upload", &"a".repeat(32));
    let ask = || desk.begin(|map| upload(map).bool("query", true));
    let all = desk.occupy(THREADS).await;
    let (mut first, mut second) = (ask(), ask());
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    drop(first);
    assert!(poll!(&mut second).is_pending(), "it is its turn now, and there is no thread");
    drop(second);
    assert_eq!(desk.files.uploads.slots_kept(), 0);
    let mut third = ask();
    assert!(poll!(&mut third).is_pending());
    drop(all);
    third.await.unwrap();
    assert_eq!((desk.found(), desk.files.uploads.slots_kept()), ((vec![], vec![]), 0));
}

#[tokio::test]
async fn of_a_file_in_one_call_that_a_dead_agent_began_nothing_stays_after_the_next_start() {
    let desk = Desk::new();
    let begin = |map: RawMap| map.text("upload", &"b".repeat(32)).uint("offset", 0).text("data", "x");
    desk.begin(begin).await.unwrap();
    // as a file in one call is while it is written, but for its name
    let (names, _) = desk.found();
    let (begun, note) =
        (desk.folder.path().join("root/.redpoll-whole"), "state/uploads/.redpoll-whole.whole");
    fs::copy(desk.folder.path().join("root").join(&names[0]), &begun).unwrap();
    fs::write(desk.folder.path().join(note), desk.folder.path().join("root/x").to_str().unwrap()).unwrap();
    let noted = broken(&desk.files);
    let write = |name: &str| {
        let [begun, note] = [format!("root/{name}"), format!("state/uploads/{name}.whole")];
        fs::copy(desk.folder.path().join("root").join(&names[0]), desk.folder.path().join(begun)).unwrap();
        let path = desk.folder.path().join("root/y");
        fs::write(desk.folder.path().join(note), path.to_str().unwrap()).unwrap();
    };
    write(".redpoll-later");
    sweep_broken(&desk.files, noted);
    assert!(desk.folder.path().join("root/.redpoll-later").exists(), "one that began since is being written");
    sweep_broken(&desk.files, broken(&desk.files));
    let (after, notes) = desk.found();
    assert_eq!((after, notes.len()), (names, 1), "that of the upload, which can be gone on with");
}

#[tokio::test]
async fn a_file_in_one_call_that_fails_or_is_broken_off_on_its_thread_is_removed() {
    let desk = Desk::new();
    let place = desk.files.roots.place(&desk.folder.path().join("root/x"), Need::Write).unwrap();
    let write = |size: u64, cancelled: &Cancelled| {
        let finish = Finish { size, ..Finish::default() };
        AtOnce::Whole { data: "whole".into(), finish }.write(&desk.files, &place, cancelled)
    };
    let cancelled = Cancelled::default();
    assert!(write(6, &cancelled).unwrap_err().is("Incomplete"));
    cancelled.0.store(true, Ordering::Release);
    assert!(write(5, &cancelled).unwrap_err().is("Cancelled"));
    assert_eq!(desk.found(), (vec![], vec![]));
    write(5, &Cancelled::default()).unwrap();
    assert_eq!(desk.found(), (vec!["x".to_owned()], vec![]));
}

#[test]
fn a_folder_that_is_replaced_while_a_file_goes_to_the_disk_does_not_get_it() {
    let desk = Desk::new();
    let (app, old) = (desk.folder.path().join("root/app"), desk.folder.path().join("root/old"));
    fs::create_dir(&app).unwrap();
    let place = desk.files.roots.place(&app.join("x"), Need::Write).unwrap();
    let guard = desk.files.protected.now();
    let note = desk.files.uploads.note(".redpoll-x".as_ref());
    desk.files.uploads.secret().unwrap();
    let part = Part::create(walk(&place, &guard).unwrap(), ".redpoll-x".into(), note).unwrap();
    fs::rename(&app, &old).unwrap();
    fs::create_dir(&app).unwrap();
    assert!(part.finish(&place, &Finish::default(), &guard).unwrap_err().is("Changed"));
    part.discard();
    assert!(fs::read_dir(&app).unwrap().next().is_none() && fs::read_dir(&old).unwrap().next().is_none());
}

#[test]
fn what_cannot_be_looked_at_is_not_left_out_of_a_list() {
    let desk = Desk::new();
    let root = desk.folder.path().join("root");
    fs::write(root.join("x"), "x").unwrap();
    let folder = fs::File::open(&root).unwrap().into();
    let guard = desk.files.protected.now();
    let look = || look::entries(&folder, &root, [b"gone".to_vec(), b"x".to_vec()].into_iter(), &guard);
    assert_eq!(look().unwrap().len(), 1);
    // the names in it may be read, and nothing be looked at
    fs::set_permissions(&root, fs::Permissions::from_mode(0o644)).unwrap();
    let looked = unprivileged(look);
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(looked.unwrap_err().is("PermissionDenied"));
}

#[tokio::test]
async fn a_full_disk_of_the_state_folder_takes_no_places_of_uploads() {
    let desk = Desk::new();
    let upload = |id: u8| {
        move |map: RawMap| map.text("upload", &format!("{id:032x}")).uint("offset", 0).text("data", "x")
    };
    let state = desk.folder.path().join("state/uploads");
    for id in 0..2 {
        let name = desk.files.uploads.temporary(&format!("{id:032x}"), &desk.folder.path().join("root/x"));
        // it can be opened, and nothing fits
        symlink("/dev/full", desk.files.uploads.note(&name.unwrap()).0).unwrap();
        let refused = desk.begin(upload(id)).await.unwrap_err();
        assert_eq!(refused.class.as_deref(), Some("NoSpace"));
        assert_eq!(desk.found(), (vec![], vec![]));
    }
    // what an agent leaves that dies between the name and the content
    let note = |name: &str, age: u64| {
        let file = fs::File::create(state.join(name)).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age);
        file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
    };
    note(".redpoll-a.note", 61);
    note(".redpoll-b.note", 0);
    desk.begin(upload(2)).await.unwrap();
    let (_, mut notes) = desk.found();
    notes.sort();
    assert_eq!((notes.len(), notes.iter().any(|name| name == ".redpoll-b.note")), (2, true));
    assert_eq!(desk.begin(upload(3)).await.unwrap_err().class.as_deref(), Some("TooManyUploads"));
}

#[tokio::test]
async fn uploads_that_have_hardly_begun_keep_no_other_out_for_long() {
    let mut desk = Desk::new();
    let upload = |desk: &Desk, id: u8, data: usize| {
        desk.begin(|map| {
            map.text("upload", &format!("{id:032x}")).uint("offset", 0).text("data", &"x".repeat(data))
        })
    };
    upload(&desk, 0, 0).await.unwrap();
    upload(&desk, 1, 65 * 1024).await.unwrap();
    assert_eq!(upload(&desk, 2, 0).await.unwrap_err().class.as_deref(), Some("TooManyUploads"));
    for name in desk.names("root") {
        let file = fs::File::options().write(true).open(desk.folder.path().join("root").join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(61)).unwrap();
    }
    // to ask about one is not to add to it
    let query = |map: RawMap| map.text("upload", &format!("{:032x}", 0)).bool("query", true);
    desk.begin(query).await.unwrap();
    upload(&desk, 2, 0).await.unwrap();
    let size = |name: &String| fs::metadata(desk.folder.path().join("root").join(name)).unwrap().len();
    let mut sizes: Vec<u64> = desk.names("root").iter().map(size).collect();
    sizes.sort_unstable();
    assert_eq!((sizes, desk.found().1.len()), (vec![0, 65 * 1024], 2), "what is worth something stays");
    assert_eq!(upload(&desk, 3, 0).await.unwrap_err().class.as_deref(), Some("TooManyUploads"));
    // added to a moment ago, whatever the clock of the files says
    let config = FilesConfig { uploads: 1, ..FilesConfig::default() };
    desk.files.uploads = Arc::new(Uploads::new(&desk.folder.path().join("state"), &config));
    let add = |map: RawMap| map.text("upload", &format!("{:032x}", 2)).uint("offset", 0).text("data", "x");
    desk.begin(add).await.unwrap();
    for name in desk.names("root") {
        let file = fs::File::options().write(true).open(desk.folder.path().join("root").join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(61)).unwrap();
    }
    assert_eq!(upload(&desk, 3, 0).await.unwrap_err().class.as_deref(), Some("TooManyUploads"));
}

#[tokio::test]
async fn the_note_of_an_upload_that_was_lost_with_the_power_is_written_again() {
    let mut desk = Desk::new();
    let upload = |map: RawMap| map.text("upload", &"d".repeat(32));
    desk.begin(|map| upload(map).uint("offset", 0).text("data", "x")).await.unwrap();
    let state = desk.folder.path().join("state");
    let note = state.join("uploads").join(&desk.found().1[0]);
    let noted = fs::read(&note).unwrap();
    fs::write(&note, "").unwrap();
    desk.files.uploads = Arc::new(Uploads::new(&state, &FilesConfig::default()));
    desk.begin(|map| upload(map).bool("query", true)).await.unwrap();
    assert_eq!((fs::read(&note).unwrap(), desk.found().0.len()), (noted, 1));
}

#[tokio::test]
async fn the_note_of_an_upload_that_cannot_be_read_for_the_moment_stays() {
    let mut desk = Desk::new();
    let upload = |map: RawMap| map.text("upload", &"e".repeat(32));
    desk.begin(|map| upload(map).uint("offset", 0).text("data", "x")).await.unwrap();
    let state = desk.folder.path().join("state");
    let notes = desk.found().1;
    let note = state.join("uploads").join(&notes[0]);
    fs::remove_file(&note).unwrap();
    // a file that gives an error when it is read, and when it is written
    symlink("/proc/self/mem", &note).unwrap();
    desk.files.uploads = Arc::new(Uploads::new(&state, &FilesConfig::default()));
    desk.begin(|map| upload(map).bool("query", true)).await.unwrap();
    assert_eq!(desk.found().1, notes);
}

#[tokio::test]
async fn an_upload_whose_folder_was_moved_is_swept_where_it_is() {
    let mut desk = Desk::new();
    let at = |name: &str| desk.folder.path().join(name);
    let (root, old) = (at("root"), at("old"));
    let config = FilesConfig { upload_age: Duration::ZERO, ..FilesConfig::default() };
    desk.files.uploads = Arc::new(Uploads::new(&at("state"), &config));
    let upload = |map: RawMap| map.text("upload", &"f".repeat(32));
    desk.begin(|map| upload(map).uint("offset", 0).text("data", "x")).await.unwrap();
    fs::rename(&root, &old).unwrap();
    fs::create_dir(&root).unwrap();
    assert_eq!(desk.names("old").len(), 1);
    sweep(&desk.files);
    assert_eq!(
        (desk.names("old"), desk.found(), desk.files.uploads.slots_kept()),
        (vec![], (vec![], vec![]), 0)
    );
}

#[tokio::test]
async fn an_upload_of_the_future_is_as_old_as_the_agent() {
    let mut desk = Desk::new();
    let upload = |map: RawMap| map.text("upload", &"f".repeat(32)).uint("offset", 0).text("data", "x");
    desk.begin(upload).await.unwrap();
    let [name] = &desk.found().0[..] else { panic!("one upload") };
    let file = fs::File::options().write(true).open(desk.folder.path().join("root").join(name)).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(SystemTime::now() + Duration::from_secs(9_999_999)))
        .unwrap();
    for (age_ms, stays) in [(60_000, true), (1, false)] {
        let config = FilesConfig { upload_age: Duration::from_millis(age_ms), ..FilesConfig::default() };
        desk.files.uploads = Arc::new(Uploads::new(&desk.folder.path().join("state"), &config));
        sweep(&desk.files);
        assert!(!stays || desk.found().0.len() == 1);
    }
    while !desk.found().0.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        sweep(&desk.files);
    }
}

//! Opening a spool: read everything, repair what a crash left, refuse what a crash cannot have left.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redpoll_common::job::Dno;
use redpoll_common::job::spool::{Image, Record};
use redpoll_net::random;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::block::{Contents, FILE_HEAD, FileHead, Tail, read_file};
use super::error::OpenError;
use super::index::{Index, Place, key_of};
use super::journal::{Active, Journal, create, to_u64};
use super::secrets::Secrets;
use super::space::Space;
use super::{OpenOptions, file_name};

/// How long a spool may be in use by somebody else when it is opened.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// How soon to look again.
const LOCK_AGAIN: Duration = Duration::from_millis(20);

/// What was read out of the files so far.
#[derive(Default)]
struct Reading {
    image: Image,
    index: Index,
    files: BTreeMap<u64, u64>,
    last: Option<(FileHead, u64)>,
}

/// Opens the journal in a folder, or begins one, and reads what it says.
pub(super) fn open(folder: &Path, options: OpenOptions) -> Result<(Journal, Image), OpenError> {
    let folder_handle = prepare(folder)?;
    let lock = lock(folder, options.pause)?;
    let mut numbers = numbers(folder)?;
    let mut reading = Reading::default();
    let newest = numbers.last().copied();
    for number in &numbers {
        reading.read(folder, *number, newest == Some(*number), &options)?;
    }
    numbers.retain(|number| reading.files.contains_key(number));
    let Reading { image, index, mut files, last } = reading;
    let head = match last {
        Some((head, _)) => head,
        // nothing was ever acknowledged here
        None => FileHead { spool: random::bytes16(), number: 1, max_dno: 0, sequence: 1 },
    };
    let path = folder.join(file_name(head.number));
    let (file, sequence) = match last {
        Some((_, sequence)) => {
            let file = fs::OpenOptions::new().read(true).write(true).open(&path);
            (file.map_err(OpenError::io("open", &path))?, sequence)
        }
        None => {
            let file = create(folder, head, &options, &folder_handle);
            (file.map_err(OpenError::io("create", &path))?, head.sequence)
        }
    };
    let len = *files.entry(head.number).or_insert_with(|| to_u64(FILE_HEAD));
    let active = Active { number: head.number, file, len, sequence };
    // which of them have secrets nobody remembers: all may
    let secrets = Secrets::of_unknown(index.numbers());
    let mut journal = Journal {
        folder: folder.to_owned(),
        folder_handle,
        _lock: lock,
        options,
        spool: head.spool,
        max_dno: image.max_dno().0,
        active,
        files,
        index,
        space: Space::default(),
        secrets,
    };
    journal.check_space();
    Ok((journal, image))
}

impl Reading {
    fn read(
        &mut self,
        folder: &Path,
        number: u64,
        newest: bool,
        options: &OpenOptions,
    ) -> Result<(), OpenError> {
        let path = folder.join(file_name(number));
        check_mode(&path, &fs::metadata(&path).map_err(OpenError::io("read", &path))?)?;
        let bytes = Bytes::from(fs::read(&path).map_err(OpenError::io("read", &path))?);
        let contents = read_file(&bytes);
        let corrupt =
            |offset, reason| OpenError::Corrupt { path: path.clone(), offset: to_u64(offset), reason };
        let end = match contents.tail {
            Tail::Clean => bytes.len(),
            Tail::Torn(at) if newest => at,
            Tail::Torn(at) => {
                return Err(corrupt(at, "it ends within a block, although a newer file follows"));
            }
            Tail::Corrupt(at, reason) => return Err(corrupt(at, reason)),
        };
        let Some(head) = contents.head else {
            // begun and never used: nothing in it was acknowledged
            return fs::remove_file(&path).map_err(OpenError::io("delete", &path));
        };
        self.check_head(&path, number, head)?;
        self.take(&path, &bytes, &contents, head)?;
        if end < bytes.len() {
            repair(&path, end, options)?;
        }
        self.files.insert(number, to_u64(end));
        self.last = Some((head, contents.sequence));
        Ok(())
    }

    /// Whether a file is the one that its name says, and follows the one before.
    fn check_head(&self, path: &Path, number: u64, head: FileHead) -> Result<(), OpenError> {
        let corrupt = |reason| OpenError::Corrupt { path: path.to_owned(), offset: 0, reason };
        if head.number != number {
            return Err(corrupt("it was renamed"));
        }
        let Some((before, sequence)) = self.last else { return Ok(()) };
        if head.spool != before.spool {
            return Err(corrupt("it belongs to another spool"));
        }
        if head.number != before.number + 1 {
            return Err(OpenError::Missing { path: path.with_file_name(file_name(before.number + 1)) });
        }
        if head.sequence != sequence {
            return Err(corrupt("the end of the file before it is missing"));
        }
        Ok(())
    }

    fn take(
        &mut self,
        path: &Path,
        bytes: &Bytes,
        contents: &Contents,
        head: FileHead,
    ) -> Result<(), OpenError> {
        self.image.raise(Dno(head.max_dno));
        for range in &contents.records {
            let offset = to_u64(range.start);
            // a copy of its own, so that what stays of it does not keep the whole file in memory
            let record = Record::read(Bytes::copy_from_slice(bytes.get(range.clone()).unwrap_or_default()))
                .map_err(|source| OpenError::Record { path: path.to_owned(), offset, source })?;
            let (dno, kind) = key_of(&record);
            let len = u32::try_from(range.len()).unwrap_or(u32::MAX);
            self.index.add(dno, kind, Place { file: head.number, offset, len });
            self.image.add(record).map_err(|source| OpenError::Image {
                path: path.parent().unwrap_or(path).to_owned(),
                source,
            })?;
        }
        Ok(())
    }
}

/// Cuts an incomplete block off.
fn repair(path: &Path, end: usize, options: &OpenOptions) -> Result<(), OpenError> {
    let cut = || {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        file.set_len(to_u64(end))?;
        (options.sync)(&file)
    };
    cut().map_err(OpenError::io("repair", path))
}

/// Makes the folder if it is not there; refuses it when others may use it.
fn prepare(folder: &Path) -> Result<File, OpenError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            let parent = folder
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or_else(|| Path::new("."));
            let synced = File::open(parent).and_then(|parent| parent.sync_all());
            synced.map_err(OpenError::io("sync", parent))?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(OpenError::io("create", folder)(error)),
    }
    let handle = File::open(folder).map_err(OpenError::io("open", folder))?;
    check_mode(folder, &handle.metadata().map_err(OpenError::io("open", folder))?)?;
    Ok(handle)
}

/// Refuses a folder that others may use. One that is not there is good.
pub(super) fn look(folder: &Path) -> Result<(), OpenError> {
    match fs::metadata(folder) {
        Ok(metadata) => check_mode(folder, &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::io("open", folder)(error)),
    }
}

fn check_mode(path: &Path, metadata: &Metadata) -> Result<(), OpenError> {
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(OpenError::Loose { path: path.to_owned(), mode }) }
}

/// One process at a time: two would give numbers twice.
fn lock(folder: &Path, pause: fn(Duration)) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let mut open = fs::OpenOptions::new();
    let file = open.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(OpenError::io("open", &path))?;
    let give_up = Instant::now() + LOCK_PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            // a program that an agent was about to start when it died has the lock until it really begins
            Err(Errno::WOULDBLOCK) if Instant::now() < give_up => pause(LOCK_AGAIN),
            Err(Errno::WOULDBLOCK) => return Err(OpenError::Locked { path: folder.to_owned() }),
            Err(errno) => return Err(OpenError::io("lock", &path)(errno.into())),
        }
    }
}

/// The numbers of the journal's files, in their order.
fn numbers(folder: &Path) -> Result<Vec<u64>, OpenError> {
    let list =
        || -> io::Result<Vec<PathBuf>> { fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect() };
    let paths = list().map_err(OpenError::io("list", folder))?;
    let number = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        let number = u64::from_str_radix(name.strip_prefix("journal-")?, 16).ok()?;
        (file_name(number) == name).then_some(number)
    };
    let mut numbers: Vec<u64> = paths.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

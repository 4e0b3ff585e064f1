//! The journal's files: appended to, read back, rotated, and deleted once nothing in them matters.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use redpoll_common::job::Item;
use redpoll_common::job::spool::{COMMIT_BYTES, Record};

use super::block::{BlockWriter, FILE_HEAD, FileHead, check_record};
use super::error::SpoolError;
use super::index::{Index, Kind, Place, key_of};
use super::secrets::Secrets;
use super::space::{Space, is_no_descriptor, is_no_room};
use super::{OpenOptions, file_name};

/// The file that is written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) number: u64,
    pub(super) file: File,
    pub(super) len: u64,
    pub(super) sequence: u64,
}

#[derive(Debug)]
pub(super) struct Journal {
    pub(super) folder: PathBuf,
    /// For syncing the folder itself.
    pub(super) folder_handle: File,
    /// Held as long as the journal is open.
    pub(super) _lock: File,
    pub(super) options: OpenOptions,
    pub(super) spool: [u8; 16],
    pub(super) max_dno: u64,
    pub(super) active: Active,
    /// Length of each file, by number, the active one included.
    pub(super) files: BTreeMap<u64, u64>,
    pub(super) index: Index,
    pub(super) space: Space,
    pub(super) secrets: Secrets,
}

/// What became of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "without room nothing was written"]
pub(super) enum Written {
    /// It is on disk.
    Whole,
    /// The disk has no room for it. It counts as not written, and may be written again when there is some.
    NoRoom,
}

impl Journal {
    /// Writes records as one block, all of them or none, and returns once they are on disk. After [`Written::NoRoom`] nothing
    /// but the same records may follow: a part of them may stand at the end of the file, which the same bytes cover.
    pub(super) fn commit<'r>(
        &mut self,
        records: impl Iterator<Item = &'r Record>,
    ) -> Result<Written, SpoolError> {
        let (mut block, mut places) = (BlockWriter::new(), Vec::new());
        for record in records {
            let (dno, kind) = key_of(record);
            self.max_dno = self.max_dno.max(dno);
            places.push((dno, kind, block.add(&record.write())));
        }
        self.append(block, places)
    }

    fn append(
        &mut self,
        block: BlockWriter,
        places: Vec<(u64, Kind, std::ops::Range<usize>)>,
    ) -> Result<Written, SpoolError> {
        if block.is_empty() {
            return Ok(Written::Whole);
        }
        let Some(bytes) = block.finish(self.active.sequence) else {
            // whoever asks keeps to less, see `COMMIT_BYTES`; nothing is told to be on disk that cannot be read back
            let error = io::Error::other("they are longer than a block may be");
            return Err(SpoolError::failed("write records")(error));
        };
        let at = self.active.len;
        match self.active.file.write_all_at(&bytes, at) {
            Ok(()) => {}
            // nothing was synced or told: unlike a failed sync this leaves no doubt about what is on disk
            Err(error) if is_no_room(&error) => return Ok(Written::NoRoom),
            Err(error) => return Err(SpoolError::failed("write")(error)),
        }
        (self.options.sync)(&self.active.file).map_err(SpoolError::failed("sync"))?;
        self.active.len += to_u64(bytes.len());
        self.active.sequence += 1;
        self.files.insert(self.active.number, self.active.len);
        for (dno, kind, range) in places {
            if matches!(kind, Kind::Gone) {
                self.secrets.gone(dno, self.active.number);
            }
            let len = u32::try_from(range.len()).unwrap_or(u32::MAX);
            self.index.add(
                dno,
                kind,
                Place { file: self.active.number, offset: at + to_u64(range.start), len },
            );
        }
        Ok(Written::Whole)
    }

    /// Begins a new file when the present one is long enough, deletes what does not matter any more, and looks after the
    /// reserve. To be called between commits.
    pub(super) fn tidy(&mut self) -> Result<(), SpoolError> {
        if self.active.len >= self.options.file_bytes && !self.space.is_full() {
            self.rotate()?;
        }
        self.delete_dead()?;
        self.delete_secrets()?;
        let total: u64 = self.files.values().sum();
        let garbage = total.saturating_sub(self.index.live());
        if garbage > self.index.live().max(2 * self.options.file_bytes) && !self.space.is_full() {
            self.compact_oldest()?;
        }
        self.check_space();
        Ok(())
    }

    /// Lets time pass.
    pub(super) fn pause(&self, time: Duration) {
        (self.options.pause)(time);
    }

    /// Looks whether the disk has room.
    pub(super) fn check_space(&mut self) {
        let runs = to_u64(self.index.runs());
        self.space.check(&self.active.file, self.active.len, runs, &self.options);
    }

    fn rotate(&mut self) -> Result<(), SpoolError> {
        let number = self.active.number + 1;
        let head =
            FileHead { spool: self.spool, number, max_dno: self.max_dno, sequence: self.active.sequence };
        let file = match create(&self.folder, head, &self.options, &self.folder_handle) {
            Ok(file) => file,
            // the present file goes on; its reserve is still there
            Err(error) if is_no_room(&error) || is_no_descriptor(&error) => {
                let _gone = fs::remove_file(self.folder.join(file_name(number)));
                return Ok(());
            }
            Err(error) => return Err(SpoolError::failed("begin a file of")(error)),
        };
        // gives back what was reserved beyond its end
        self.active.file.set_len(self.active.len).map_err(SpoolError::failed("close a file of"))?;
        self.active = Active { number, file, len: to_u64(FILE_HEAD), sequence: head.sequence };
        self.files.insert(number, self.active.len);
        self.space.moved();
        Ok(())
    }

    /// Lets the files go that hold secrets of runs that are gone; one step each time, as what still matters in them is copied.
    fn delete_secrets(&mut self) -> Result<(), SpoolError> {
        let Some(last) = self.secrets.due().filter(|_| !self.space.is_full()) else {
            return Ok(());
        };
        if last == self.active.number && self.active.len > to_u64(FILE_HEAD) {
            self.rotate()?;
        }
        self.delete_dead()?;
        if self
            .files
            .first_key_value()
            .is_some_and(|(oldest, _)| *oldest <= last && *oldest != self.active.number)
        {
            self.compact_oldest()?;
        }
        // where no new file could be begun they are in the present one still, and it is tried again
        let is_past = |oldest: u64| oldest > last || self.active.len <= to_u64(FILE_HEAD);
        if self.files.first_key_value().is_some_and(|(oldest, _)| is_past(*oldest)) {
            self.secrets.done();
        }
        Ok(())
    }

    fn delete_dead(&mut self) -> Result<(), SpoolError> {
        while let Some(oldest) = self.files.first_key_value().map(|(number, _)| *number) {
            if oldest == self.active.number || self.index.live_in(oldest) > 0 {
                break;
            }
            let path = self.folder.join(file_name(oldest));
            fs::remove_file(path).map_err(SpoolError::failed("delete a file of"))?;
            // before the next goes: a younger file ends what an older one began
            self.folder_handle.sync_all().map_err(SpoolError::failed("sync the folder of"))?;
            self.files.remove(&oldest);
            self.index.drop_file(oldest);
        }
        Ok(())
    }

    /// Copies what matters in the oldest file to the end, so that the file can go.
    fn compact_oldest(&mut self) -> Result<(), SpoolError> {
        let Some(oldest) = self.files.first_key_value().map(|(number, _)| *number) else { return Ok(()) };
        if oldest == self.active.number {
            return if self.active.len > to_u64(FILE_HEAD) { self.rotate() } else { Ok(()) };
        }
        let mut rest = self.index.of_file(oldest).into_iter().peekable();
        while rest.peek().is_some() {
            let (mut block, mut places) = (BlockWriter::new(), Vec::new());
            // what is copied and what is not says the same together: a crash in between changes nothing
            while let Some((dno, kind, place)) = rest.next_if(|(_, _, place)| {
                block.is_empty() || to_u64(block.len()) + u64::from(place.len) <= COMMIT_BYTES
            }) {
                let record = match self.read(place) {
                    Err(error) if error.passes() => return Ok(()), // another time: nothing waits for it
                    read => read?,
                };
                places.push((dno, kind, block.add(&record)));
            }
            match self.append(block, places)? {
                Written::Whole => {}
                Written::NoRoom => return self.take_back(),
            }
        }
        self.delete_dead()
    }

    /// After a block that found no room, when something else comes next: no part of it may stand behind that.
    pub(super) fn take_back(&mut self) -> Result<(), SpoolError> {
        let cut = self.active.file.set_len(self.active.len);
        cut.map_err(SpoolError::failed("take back a block of"))?;
        self.space.moved();
        Ok(())
    }

    /// The items of a run from number `from` on: about `bytes` bytes, at least one if it is there.
    pub(super) fn load(&self, dno: u64, from: u64, bytes: u64) -> Result<Vec<Item>, SpoolError> {
        let (mut items, mut read, mut next) = (Vec::new(), 0, from);
        while read < bytes
            && let Some(place) = self.index.item(dno, next)
        {
            let Ok(Record::Items { items: found, .. }) = Record::read(self.read(place)?) else {
                return Err(SpoolError::failed("read")(io::Error::other("a record is not what it was")));
            };
            read += u64::from(place.len);
            items.extend(found.into_iter().filter(|item| item.n >= next));
            next = items.last().map_or(next, |item: &Item| item.n.saturating_add(1));
        }
        Ok(items)
    }

    /// Reads a record back and checks it.
    fn read(&self, place: Place) -> Result<Bytes, SpoolError> {
        let failed = SpoolError::failed;
        let other;
        let file = if place.file == self.active.number {
            &self.active.file
        } else {
            other = File::open(self.folder.join(file_name(place.file))).map_err(|error| {
                if is_no_descriptor(&error) { SpoolError::NoDescriptor } else { failed("read")(error) }
            })?;
            &other
        };
        let mut bytes = vec![0; usize::try_from(place.len).unwrap_or(0) + 4];
        file.read_exact_at(&mut bytes, place.offset.saturating_sub(4)).map_err(failed("read"))?;
        if check_record(&bytes).is_none() {
            let text = format!("{} is damaged near byte {}", file_name(place.file), place.offset);
            return Err(failed("read")(io::Error::other(text)));
        }
        Ok(Bytes::from(bytes).slice(4..))
    }
}

/// Creates a file with its head, on disk under its name before anything relies on it.
pub(super) fn create(
    folder: &Path,
    head: FileHead,
    options: &OpenOptions,
    handle: &File,
) -> io::Result<File> {
    let mut open = fs::OpenOptions::new();
    open.read(true).write(true).create(true).truncate(true).mode(0o600);
    let file = open.open(folder.join(file_name(head.number)))?;
    file.write_all_at(&head.write(), 0)?;
    (options.sync)(&file)?;
    handle.sync_all()?;
    Ok(file)
}

pub(super) fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

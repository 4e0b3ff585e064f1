//! Uploads that were put into their place although nobody waited for that any more: the time of the call was over, or its session. Who
//! asks again must hear that the file is there, and not that nobody knows of the upload.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Files;
use super::error::FileError;
use super::look::Looks;
use super::open::walk;
use super::upload::{Finish, Part};
use super::write::Upload;

/// How many are remembered; those of before are forgotten, and their files sent again.
const MAX: usize = 64;

/// A file in its place.
#[derive(Debug, Clone)]
pub(super) struct InPlace {
    pub(super) looks: Looks,
    pub(super) sha256: String,
}

/// Those of which nobody was told, by the names of their temporary files.
#[derive(Debug, Default)]
pub(super) struct Placed(Mutex<VecDeque<(OsString, InPlace)>>);

impl Placed {
    pub(super) fn note(&self, name: &OsStr, file: InPlace) {
        let mut all = self.all();
        all.retain(|(other, _)| other != name);
        if all.len() >= MAX {
            all.pop_front();
        }
        all.push_back((name.to_owned(), file));
    }

    pub(super) fn find(&self, name: &OsStr) -> Option<InPlace> {
        self.all().iter().find(|(other, _)| other == name).map(|(_, file)| file.clone())
    }

    /// It was told.
    pub(super) fn forget(&self, name: &OsStr) {
        self.all().retain(|(other, _)| other != name);
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<(OsString, InPlace)>> {
        // nothing panics while it holds the lock
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// Puts a part into its place, and remembers it until somebody was told.
    pub(super) fn placing(
        &self,
        files: &Files,
    ) -> Result<impl FnOnce(&mut Part, &Finish) -> Result<Looks, FileError> + Send + 'static, FileError> {
        let name = files.uploads.temporary(&self.id, &self.place.path())?;
        let (protected, uploads, place) =
            (files.protected.clone(), files.uploads.clone(), self.place.clone());
        Ok(move |part: &mut Part, finish: &Finish| {
            let looks = part.finish(&place, finish, &protected.now())?;
            uploads.placed.note(&name, InPlace { looks: looks.clone(), sha256: part.sha256() });
            Ok(looks)
        })
    }

    /// Whoever waits hears how it went.
    pub(super) fn told(&self, files: &Files) -> Result<(), FileError> {
        files.uploads.placed.forget(&files.uploads.temporary(&self.id, &self.place.path())?);
        Ok(())
    }

    /// The file that this upload has become without anybody being told, as long as it is the same, and its size.
    pub(super) async fn in_place(&self, files: &Files) -> Result<Option<(InPlace, u64)>, FileError> {
        let name = files.uploads.temporary(&self.id, &self.place.path())?;
        let Some(file) = files.uploads.placed.find(&name) else { return Ok(None) };
        let place = self.place.clone();
        let found = files.work(move |files, _| {
            let guard = files.protected.now();
            walk(&place, &guard)?.stat(&guard)
        });
        let Ok(stat) = found.await else { return Ok(None) };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok((Looks::from(&stat) == file.looks).then_some((file, size)))
    }
}

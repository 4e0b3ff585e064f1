//! A folder with all that is in it. Links and special files are left out, and told.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use futures_util::future::LocalBoxFuture;

use super::local::{Folder, failed};
use super::place::is_name;
use super::remote::{Failure, Looks, at, inside, octets};
use super::{Copy, Done};
use crate::exit::Exit;
use crate::report::Report;

/// How deep folders in folders are copied.
const MAX_DEPTH: usize = 128;

impl Copy<'_> {
    /// Copies what is in a local folder into a folder of the agent, which is made if it is not there.
    pub fn upload_tree<'t>(
        &'t self,
        source: &'t Path,
        target: &'t Path,
        depth: usize,
    ) -> LocalBoxFuture<'t, Result<Done, Failure>> {
        Box::pin(async move {
            not_too_deep(source, depth)?;
            let mut names = Vec::new();
            for entry in std::fs::read_dir(source).map_err(|error| failed("list", source, error))? {
                names.push(entry.map_err(|error| failed("list", source, error))?.file_name());
            }
            names.sort_unstable();
            let make = |map| at(target)(map).bool("folder", true);
            let _folder: Looks = self.remote.call("file.write", make).await?;
            let mut done = Done::default();
            for name in names {
                let (from, to) = (source.join(&name), target.join(&name));
                let found =
                    std::fs::symlink_metadata(&from).map_err(|error| failed("look at", &from, error))?;
                if found.is_dir() {
                    done.add(self.upload_tree(&from, &to, depth + 1).await?);
                } else if found.is_file() {
                    done.add(self.upload(&from, &to).await?);
                } else {
                    done.notes.push(format!("{} is left out: it is no regular file", from.display()));
                }
            }
            Ok(done)
        })
    }

    /// Copies what is in a folder of the agent into a local folder.
    pub fn download_tree<'t>(
        &'t self,
        source: &'t Path,
        target: &'t Folder,
        depth: usize,
    ) -> LocalBoxFuture<'t, Result<Done, Failure>> {
        Box::pin(async move {
            not_too_deep(source, depth)?;
            let (mut done, mut after): (_, Option<Vec<u8>>) = (Done::default(), None);
            loop {
                let page = self.remote.list(source, after.as_deref()).await?;
                for entry in page.entries {
                    let name = octets(&entry.name).unwrap_or_default().to_vec();
                    if !is_name(&name) {
                        return Err(self.strange(source, "a name in it is no name"));
                    }
                    let from = inside(source, &name);
                    let name = OsString::from_vec(name);
                    done.add(self.download_entry(&from, &entry.looks, target, &name, depth).await?);
                }
                let next = page.next.as_ref().and_then(octets).map(<[u8]>::to_vec);
                // names come in order, so that a list ends
                match next {
                    Some(next) if after.as_ref().is_none_or(|after| next > *after) => after = Some(next),
                    Some(_) => return Err(self.strange(source, "its names are in no order")),
                    None => return Ok(done),
                }
            }
        })
    }

    async fn download_entry(
        &self,
        from: &Path,
        looks: &Looks,
        target: &Folder,
        name: &OsStr,
        depth: usize,
    ) -> Result<Done, Failure> {
        match looks.r#type.as_str() {
            "folder" => self.download_tree(from, &target.enter(name)?, depth + 1).await,
            "file" => self.download(from, looks, target, name).await,
            _ => {
                let note = format!("{} is left out: it is no regular file", from.display());
                Ok(Done { notes: vec![note], ..Done::default() })
            }
        }
    }

    fn strange(&self, folder: &Path, why: &str) -> Failure {
        let what = format!("{}: cannot copy {}", self.remote.agent, folder.display());
        Box::new(Report::new(Exit::Failed, what, why, "do you trust this agent? nothing outside was written"))
    }
}

fn not_too_deep(folder: &Path, depth: usize) -> Result<(), Failure> {
    if depth < MAX_DEPTH {
        return Ok(());
    }
    let what = format!("{} lies too deep", folder.display());
    let why = format!("folders are copied up to {MAX_DEPTH} levels");
    Err(Box::new(Report::usage(what, why, "copy it in parts")))
}

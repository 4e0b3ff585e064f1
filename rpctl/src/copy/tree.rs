//! A folder with all that is in it. Links and special files are left out, and told.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use futures_util::future::LocalBoxFuture;

use super::local::{Folder, failed, folder_mode};
use super::place::is_name;
use super::remote::{Failure, Looks, at, inside, is_gone, octets};
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
            self.make_folder(source, target).await?;
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
                    done.note(format!("{} is left out: it is no regular file", from.display()));
                }
            }
            Ok(done)
        })
    }

    /// Makes a folder on the agent as the one here is. One that is there stays as it is.
    async fn make_folder(&self, source: &Path, target: &Path) -> Result<(), Failure> {
        let found = std::fs::metadata(source).map_err(|error| failed("look at", source, error))?;
        let (owner, group) = (self.wishes.owner.as_deref(), self.wishes.group.as_deref());
        let is_new = match (owner, group) {
            (None, None) => false,
            (_, _) => self.remote.stat_if_any(target).await?.is_none(),
        };
        let make = |map| {
            let mode = folder_mode(found.permissions().mode()).into();
            let map = at(target)(map).bool("folder", true).uint("new_mode", mode);
            if is_new { map.opt_text("owner", owner).opt_text("group", group) } else { map }
        };
        self.remote.call::<Looks>("file.write", make).await.map(|_folder| ())
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
                let page = match self.remote.list(source, after.as_deref()).await {
                    Err(failure) if after.is_some() && is_gone(&failure) => {
                        done.note(format!(
                            "{} has gone meanwhile: the rest of it is left out",
                            source.display()
                        ));
                        return Ok(done);
                    }
                    page => page?,
                };
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
        let left_out = |why: &str| {
            let note = format!("{} is left out: {why}", from.display());
            Ok(Done { notes: vec![note], ..Done::default() })
        };
        let copied = match looks.r#type.as_str() {
            "folder" => self.download_tree(from, &target.enter(name, looks.mode)?, depth + 1).await,
            "file" => match self.remote.stat(from).await {
                // as it is now: one that was written anew since the list is not cut to what it was
                Ok(looks) if looks.r#type == "file" => self.download(from, &looks, target, name).await,
                Ok(_other) => return left_out("it is no regular file any more"),
                Err(failure) => Err(failure),
            },
            _ => return left_out("it is no regular file"),
        };
        match copied {
            // between the list and its turn
            Err(failure) if is_gone(&failure) => left_out("it has gone meanwhile"),
            copied => copied,
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

//! `rpctl cp`: files to agents, and from one.

use std::fs::DirBuilder;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::time::Instant;

use super::{Patient, agents, interrupted};
use crate::cli::{CpArgs, Via};
use crate::copy::local::{Folder, folder_mode};
use crate::copy::meter::{Meter, Meters};
use crate::copy::place::{Place, ends_with_slash, parse, split};
use crate::copy::remote::{AGAIN, Failure, Remote, is_folder};
use crate::copy::{Copy, Done, Wishes};
use crate::exit::Exit;
use crate::link::Link;
use crate::output::{Format, Output, OutputError};
use crate::report::Report;
use crate::selector::Selector;
use crate::{Ended, Stop};

/// A copy, checked.
#[derive(Debug)]
pub(super) struct CpQuestion {
    way: Way,
    wishes: Wishes,
    recursive: bool,
    parallel: usize,
    allow_empty: bool,
}

/// What goes where.
#[derive(Debug)]
enum Way {
    Up { source: Option<PathBuf>, selector: Selector, selector_text: String, target: PathBuf },
    Down { agent: String, source: PathBuf, target: Option<PathBuf> },
}

impl CpQuestion {
    pub(super) fn read(args: &CpArgs) -> Result<Self, Stop> {
        let way = match (parse(&args.source)?, parse(&args.target)?) {
            (Place::Remote(..), Place::Remote(..)) => {
                return Err(wrong("both sides are on agents", "copy it here first").into());
            }
            (Place::Remote(agents, source), target) => {
                let Selector::Ids(ids) = Selector::parse(&agents)? else {
                    return Err(wrong("a copy comes from one agent", "name it: AGENT:/PATH").into());
                };
                let [agent] = ids.as_slice() else {
                    return Err(wrong("a copy comes from one agent", "copy from each by itself").into());
                };
                if args.owner.is_some() || args.group.is_some() {
                    return Err(
                        wrong("--owner and --group are for copies on agents", "leave them out").into()
                    );
                }
                let target = if let Place::Local(path) = target { Some(path) } else { None };
                Way::Down { agent: agent.clone(), source, target }
            }
            (source, Place::Remote(agents, target)) => {
                let source = if let Place::Local(path) = source { Some(path) } else { None };
                let selector = Selector::parse(&agents)?;
                let one = matches!(&selector, Selector::Ids(ids) if ids.len() == 1);
                if source.is_none() && ends_with_slash(&target) {
                    return Err(wrong("standard input has no name", &with_name(&agents, &target)).into());
                }
                if source.is_none() && !one {
                    return Err(wrong(
                        "standard input is read once",
                        "copy it to one agent, or save it first",
                    )
                    .into());
                }
                Way::Up { source, selector, selector_text: agents, target }
            }
            (Place::Local(_) | Place::Stream, Place::Local(_) | Place::Stream) => {
                return Err(wrong("neither side is on an agent", "write AGENT:/PATH on one of them").into());
            }
        };
        let stream = matches!(&way, Way::Up { source: None, .. } | Way::Down { target: None, .. });
        if stream && args.recursive {
            return Err(wrong("a folder does not go through -", "name a local folder").into());
        }
        if stream && args.via == Via::Stream {
            let why = "what goes through - goes in calls";
            return Err(wrong(why, "name a file, or leave out --via stream").into());
        }
        let wishes = Wishes {
            mode: args.mode,
            owner: args.owner.clone(),
            group: args.group.clone(),
            resume: !args.no_resume,
            verify: args.verify,
            via: args.via,
        };
        let parallel = usize::from(args.parallel);
        Ok(Self { way, wishes, recursive: args.recursive, parallel, allow_empty: args.allow_empty })
    }

    pub(super) async fn run(&self, patient: Patient<'_>) -> Ended {
        let Patient { settings, output, interrupts, deadline } = patient;
        let link = tokio::select! {
            biased;
            _ = interrupts.next() => return Err(interrupted("while connecting; nothing was sent").into()),
            link = Link::connect(settings, deadline) => link?,
        };
        let ended = tokio::select! {
            biased;
            _ = interrupts.next() => {
                let mut report = interrupted("during the copy");
                report.help = self.after_interrupt();
                Err(report.into())
            }
            ended = self.copy(&link, deadline, settings.verbose > 0, output) => ended,
        };
        link.close().await;
        ended
    }

    /// What to do then, with what lies there meanwhile.
    fn after_interrupt(&self) -> String {
        match &self.way {
            Way::Down { target: Some(_), .. } if self.wishes.resume => {
                format!("{AGAIN}; until then what came lies beside its place, as .rpctl-…")
            }
            Way::Down { .. } | Way::Up { .. } => AGAIN.to_owned(),
        }
    }

    async fn copy(
        &self,
        link: &Link,
        deadline: Option<Instant>,
        verbose: bool,
        output: &mut Output,
    ) -> Ended {
        let meters = Meters::new(output.look().live);
        let remote = |agent: String| {
            Remote::new(link.peer().clone(), agent, deadline, verbose)
                .with_transport(link.transport().clone())
        };
        let copies = match &self.way {
            Way::Down { agent, source, target } => {
                let remote = remote(agent.clone());
                let meter = meters.line(agent);
                vec![(agent.clone(), self.down(&remote, meter, source, target.as_deref(), output).await)]
            }
            Way::Up { source, selector, selector_text, target } => {
                let agents = match selector {
                    Selector::Ids(ids) => ids.clone(),
                    Selector::All | Selector::Glob(_) => {
                        let found = agents::selected(link, Some(selector), verbose).await?;
                        agents::not_revoked(found, (selector_text, self.allow_empty), output)?
                    }
                };
                if agents.is_empty() && !self.allow_empty {
                    return Err(agents::nobody_matches(selector_text).into());
                }
                let copies = stream::iter(agents).map(|agent| {
                    let (remote, meter) = (remote(agent.clone()), meters.line(&agent));
                    async move { (agent, self.up(&remote, meter, source.as_deref(), target).await) }
                });
                let mut copies: Vec<_> = copies.buffer_unordered(self.parallel).collect().await;
                copies.sort_by(|(one, _), (other, _)| one.cmp(other));
                copies
            }
        };
        // the bytes of the file are all that may stand there
        let to_stdout = matches!(&self.way, Way::Down { target: None, .. });
        told(copies, to_stdout, output)
    }

    async fn up(
        &self,
        remote: &Remote,
        meter: Meter,
        source: Option<&Path>,
        target: &Path,
    ) -> Result<Done, Failure> {
        let copy = Copy { remote, wishes: &self.wishes, meter };
        let Some(source) = source else {
            let mut copied = copy.upload_stream(std::io::stdin(), target).await;
            if let Err(failure) = &mut copied
                && is_folder(failure)
            {
                failure.help = with_name(&remote.agent, target);
            }
            return copied;
        };
        if self.recursive {
            let is_folder = std::fs::metadata(source).is_ok_and(|found| found.is_dir());
            if is_folder {
                return copy.upload_tree(source, target, 0).await;
            }
        }
        let into = ends_with_slash(target)
            || remote.stat_if_any(target).await?.is_some_and(|looks| looks.r#type == "folder");
        match (into, source.file_name()) {
            (true, Some(name)) => copy.upload(source, &target.join(name)).await,
            (true, None) | (false, _) => copy.upload(source, target).await,
        }
    }

    async fn down(
        &self,
        remote: &Remote,
        meter: Meter,
        source: &Path,
        target: Option<&Path>,
        output: &mut Output,
    ) -> Result<Done, Failure> {
        let copy = Copy { remote, wishes: &self.wishes, meter };
        let looks = remote.stat(source).await?;
        let is_folder = looks.r#type == "folder";
        if is_folder && !self.recursive {
            let what = format!("{}: {} is a folder", remote.agent, source.display());
            return Err(Box::new(Report::usage(what, "only files are copied without -r", "add -r")));
        }
        let Some(target) = target else {
            let write = |data: &[u8]| {
                output.bytes(data).map_err(|error| Box::new(cut_off(&remote.agent, source, &error)))
            };
            return copy.download_to(source, &looks, write).await;
        };
        if is_folder {
            let mode = folder_mode(looks.mode);
            let made = std::os::unix::fs::DirBuilderExt::mode(&mut DirBuilder::new(), mode).create(target);
            if let Err(error) = made
                && error.kind() != std::io::ErrorKind::AlreadyExists
            {
                return Err(crate::copy::local::failed("make the folder", target, error));
            }
            return copy.download_tree(source, &Folder::open(target)?, 0).await;
        }
        let place = split(source, target);
        let (folder, name) =
            place.ok_or_else(|| Box::new(wrong("the target has no name", "name a file or a folder")))?;
        copy.download(source, &looks, &Folder::open(&folder)?, &name).await
    }
}

/// What was read cannot be printed any more.
fn cut_off(agent: &str, source: &Path, error: &OutputError) -> Report {
    match error {
        OutputError::Closed => Report::new(
            Exit::Failed,
            format!("{agent}: the copy of {} was cut off", source.display()),
            "nobody reads what rpctl prints any more",
            "let what reads it read to the end, or copy it to a file",
        ),
        OutputError::Failed(_) => Report::of_error(Exit::Internal, error, crate::closed::help()),
    }
}

/// What to do when what comes from standard input would be a folder.
fn with_name(agents: &str, folder: &Path) -> String {
    format!("name the file: {agents}:{}", folder.join("NAME").display())
}

fn wrong(why: &str, help: &str) -> Report {
    Report::usage("this cannot be copied", why, format!("{help}; see rpctl cp --help"))
}

/// One agent's copy, for scripts and for the table.
#[derive(Debug, Serialize)]
struct Told {
    agent: String,
    copied: bool,
    exit: u8,
    /// What is in its place; of a copy that failed nobody knows it.
    #[serde(flatten)]
    whole: Option<Whole>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Whole {
    files: u64,
    bytes: u64,
    resumed: u64,
    streamed: u64,
}

/// Tells how it went: one agent's failure as every failure, several agents in a table.
fn told(copies: Vec<(String, Result<Done, Failure>)>, to_stdout: bool, output: &mut Output) -> Ended {
    let several = copies.len() > 1;
    let exit = exit_of(copies.iter().filter_map(|(_, copy)| copy.as_ref().err().map(|report| report.exit)));
    let mut rows = Vec::new();
    for (agent, copy) in copies {
        match copy {
            Ok(done) => {
                let Done { files, bytes, resumed, streamed, mut notes, untold } = done;
                if untold > 0 {
                    notes.push(format!("{untold} more that are left out or worth knowing are not told"));
                }
                for note in &notes {
                    output.note(note);
                }
                let whole = Some(Whole { files, bytes, resumed, streamed });
                rows.push(Told { agent, copied: true, exit: 0, whole, why: None, notes });
            }
            Err(report) if !several => return Err((*report).into()),
            Err(report) => {
                let why = Some(format!("{}: {}", report.what, report.why));
                let exit = report.exit.code();
                rows.push(Told { agent, copied: false, exit, whole: None, why, notes: vec![] });
            }
        }
    }
    if several || (output.format() != Format::Table && !to_stdout) {
        let printed = output.list(&["AGENT", "COPIED", "FILES", "BYTES", "WHY"], &rows, |row| {
            let copied = if row.copied { "yes" } else { "no" };
            let why = row.why.clone().unwrap_or_default();
            let count =
                |of: fn(&Whole) -> u64| row.whole.as_ref().map(of).map(|n| n.to_string()).unwrap_or_default();
            vec![
                row.agent.clone(),
                copied.to_owned(),
                count(|whole| whole.files),
                count(|whole| whole.bytes),
                why,
            ]
        });
        OutputError::unless_closed(printed)?;
    }
    Ok(exit)
}

/// All failed for the same reason, or it is a failure like any other.
fn exit_of(exits: impl Iterator<Item = Exit>) -> Exit {
    exits.fold(Exit::Good, |all, exit| if all == Exit::Good || all == exit { exit } else { Exit::Failed })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};
    use crate::output::{Look, capture};

    fn question(words: &[&str]) -> Result<CpQuestion, Exit> {
        let words = [&["rpctl", "cp"], words].concat();
        let Some(Verb::Cp(args)) = Cli::try_parse_from(words).unwrap().verb else { panic!("not a copy") };
        CpQuestion::read(&args).map_err(|stop| match stop {
            Stop::Failed(report) => report.exit,
            Stop::Output(_) => Exit::Internal,
        })
    }

    #[test]
    fn one_side_is_here_and_the_other_on_agents() {
        assert!(matches!(question(&["a", "web-1:/b"]).unwrap().way, Way::Up { .. }));
        assert!(matches!(question(&["a", "id:web-*:/b"]).unwrap().way, Way::Up { .. }));
        assert!(matches!(question(&["web-1:/b", "-"]).unwrap().way, Way::Down { target: None, .. }));
        assert!(question(&["a", "web-1:/b", "--mode", "0640"]).unwrap().wishes.mode == Some(0o640));
        assert!(!question(&["a", "web-1:/b", "--no-resume"]).unwrap().wishes.resume);
        for words in [
            &["a", "b"][..],
            &["web-1:/a", "web-2:/b"],
            &["*:/a", "b"],
            &["web-1,web-2:/a", "b"],
            &["-", "*:/a"],
            &["-", "web-1:/a/"],
            &["-r", "-", "web-1:/a"],
            &["web-1:a", "b"],
            &["web-1:/a", "b", "--owner", "root"],
        ] {
            assert_eq!(question(words).err(), Some(Exit::Usage), "{words:?}");
        }
    }

    #[test]
    fn standard_output_has_the_report_or_the_file() {
        for (to_stdout, expected) in [(false, true), (true, false)] {
            let look = Look { format: Format::Json, ..Look::default() };
            let (mut output, out, _) = capture::output(look);
            told(vec![("web-1".to_owned(), Ok(Done::default()))], to_stdout, &mut output).unwrap();
            assert_eq!(out.text().contains("web-1"), expected, "{}", out.text());
        }
    }

    #[test]
    fn the_exit_code_is_the_one_reason_or_that_of_a_failure() {
        assert_eq!(exit_of([].into_iter()), Exit::Good);
        assert_eq!(exit_of([Exit::Away, Exit::Away].into_iter()), Exit::Away);
        assert_eq!(exit_of([Exit::Away, Exit::Refused].into_iter()), Exit::Failed);
    }
}

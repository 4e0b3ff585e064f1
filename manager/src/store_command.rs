//! `redpoll-manager store …`: what is done with the store beside the manager.

mod forgotten;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use data_encoding::HEXLOWER;
use redpoll_config::daemon::Failure;
use redpoll_config::{ExitClass, Loaded, ManagerConfig, PermissionError, Sources, load};

use crate::store::sqlite::{
    BackupError, CompactError, Compacted, Extent, Finished, OpenError, Ready, RestoreError, backup, compact,
};

/// The exit code of a wrong command line, here one without the `--yes` that it needs.
const USAGE: u8 = 2;
/// The exit code when the answer was no.
const INTERRUPTED: u8 = 130;

/// What can be done with it.
#[derive(Debug, Clone, Subcommand)]
pub enum StoreCommand {
    /// Copies the store into a new file, while the manager runs or not; as its user, or as root.
    ///
    /// The copy is what was committed when the command began. It is checked and on disk when the command ends, and only the manager's user may read it,
    /// also where root made it: it holds arguments and results. Nothing is overwritten. The manager goes on meanwhile, and its log grows by what it writes.
    /// Exit: 0 there is a copy · 64 configuration · 70 there is none · 77 permissions.
    Backup {
        /// The copy to make, such as /var/backups/jobs-monday.db.
        #[arg(value_name = "FILE")]
        copy: PathBuf,
        /// Read this configuration file; it has to exist.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Puts a copy in the place of the store, and keeps what was there; with the manager stopped, as its user.
    ///
    /// Never copy a database over jobs.db by hand: the log of the old one, jobs.db-wal, would be applied to it and destroy it. FILE is what `backup`
    /// made, or any other copy of jobs.db; a log that belongs to it lies beside it as FILE-wal. It is checked before anything is changed. What was there is
    /// kept as jobs.db.before-TIME with its log, and can be put back in the same way. Ended at any moment, there is the old store or the copy.
    /// Who was revoked since the copy was made would be let in again: the question and the result name them.
    /// Exit: 0 the copy is the store · 2 --yes is missing · 64 configuration · 70 it is not, or from the next start on, as it says · 77 permissions · 130 the answer was no.
    Restore {
        /// The copy.
        #[arg(value_name = "FILE")]
        copy: PathBuf,
        /// Read this configuration file; it has to exist.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Writes the database anew, so that nothing deleted is left in it; with the manager stopped, as its user.
    ///
    /// Builds that did not yet overwrite what they replaced left copies of secret arguments in unused parts of the file. It needs as much free space as the database and
    /// its log have, and takes as long as the disk needs to read it twice and write it once. Ended at any moment, it has changed nothing.
    Compact {
        /// Read this configuration file; it has to exist.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

impl StoreCommand {
    /// Does it. What became of it goes to stdout, what is wrong to stderr.
    pub fn run(&self) -> ExitCode {
        let done = match self {
            Self::Backup { copy, config } => copied(config.clone(), copy),
            Self::Restore { copy, config, yes } => return restored(config.clone(), copy, *yes),
            Self::Compact { config } => compacted(config.clone()),
        };
        ended(done)
    }
}

fn ended(done: Result<String, Failure>) -> ExitCode {
    match done {
        Ok(text) => {
            // a reader that has gone away has seen enough
            let _gone = writeln!(io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(failure) => failure.report("redpoll-manager"),
    }
}

/// The folder of the store, where the manager of this configuration looks for it.
fn folder(config: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let Loaded { config, .. } = load::<ManagerConfig>(&Sources::of_process(config, Vec::new()))?;
    Ok(config.store_folder().to_owned())
}

fn copied(config: Option<PathBuf>, copy: &Path) -> Result<String, Failure> {
    let made = backup(&folder(config)?, copy).map_err(|error| match error {
        BackupError::Open(error) => unopened("no copy was made", error),
        other @ (BackupError::Missing { .. }
        | BackupError::Restoring { .. }
        | BackupError::Exists { .. }
        | BackupError::Unfinished { .. }
        | BackupError::OwnName { .. }
        | BackupError::NoSpace { .. }
        | BackupError::Damaged(_)) => Failure::new(ExitClass::Internal, "no copy was made").caused_by(other),
    })?;
    Ok(format!("{}: {}", copy.display(), told(made)))
}

fn compacted(config: Option<PathBuf>) -> Result<String, Failure> {
    let what = "the store was not compacted, and is as it was";
    let Compacted { before, after } = compact(&folder(config)?).map_err(|error| match error {
        CompactError::Open(error) => unopened(what, error),
        other @ (CompactError::Missing { .. } | CompactError::NoSpace { .. } | CompactError::Damaged(_)) => {
            Failure::new(ExitClass::Internal, what).caused_by(other)
        }
    })?;
    Ok(format!("{before} bytes before, {after} now; nothing deleted is left in the database"))
}

fn restored(config: Option<PathBuf>, copy: &Path, yes: bool) -> ExitCode {
    let earlier = |Finished { kept, forgotten }: &Finished| {
        let kept = kept.as_ref().map_or_else(
            || "there was none before".to_owned(),
            |kept| format!("what was there is kept as {}", kept.display()),
        );
        let _gone = writeln!(
            io::stderr(),
            "an earlier restore that was broken off is finished: its copy is the store; {kept}"
        );
        say(&forgotten::warned(forgotten));
    };
    let prepared = folder(config).and_then(|folder| {
        Ready::after(&folder, copy, earlier).map(|ready| (folder, ready)).map_err(not_put)
    });
    let (folder, ready) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return failure.report("redpoll-manager"),
    };
    let forgotten = ready.forgotten().clone();
    if !yes {
        say(&forgotten::warned(&forgotten));
    }
    let what = format!(
        "put {} ({}) in the place of the store in {}",
        copy.display(),
        told(ready.extent()),
        folder.display()
    );
    if let Err(code) = confirmed(&what, yes) {
        return code;
    }
    let put = ready.put().map(|kept| match kept {
        Some(kept) => format!("the copy is the store; what was there is kept as {}", kept.display()),
        None => "the copy is the store; there was none before".to_owned(),
    });
    let again = forgotten::again(&forgotten);
    match put {
        Ok(first) => ended(Ok([vec![first], again].concat().join("\n"))),
        Err(error) => {
            let counts = matches!(error, RestoreError::Begun { .. });
            let code = not_put(error).report("redpoll-manager");
            if counts {
                say(&again);
            }
            code
        }
    }
}

/// Lines for a person, on stderr.
fn say(lines: &[String]) {
    for line in lines {
        let _gone = writeln!(io::stderr(), "{line}");
    }
}

fn not_put(error: RestoreError) -> Failure {
    let what = "the copy was not put in place";
    match error {
        RestoreError::Open(error) => unopened(what, error),
        RestoreError::Unreadable { ref path, ref source }
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            let user = rustix::process::geteuid().as_raw();
            let help =
                format!("run: chown {user} {}; or copy it to where user {user} may read it", path.display());
            Failure::new(ExitClass::Internal, what).caused_by(error).help(help)
        }
        other @ (RestoreError::Unreadable { .. }
        | RestoreError::NotAStore { .. }
        | RestoreError::Newer { .. }
        | RestoreError::Damaged { .. }
        | RestoreError::NoSpace { .. }) => Failure::new(ExitClass::Internal, what).caused_by(other),
        begun @ RestoreError::Begun { .. } => {
            Failure::new(ExitClass::Internal, "the restore is not finished").caused_by(begun)
        }
    }
}

/// Asks, unless `yes` was said. Without a terminal nobody is asked.
fn confirmed(what: &str, yes: bool) -> Result<(), ExitCode> {
    if yes {
        return Ok(());
    }
    let mut stderr = io::stderr();
    if !(io::stdin().is_terminal() && stderr.is_terminal()) {
        let help = "add --yes if that is what you want";
        let _gone = writeln!(
            stderr,
            "redpoll-manager: to {what} needs --yes\n  help: {help}; the copy was not put in place"
        );
        return Err(ExitCode::from(USAGE));
    }
    let mut answer = String::new();
    let _gone = write!(stderr, "{what}? [y/N] ");
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    let _gone = writeln!(stderr, "redpoll-manager: the answer was not yes; the copy was not put in place");
    Err(ExitCode::from(INTERRUPTED))
}

/// What is in a copy, in words; the head as `rpctl events verify` shows it.
fn told(extent: Extent) -> String {
    let Extent { bytes, version, head } = extent;
    let head =
        head.map_or_else(|| "none".to_owned(), |head| format!("{}:{}", head.n, HEXLOWER.encode(&head.hash)));
    format!("{bytes} bytes, version {version}, head of the history {head}")
}

/// Says of the folder of another user what to do: giving it to who runs this would keep the manager out.
fn unopened(what: &str, error: OpenError) -> Failure {
    if let OpenError::Permissions(
        PermissionError::Owner { owner, path, .. } | PermissionError::ForRoot { owner, path },
    ) = &error
    {
        let cause = format!("{} belongs to user {owner}", path.display());
        return Failure::new(ExitClass::Permissions, what)
            .caused_by(io::Error::other(cause))
            .help(format!("run it as the manager's user: sudo -u '#{owner}' redpoll-manager store …"));
    }
    Failure::new(error.exit_class(), what).caused_by(error)
}

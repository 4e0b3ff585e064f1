//! What the two daemons do alike: their flags, the first steps of their `main`, logging, certificates, reloading, and
//! the way they say why they do not start.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::permissions::refuse_configuration;
use crate::{Config, ConfigError, Loaded, Override, Sources, load, report};

mod failure;
pub mod logging;
mod one_line;
mod reload;

pub use failure::Failure;
use logging::{Doing, LogControl};
pub use reload::{credentials, reload};

/// The flags that every daemon has.
#[derive(Debug, Clone, clap::Args)]
pub struct DaemonArgs {
    /// Read this configuration file; it has to exist.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print each effective value and where it came from, look at the files as the start does, then end.
    #[arg(long)]
    pub check_config: bool,
    /// Set one key, such as `session.ping_interval=5s`; wins over the file and the environment. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = Override::parse_set)]
    pub set: Vec<Override>,
}

impl DaemonArgs {
    /// Where the configuration comes from, for now and for each reload.
    fn sources(&self) -> Sources {
        Sources::of_process(self.config.clone(), self.set.clone())
    }

    /// The `main` of a daemon: loads its configuration, begins to log and leaves the rest to `work`. For `--check-config` it
    /// prints it, and leaves to `check` what `work` would refuse; that changes nothing. A failure is told on stderr and becomes the
    /// exit code. Each line of the log says what `doing` says when it is written.
    pub fn main<C: Config>(
        &self,
        program: &str,
        doing: Doing,
        check: impl FnOnce(&Loaded<C>) -> Result<(), Failure>,
        work: impl FnOnce(Start<C>) -> Result<(), Failure>,
    ) -> ExitCode {
        match self.start(doing, check, work) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(program),
        }
    }

    fn start<C: Config>(
        &self,
        doing: Doing,
        check: impl FnOnce(&Loaded<C>) -> Result<(), Failure>,
        work: impl FnOnce(Start<C>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let sources = self.sources();
        let loaded = load_own::<C>(&sources)?;
        if self.check_config {
            // a reader that has gone away has seen enough, and wants the exit code all the same
            let _gone = std::io::stdout().write_all(report(&loaded.effective).as_bytes());
            logging::check(loaded.config.shared().log)?;
            return check(&loaded);
        }
        let log = logging::init(loaded.config.shared().log, doing)?;
        work(Start { loaded, sources, log })
    }
}

/// Loads the configuration of this very daemon, which is not one that somebody else could change where root runs it.
///
/// # Errors
/// As [`load()`], and [`ConfigError::Permission`] about the file, or a folder above it.
pub(crate) fn load_own<C: Config>(sources: &Sources) -> Result<Loaded<C>, ConfigError> {
    let loaded = load::<C>(sources)?;
    loaded.file.as_deref().map_or(Ok(()), refuse_configuration)?;
    Ok(loaded)
}

/// What a daemon begins with.
#[derive(Debug)]
pub struct Start<C> {
    /// Its configuration.
    pub loaded: Loaded<C>,
    /// Where that came from, to load it again.
    pub sources: Sources,
    /// The log, which is set up.
    pub log: LogControl,
}

/// Writes `text` to `path`, for its owner alone, so that readers see the old or the new content, never half of it.
///
/// # Errors
/// What the operating system says.
pub fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let draft = path.with_extension("new");
    // anew, because an old draft would keep its own mode
    let _left_over = std::fs::remove_file(&draft);
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        drop(file);
        std::fs::rename(&draft, path)
    };
    let written = written();
    if written.is_err() {
        let _half = std::fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_daemon_of_root_takes_its_configuration_from_what_nobody_else_can_change_or_replace() {
        let give = |path: &Path, to: u32| std::os::unix::fs::chown(path, Some(to), None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let app = folder.path().join("app");
        std::fs::create_dir_all(app.join("etc")).unwrap();
        let file = app.join("etc/agent.toml");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let sources = |file: &Path| {
            let overrides = vec![Override::parse_set("manager.addresses=m").unwrap()];
            Sources { file: Some(file.to_owned()), overrides, ..Sources::default() }
        };
        let load = |file: &Path| load_own::<crate::AgentConfig>(&sources(file));
        load(&file).unwrap();
        load(Path::new("/dev/null")).unwrap();
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for (foreign, words) in [
            (&file, ["/etc/agent.toml belongs to user 65534, who would say", "chown 0 ", "sudo -u '#65534'"]),
            (
                &app,
                [
                    "/app belongs to user 65534, who can put another file in the place",
                    "chown 0 ",
                    "agent.toml",
                ],
            ),
        ] {
            give(foreign, 65534);
            let error = load(&file).unwrap_err();
            let said = error.to_string();
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
            assert_eq!(error.exit_class(), crate::ExitClass::Permissions);
            give(foreign, 0);
        }
        load(&file).unwrap();
    }

    #[test]
    fn a_file_is_written_for_its_owner_alone_and_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("listen.json");
        std::fs::write(path.with_extension("new"), "left over").unwrap();
        for text in ["one", "two"] {
            write_whole(&path, text).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

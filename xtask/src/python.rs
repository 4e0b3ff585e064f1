//! The Python SDK: its tools in a folder of their own under `target/`, its types and its tests.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};

use crate::report::{Outcome, Report};
use crate::setup;
use crate::workspace::{self, Workspace, output};

/// The folder of the SDK, and what its tests need, in it.
const SDK: &str = "sdk/python";
const REQUIREMENTS: &str = "requirements-test.txt";

/// The oldest Python that the SDK promises to run on: `requires-python` of its `pyproject.toml`.
const OLDEST: &str = "python3.9";
const PYTEST: [&str; 4] = ["-m", "pytest", "-p", "no:cacheprovider"];

/// Written last, so that a set-up that was interrupted is done again.
const STAMP: &str = "stamp";

/// How the tools are installed, in the order in which it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Python's own `venv` with its own pip. Debian has it in a package of its own.
    Venv,
    /// The program `virtualenv`.
    Virtualenv,
    /// pip, into a plain folder that is put before Python's own packages.
    Target,
}

impl Way {
    const ALL: [Self; 3] = [Self::Venv, Self::Virtualenv, Self::Target];

    const fn name(self) -> &'static str {
        match self {
            Self::Venv => "venv",
            Self::Virtualenv => "virtualenv",
            Self::Target => "pip install --target",
        }
    }

    /// The commands that install, the first of which may be missing on a machine.
    fn commands(self, base: &Path, folder: &Path) -> [Option<Vec<String>>; 2] {
        let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let tools = folder.join("tools").display().to_string();
        let base_text = base.display().to_string();
        let base_word = base_text.as_str();
        let pip =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", REQUIREMENTS];
        let inside = [vec![self.python(base, folder).display().to_string()], text(&pip)].concat();
        match self {
            Self::Venv => [Some(text(&[base_word, "-m", "venv", "--clear", &tools])), Some(inside)],
            Self::Virtualenv => [
                Some(text(&["virtualenv", "--quiet", "--clear", "--python", base_word, &tools])),
                Some(inside),
            ],
            Self::Target => [Some([inside, text(&["--target", &tools])].concat()), None],
        }
    }

    /// The Python that finds the tools.
    fn python(self, base: &Path, folder: &Path) -> PathBuf {
        match self {
            Self::Venv | Self::Virtualenv => folder.join("tools/bin/python"),
            Self::Target => base.to_owned(),
        }
    }

    /// A line of the stamp.
    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == name)
    }
}

/// Runs nothing else, and says how it went.
pub(crate) fn run(workspace: &Workspace) -> ExitCode {
    let mut report = Report::new();
    check(workspace, &mut report);
    report.finish()
}

/// Sets the tools up, checks the types and runs the tests.
pub(crate) fn check(workspace: &Workspace, report: &mut Report) {
    let mut tools = None;
    let ready = report.step("set-up: Python tools", || {
        let (found, note) = Tools::set_up(workspace, Path::new("python3"), "python")?;
        tools = Some(found);
        Ok(Outcome::Passed(note))
    });
    let Some(tools) = tools.filter(|_| ready) else { return };
    report.step("Python SDK: types", || {
        let cache = tools.folder.join("mypy").display().to_string();
        workspace::run(tools.command(workspace, &["-m", "mypy", "--strict", "--cache-dir", &cache]))?;
        Ok(Outcome::passed())
    });
    report.step("Python SDK: tests", || {
        node()?;
        workspace::run(tools.command(workspace, &PYTEST))?;
        Ok(Outcome::passed())
    });
    report.step("Python SDK: tests with the oldest Python", || {
        let Some(base) = oldest() else {
            return Ok(Outcome::Skipped(format!(
                "there is no {OLDEST} here, on the PATH or of pyenv; only the types were checked for it"
            )));
        };
        let (tools, note) = Tools::set_up(workspace, &base, "python-oldest")?;
        workspace::run(tools.command(workspace, &PYTEST))?;
        Ok(Outcome::Passed(note))
    });
}

/// The oldest Python that is promised, if it is on this machine.
fn oldest() -> Option<PathBuf> {
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".pyenv"))
    });
    let versions = pyenv.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
    let of_pyenv =
        versions.into_iter().flatten().flatten().map(|version| version.path().join("bin").join(OLDEST));
    let runs = |python: &PathBuf| {
        let mut command = Command::new(python);
        output({
            command.arg("--version").stdin(Stdio::null());
            command
        })
        .is_ok()
    };
    std::iter::once(PathBuf::from(OLDEST)).chain(of_pyenv).find(runs)
}

/// mypy and pytest, installed.
#[derive(Debug)]
struct Tools {
    base: PathBuf,
    folder: PathBuf,
    way: Way,
}

impl Tools {
    /// Installs what the requirements name for a Python into a folder, unless exactly that was done before.
    fn set_up(workspace: &Workspace, base: &Path, folder: &str) -> anyhow::Result<(Self, String)> {
        let version = setup::python(workspace, base)?;
        let folder = workspace.target()?.join(folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = workspace.root.join(SDK).join(REQUIREMENTS);
        let requirements =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let stamp = folder.join(STAMP);
        let wanted =
            |way: Way| format!("{}\n{version}\n{}\n{requirements}", way.name(), workspace.root.display());
        if let Ok(found) = std::fs::read_to_string(&stamp)
            && let Some(way) = found.lines().next().and_then(Way::parse)
            && found == wanted(way)
            && (way == Way::Target || way.python(base, &folder).exists())
        {
            return Ok((Self { base: base.to_owned(), folder, way }, format!("{version}, as before")));
        }
        if stamp.exists() {
            std::fs::remove_file(&stamp).context("cannot remove the old stamp of the Python tools")?;
        }
        let mut problems = Vec::new();
        for way in Way::ALL {
            let tools = Self { base: base.to_owned(), folder: folder.clone(), way };
            match tools.install(workspace) {
                Ok(()) => {
                    std::fs::write(&stamp, wanted(way))
                        .context("cannot write the stamp of the Python tools")?;
                    return Ok((tools, format!("{version}, installed with {}", way.name())));
                }
                Err(error) => problems.push(format!("{}: {error:#}", way.name())),
            }
        }
        bail!(
            "mypy and pytest cannot be installed: {}\nhelp: `apt install python3-venv python3-pip` or the like, and a package \
             index that pip reaches (`pip config list`); what is installed is in {SDK}/{REQUIREMENTS}",
            problems.join("\n")
        )
    }

    fn install(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let tools = self.folder.join("tools");
        if tools.exists() {
            std::fs::remove_dir_all(&tools).with_context(|| format!("cannot remove {}", tools.display()))?;
        }
        for words in self.way.commands(&self.base, &self.folder).into_iter().flatten() {
            let (program, arguments) = words.split_first().context("no command")?;
            let mut command = Command::new(program);
            command.args(arguments).current_dir(workspace.root.join(SDK)).stdin(Stdio::null());
            output(command)?;
        }
        Ok(())
    }

    /// The Python of the tools in the SDK's folder, leaving no file there.
    fn command(&self, workspace: &Workspace, words: &[&str]) -> Command {
        let mut command = workspace.command(self.way.python(&self.base, &self.folder));
        command.args(words).current_dir(workspace.root.join(SDK));
        command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PYTHONPATH");
        if self.way == Way::Target {
            command.env("PYTHONPATH", self.folder.join("tools"));
        }
        command
    }
}

/// One of the sample procedures is a Node script.
fn node() -> anyhow::Result<()> {
    let mut command = Command::new("node");
    command.arg("--version").stdin(Stdio::null());
    output(command).context(
        "there is no node, and a sample procedure is written for it\nhelp: install it, for example `apt install nodejs`, \
         `dnf install nodejs` or `apk add nodejs`",
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_known_by_the_name_in_its_stamp() {
        for way in Way::ALL {
            assert_eq!(Way::parse(way.name()), Some(way));
        }
        assert_eq!(Way::parse("conda"), None);
    }

    #[test]
    fn every_way_installs_what_is_required_into_the_folder() {
        let folder = Path::new("/target/python");
        for way in Way::ALL {
            let words = way
                .commands(Path::new("python3"), folder)
                .into_iter()
                .flatten()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ");
            assert!(words.contains("--requirement requirements-test.txt"), "{words}");
            assert!(words.contains("/target/python/tools"), "{words}");
        }
    }
}

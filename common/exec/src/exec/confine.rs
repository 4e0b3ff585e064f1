//! Runs a program as somebody else, and within limits: through this program itself, which sets everything that the kernel
//! lets a process set for itself alone, and then becomes the program.
//!
//! The usual ways run code between `fork` and `exec`, which is unsafe in a process with threads. Here a second start of the
//! same executable does it, with nothing but one thread. It costs a start of its own, so it is used only when a user, a
//! group or limits ask for it.
//!
//! **The second start begins with the rights of the first**, root's mostly, and nothing that a caller says may reach it before it
//! has given them up. It is told of the program by its arguments, which no loader reads, and by variables under
//! other names, see `handed`; it has three pipes, and opens nothing but its control group. Whatever depends on a path that
//! the caller names is done by the other user: the working directory, where the program is, and whether it can be executed.

use std::convert::Infallible;
use std::env::set_current_dir;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Gid, Resource, Rlimit, Uid, getegid, geteuid, getgid, getrlimit, getuid, setrlimit};
use rustix::thread;

use super::account::{self, Account};
use super::cgroup::Usage;
use super::handed::Handed;
use super::{ExecError, inherited, is_no_room, keyring, lookup, open_files, verdict};

/// The first argument of a start that confines.
const WORD: &str = "__confine";
/// The exit code when the program was not started: the one that shells use.
const NOT_STARTED: u8 = 126;

/// What a program is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confine {
    /// The executable that does it: one whose `main` calls [`intercept`] first.
    pub helper: PathBuf,
    /// Whom it runs as; `None`: as the agent.
    pub account: Option<Account>,
    /// What the kernel limits for each process by itself, where there are no control groups.
    pub rlimits: Usage,
    /// The control group it joins.
    pub cgroup: Option<PathBuf>,
}

static INTERCEPTS: AtomicBool = AtomicBool::new(false);

/// The executable of this process, if its `main` has called [`intercept`].
pub fn own_helper() -> Option<PathBuf> {
    if !INTERCEPTS.load(Ordering::Acquire) {
        return None;
    }
    // the link, not the path: it stays the same program when the file is replaced by a newer one
    Some(PathBuf::from("/proc/self/exe")).filter(|path| path.exists())
}

/// Call it first of all in `main`, before a thread is started: when the process was started to confine a program, it
/// becomes that program and this never returns, or gives the code to exit with. `None`: go on as usual.
///
/// An agent of one's own that does not call it cannot run procedures as other users or within limits.
///
/// It also keeps descriptors that this process inherited from being handed down to programs.
pub fn intercept() -> Option<ExitCode> {
    inherited::close_on_exec();
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(WORD)) {
        INTERCEPTS.store(true, Ordering::Release);
        return None;
    }
    let Failure { why, is_told } = become_program(arguments);
    if !is_told {
        // nobody is left to be told when this fails
        let _told = verdict::refuses(io::stdout(), &why);
    }
    complain(&why);
    Some(ExitCode::from(NOT_STARTED))
}

/// Says on the standard error why nothing was started: the only word of what fails at the very last.
fn complain(why: &ExecError) {
    use std::io::Write as _;
    let cause = std::error::Error::source(why).map(|cause| format!(": {cause}")).unwrap_or_default();
    // nobody is left to be told when this fails
    let _told = writeln!(io::stderr(), "redpoll: the program was not started: {why}{cause}");
}

/// Why this process did not become the program.
#[derive(Debug)]
struct Failure {
    why: ExecError,
    /// The agent has heard that it would.
    is_told: bool,
}

impl From<ExecError> for Failure {
    fn from(why: ExecError) -> Self {
        Self { why, is_told: false }
    }
}

impl Confine {
    /// The arguments of the helper in front of those of the program.
    pub(super) fn arguments(&self) -> [OsString; 3] {
        [WORD.into(), self.order().into(), self.cgroup.clone().unwrap_or_default().into()]
    }

    fn order(&self) -> String {
        let mut words = Vec::new();
        if let Some(Account { uid, gid, groups, .. }) = &self.account {
            let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
            words.push(format!("as={uid}:{gid}:{}", groups.join(".")));
        }
        words.extend(self.rlimits.memory.map(|bytes| format!("memory={bytes}")));
        words.extend(self.rlimits.processes.map(|count| format!("processes={count}")));
        words.extend(open_files::of_programs().map(|count| format!("files={count}")));
        words.join(",")
    }
}

/// Only returns when it did not come to that.
fn become_program(arguments: impl Iterator<Item = OsString>) -> Failure {
    match try_to_become_program(arguments) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn try_to_become_program(mut arguments: impl Iterator<Item = OsString>) -> Result<Infallible, Failure> {
    let (order, cgroup, program) = (arguments.next(), arguments.next(), arguments.next());
    let program = program.ok_or(ExecError::NoProgram)?;
    let name = program.to_string_lossy().into_owned();
    let failed = |what: &str, source: io::Error| {
        // of what passes the number is told, by which the other side knows that
        let source = match is_no_room(&source) {
            true => source,
            false => io::Error::new(source.kind(), format!("{what}: {source}")),
        };
        ExecError::System { program: name.clone(), source }
    };
    let order = order.as_ref().and_then(|order| Order::read(order.to_str()?));
    let order = order.ok_or_else(|| failed("its order", io::ErrorKind::InvalidData.into()))?;
    let Handed { environment, cwd } = Handed::read(std::env::vars_os());
    let is_other = order.account.is_some();
    let memory = order.memory;
    order
        .obey(&cgroup.map(PathBuf::from).unwrap_or_default())
        .map_err(|(what, source)| failed(what, source))?;
    // from here on it is whoever the program runs as, and sees what that one sees
    match cwd.map(PathBuf::from) {
        Some(cwd) => set_current_dir(&cwd).map_err(|source| ExecError::Directory { cwd, source })?,
        None if is_other => enter_own_again().map_err(|source| failed("the working directory", source))?,
        None => {}
    }
    let path = lookup::find_own(&program, environment.get(OsStr::new("PATH")).map(OsString::as_os_str))?;
    let mut command = Command::new(&path);
    command.arg0(&program).args(arguments).env_clear().envs(environment);
    if memory.is_some() {
        let limit = Rlimit { current: memory, maximum: memory };
        setrlimit(Resource::As, limit).map_err(|source| failed("the limit of memory", source.into()))?;
    }
    // who cannot be told does not wait for it either
    verdict::goes_on(io::stdout()).map_err(|source| failed("telling of it", source))?;
    let source = command.exec();
    Err(Failure { why: ExecError::of_start(path.to_string_lossy().into_owned(), source), is_told: true })
}

/// Enters the working directory as somebody else, or `/` if that one could not: a folder that was entered with more rights is
/// a way past those above it.
fn enter_own_again() -> io::Result<()> {
    std::env::current_dir().and_then(set_current_dir).or_else(|_refused| set_current_dir("/"))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Order {
    account: Option<(u32, u32, Vec<u32>)>,
    memory: Option<u64>,
    processes: Option<u64>,
    files: Option<u64>,
}

impl Order {
    fn read(text: &str) -> Option<Self> {
        let mut order = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match word.split_once('=')? {
                ("as", account) => {
                    let mut parts = account.split(':');
                    let number = |text: &str| text.parse().ok().filter(|number| *number != account::NOBODYS);
                    let (uid, gid) = (number(parts.next()?)?, number(parts.next()?)?);
                    let groups = parts.next()?.split('.').filter(|group| !group.is_empty());
                    let groups = groups.map(number).collect::<Option<_>>()?;
                    order.account = Some((uid, gid, groups));
                }
                ("memory", bytes) => order.memory = Some(bytes.parse().ok()?),
                ("processes", count) => order.processes = Some(count.parse().ok()?),
                ("files", count) => order.files = Some(count.parse().ok()?),
                (_, _) => return None,
            }
        }
        Some(order)
    }

    /// Sets all of it but the limit of memory, which this process might not keep itself; what it gives up last is what it needs
    /// for the rest. Tells what failed.
    fn obey(self, cgroup: &Path) -> Result<(), (&'static str, io::Error)> {
        let system = |what| move |error: rustix::io::Errno| (what, error.into());
        if !cgroup.as_os_str().is_empty() {
            fs::write(cgroup.join("cgroup.procs"), "0")
                .map_err(|source| ("joining its control group", source))?;
        }
        let limit = |limit: Option<u64>| Rlimit { current: limit, maximum: limit };
        setrlimit(Resource::Core, limit(Some(0))).map_err(system("the limit of core files"))?;
        if self.processes.is_some() {
            setrlimit(Resource::Nproc, limit(self.processes)).map_err(system("the limit of processes"))?;
        }
        if self.files.is_some() {
            // the soft one alone: a program that is made for more raises it
            let files = Rlimit { current: self.files, ..getrlimit(Resource::Nofile) };
            setrlimit(Resource::Nofile, files).map_err(system("the limit of open files"))?;
        }
        let Some((uid, gid, groups)) = self.account else { return Ok(()) };
        let groups: Vec<Gid> = groups.into_iter().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        keyring::leave_session().map_err(|source| ("a session keyring of its own", source))?;
        // groups before the user: afterwards nobody would be allowed to
        thread::set_thread_groups(&groups).map_err(system("its groups"))?;
        thread::set_thread_res_gid(gid, gid, gid).map_err(system("its group"))?;
        thread::set_thread_res_uid(uid, uid, uid).map_err(system("its user"))?;
        // what the kernel has not done, whatever it answered, is no reason to go on with more rights
        let is_other = (getuid(), geteuid(), getgid(), getegid()) == (uid, uid, gid, gid);
        if !is_other {
            return Err(("its user and group", io::ErrorKind::PermissionDenied.into()));
        }
        // no set-uid program gives back what was given up
        thread::set_no_new_privs(true).map_err(system("no_new_privs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_reads_back_as_it_was_given() {
        let account = Account {
            name: "ann".into(),
            uid: 1001,
            gid: 100,
            groups: vec![4, 33],
            home: PathBuf::from("/home/ann"),
        };
        let confine = Confine {
            helper: PathBuf::from("/proc/self/exe"),
            account: Some(account),
            rlimits: Usage { memory: Some(7), processes: Some(9), cpu: None },
            cgroup: None,
        };
        let [word, order, cgroup] = confine.arguments();
        assert_eq!((word, cgroup), (WORD.into(), OsString::new()));
        let expected = Order {
            account: Some((1001, 100, vec![4, 33])),
            memory: Some(7),
            processes: Some(9),
            files: None,
        };
        assert_eq!(Order::read(order.to_str().unwrap()), Some(expected));
        let free = Confine { account: None, rlimits: Usage::default(), ..confine };
        assert_eq!(Order::read(&free.order()), Some(Order::default()));
    }

    #[test]
    fn an_order_that_is_not_understood_starts_nothing() {
        for order in ["as=1", "as=1:2", "as=x:1:", "as=1:2:x", "memory=-1", "unknown=1", "memory"] {
            assert_eq!(Order::read(order), None, "{order}");
        }
        // to the kernel this number means: stay who you are
        for order in ["as=4294967295:1:", "as=1:4294967295:", "as=1:1:4.4294967295"] {
            assert_eq!(Order::read(order), None, "{order}");
        }
        let failure = |words: &[&str]| become_program(words.iter().map(OsString::from));
        assert!(matches!(failure(&["", ""]).why, ExecError::NoProgram));
        let Failure { why, is_told } = failure(&["as=1", "", "true"]);
        assert!(!is_told && matches!(why, ExecError::System { .. }), "{why}");
    }
}

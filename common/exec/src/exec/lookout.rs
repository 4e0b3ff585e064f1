//! One look at the processes of the machine for all who ask at the same time: when hundreds of runs are ended at once, the last of
//! them must not be killed before anybody has found what to signal.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::tree::{Lineage, Look, Process};

/// Who looks for the runs of this process.
pub(super) static LOOKOUT: Lookout = Lookout::new(Look::now);

/// How long a look is waited for: whoever ends a run looks three times, and has to be done while somebody waits for it, see
/// [`Programs::ended`](super::programs::Programs::ended).
const WAIT: Duration = Duration::from_secs(3);

/// Looks for those who ask. A look begins after they have asked: who asks while one is under way is answered by the next.
pub(super) struct Lookout {
    look: fn() -> io::Result<Look>,
    state: Mutex<State>,
}

/// Whose processes somebody asks for, and who gets the answer.
type Asked = (Lineage, oneshot::Sender<io::Result<Vec<Process>>>);

struct State {
    /// No more than there are runs.
    asked: Vec<Asked>,
    /// A thread looks, and goes on until nobody asks any more.
    is_looking: bool,
}

impl Lookout {
    const fn new(look: fn() -> io::Result<Look>) -> Self {
        Self { look, state: Mutex::new(State { asked: Vec::new(), is_looking: false }) }
    }

    /// The living processes of a run. Looked up on another thread: a machine may have ten thousand processes.
    ///
    /// # Errors
    /// Those of [`Lineage::members`]. [`io::ErrorKind::TimedOut`]: whoever looks hangs, and nothing is known.
    pub(super) async fn members(&'static self, lineage: &Lineage) -> io::Result<Vec<Process>> {
        let (answer, answered) = oneshot::channel();
        let looking = {
            let mut state = self.state();
            // who has given up may ask again, and again
            state.asked.retain(|(_, answer)| !answer.is_closed());
            state.asked.push((lineage.clone(), answer));
            let somebody_looks = std::mem::replace(&mut state.is_looking, true);
            (!somebody_looks).then(|| Looking { lookout: self, is_done: false })
        };
        if let Some(looking) = looking {
            // it answers by itself
            drop(tokio::task::spawn_blocking(move || looking.look()));
        }
        match timeout(WAIT, answered).await {
            Ok(Ok(members)) => members,
            // the runtime is going down, and nothing else is held up
            Ok(Err(_)) => lineage.members(),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // nothing panics while it holds the lock
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one who looks. Dropped before it is done, because there is no thread for it, it leaves those who have asked to themselves.
struct Looking {
    lookout: &'static Lookout,
    is_done: bool,
}

impl Looking {
    fn look(mut self) {
        while let Some(asked) = self.next() {
            match (self.lookout.look)() {
                Ok(look) => tell(&look, asked),
                Err(error) => {
                    asked.into_iter().for_each(|(_, answer)| _ = answer.send(Err(again(&error))));
                }
            }
        }
    }

    /// Those who have asked since the last look began.
    fn next(&mut self) -> Option<Vec<Asked>> {
        let mut state = self.lookout.state();
        let asked = std::mem::take(&mut state.asked);
        if asked.is_empty() {
            state.is_looking = false;
            self.is_done = true;
            return None;
        }
        Some(asked)
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        if !self.is_done {
            let mut state = self.lookout.state();
            state.is_looking = false;
            state.asked.clear();
        }
    }
}

/// Tells those who want to know it still.
fn tell(look: &Look, mut asked: Vec<Asked>) {
    asked.retain(|(_, answer)| !answer.is_closed());
    let (lineages, answers): (Vec<Lineage>, Vec<_>) = asked.into_iter().unzip();
    let lineages: Vec<&Lineage> = lineages.iter().collect();
    let mut members = look.members(&lineages);
    for answer in answers {
        if let Some(members) = members.next() {
            let _gone = answer.send(members);
        }
    }
}

/// The same error, for one more.
fn again(error: &io::Error) -> io::Error {
    let as_text = || io::Error::new(error.kind(), error.to_string());
    error.raw_os_error().map_or_else(as_text, io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use rustix::process::Pid;
    use tokio::task::JoinSet;

    use super::super::environ::{Hung, Reader, environment};
    use super::*;

    /// A program that runs until this is dropped.
    struct Program(std::process::Child);

    impl Program {
        fn start() -> (Self, Lineage) {
            let child = std::process::Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
            let leader = Pid::from_child(&child);
            (Self(child), Lineage { leader, run: "of a test".to_owned(), mark: None, cgroup: None })
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            let _dead = self.0.kill();
            let _reaped = self.0.wait();
        }
    }

    #[tokio::test]
    async fn however_many_ask_while_one_looks_the_next_look_answers_all() {
        static LOOKS: AtomicUsize = AtomicUsize::new(0);
        static HELD: AtomicBool = AtomicBool::new(true);
        static LOOKOUT: Lookout = Lookout::new(|| {
            let looked = Look::now();
            LOOKS.fetch_add(1, Ordering::SeqCst);
            while HELD.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            looked
        });
        let (_one, first) = Program::start();
        let mut asked = JoinSet::new();
        asked.spawn(async move { LOOKOUT.members(&first).await.unwrap().len() });
        while LOOKS.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // the look that is under way saw nothing of these
        let (_programs, lineages): (Vec<_>, Vec<_>) = (0..20).map(|_| Program::start()).unzip();
        let last = lineages[0].clone();
        let mut others: JoinSet<_> = lineages
            .into_iter()
            .map(|lineage| async move { (LOOKOUT.members(&lineage).await.unwrap(), lineage) })
            .collect();
        while LOOKOUT.state().asked.len() < others.len() {
            tokio::task::yield_now().await;
        }
        HELD.store(false, Ordering::SeqCst);
        while let Some(answered) = others.join_next().await {
            let (members, lineage) = answered.unwrap();
            let pids: Vec<i32> = members.iter().map(|member| member.pid).collect();
            assert_eq!(pids, [lineage.leader.as_raw_pid()]);
        }
        assert_eq!((asked.join_next().await.unwrap().unwrap(), LOOKS.load(Ordering::SeqCst)), (1, 2));
        // whoever comes later has somebody to look, too
        assert_eq!(LOOKOUT.members(&last).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_could_not_be_looked_at_is_told_to_all_who_asked() {
        static LOOKOUT: Lookout = Lookout::new(|| Err(rustix::io::Errno::MFILE.into()));
        let (_program, lineage) = Program::start();
        let ask = || LOOKOUT.members(&lineage);
        let (one, two, three) = tokio::join!(ask(), ask(), ask());
        for seen in [one, two, three] {
            assert!(super::super::is_no_room(&seen.unwrap_err()));
        }
    }

    #[tokio::test]
    async fn a_process_that_hangs_keeps_no_run_from_being_found() {
        static HUNG: Hung = Hung::new();
        static STUCK: AtomicI32 = AtomicI32::new(0);
        fn read(pid: i32) -> io::Result<Vec<u8>> {
            while pid == STUCK.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            environment(pid)
        }
        static LOOKOUT: Lookout = Lookout::new(|| Look::by(Reader::with(read, &HUNG)));
        let (_older, older) = Program::start();
        let (stuck, _) = Program::start();
        let (_younger, younger) = Program::start();
        STUCK.store(stuck.0.id().cast_signed(), Ordering::SeqCst);
        // the younger one asks while somebody looks for the older one
        let found = tokio::join!(LOOKOUT.members(&older), LOOKOUT.members(&younger));
        STUCK.store(0, Ordering::SeqCst);
        assert_eq!([found.0, found.1].map(|members| members.unwrap().len()), [1, 1]);
    }

    #[tokio::test]
    async fn who_waits_for_a_look_that_hangs_is_told_so_and_is_not_kept() {
        static HELD: AtomicBool = AtomicBool::new(true);
        static LOOKOUT: Lookout = Lookout::new(|| {
            while HELD.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Look::now()
        });
        let (_program, lineage) = Program::start();
        tokio::time::pause();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let asked = LOOKOUT.members(&lineage);
            let (members, ()) = tokio::join!(asked, tokio::time::advance(WAIT + Duration::from_millis(1)));
            seen.push((members.map_err(|error| error.kind()), LOOKOUT.state().asked.len()));
        }
        HELD.store(false, Ordering::SeqCst);
        tokio::time::resume();
        for (members, remembered) in seen {
            assert_eq!(members, Err(io::ErrorKind::TimedOut));
            assert!(remembered <= 1);
        }
        assert_eq!(LOOKOUT.members(&lineage).await.unwrap().len(), 1);
    }

    #[test]
    fn who_has_asked_a_runtime_that_goes_down_looks_for_itself_and_the_next_is_served() {
        static LOOKOUT: Lookout = Lookout::new(Look::now);
        let (_program, lineage) = Program::start();
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let gone = runtime();
        let handle = gone.handle().clone();
        gone.shutdown_background();
        let seen = {
            let _within = handle.enter();
            let asked = std::pin::pin!(LOOKOUT.members(&lineage));
            asked.poll(&mut Context::from_waker(Waker::noop()))
        };
        assert!(matches!(seen, Poll::Ready(Ok(members)) if members.len() == 1));
        assert_eq!(runtime().block_on(LOOKOUT.members(&lineage)).unwrap().len(), 1);
    }
}

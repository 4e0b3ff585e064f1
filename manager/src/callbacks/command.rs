//! A callback that is a program on the manager: no shell, the body on its standard input, exit 0 is "taken".

use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::{Either, FusedFuture as _, FutureExt as _, join, select};
use redpoll_exec::exec::open_files;
use redpoll_manager_core::jobs::NotTaken;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Delivery, MAX_REASON, room_beside};

/// The variables that a program inherits from the manager.
const INHERITED: [&str; 4] = ["PATH", "LANG", "TZ", "HOME"];
/// The variable with the id of the delivery.
const DELIVERY: &str = "REDPOLL_DELIVERY";
/// How long the end of a killed program, and of its last words, is waited for.
const KILL_WAIT: Duration = Duration::from_secs(1);
/// Bytes of the end of stderr that are kept: enough for [`MAX_REASON`] characters of four bytes.
const TAIL: usize = MAX_REASON * 4;

/// Runs a program until it ends, at most until the deadline. What is left of its process group is killed.
pub(super) async fn run(
    argv: &[String],
    delivery: Delivery,
    body: &[u8],
    deadline: Instant,
) -> Result<(), NotTaken> {
    let (mut group, stdin, stderr) = Group::spawn(argv, delivery)?;
    let mut tail = Vec::new();
    let ended = {
        let mut pipes = pin!(join(feed(stdin, body), listen(stderr, &mut tail)).fuse());
        let ended = ended_by(&mut group, deadline, pipes.as_mut()).await;
        group.kill();
        if !pipes.is_terminated() {
            // whoever left the group may hold the pipe for ever
            let _heard = timeout(KILL_WAIT, pipes).await;
        }
        ended
    };
    let status = group.reap().await;
    if !ended {
        return Err(with_tail("the procedure did not end in time and was killed", &tail));
    }
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(with_tail(&describe(status), &tail)),
        None => Err("nobody knows how the procedure ended".into()),
    }
}

/// Whether the program ends before the deadline; meanwhile its pipes are served.
async fn ended_by(group: &mut Group, deadline: Instant, pipes: impl Future + Unpin) -> bool {
    let end = pin!(timeout_at(deadline, group.exited()));
    match select(end, pipes).await {
        Either::Left((ended, _pipes)) => ended.is_ok(),
        Either::Right((_closed, end)) => end.await.is_ok(),
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("the procedure ended with exit code {code}"),
        (None, Some(signal)) => format!("the procedure was ended by signal {signal}"),
        (None, None) => "the procedure ended".to_owned(),
    }
}

/// A reason, and beside it as much of the last words as fits.
fn with_tail(reason: &str, tail: &[u8]) -> NotTaken {
    let words = String::from_utf8_lossy(tail);
    let words = words.trim();
    let skipped = words.chars().count().saturating_sub(room_beside(reason));
    let said = (!words.is_empty()).then(|| words.chars().skip(skipped).collect());
    NotTaken { why: reason.to_owned(), said }
}

/// A program with its process group. Until it is reaped, the number of the group belongs to nobody else; dropped before,
/// the group is killed.
struct Group {
    child: Child,
    leader: Pid,
    /// Wakes whenever any child of the manager ends.
    deaths: SignalStream,
    reaped: bool,
}

impl Group {
    fn spawn(
        argv: &[String],
        delivery: Delivery,
    ) -> Result<(Self, Option<ChildStdin>, Option<ChildStderr>), String> {
        let failed = |error: std::io::Error| format!("the procedure cannot be started: {error}");
        let (program, arguments) = argv.split_first().ok_or("the procedure names no program")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .process_group(0)
            .current_dir("/")
            .env_clear()
            .env(DELIVERY, delivery.to_string());
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // before the start, so that no end is missed
        let deaths = signal(SignalKind::child()).map_err(failed)?;
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let leader = leader.ok_or("the new process has no number")?;
        open_files::give_back(leader);
        Ok((Self { child, leader, deaths, reaped: false }, stdin, stderr))
    }

    /// Completes when the leader has ended. It stays a zombie until [`Group::reap`].
    async fn exited(&mut self) {
        while self.is_running() {
            if self.deaths.recv().await.is_none() {
                return; // the runtime is going down
            }
        }
    }

    fn is_running(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(self.leader), look), Ok(None) | Err(Errno::INTR))
    }

    fn kill(&self) {
        match kill_process_group(self.leader, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => {
                tracing::warn!(leader = %self.leader, %error, "a callback's processes cannot be killed")
            }
        }
    }

    /// Lets the leader go for good.
    async fn reap(mut self) -> Option<ExitStatus> {
        let status = timeout(KILL_WAIT, self.child.wait()).await.ok()?.ok();
        self.reaped = true;
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            // the zombie is reaped by tokio, which keeps a list of children that nobody waits for
        }
    }
}

/// Writes the body. A program that does not read it all is free to.
async fn feed(stdin: Option<ChildStdin>, body: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _not_read = stdin.write_all(body).await;
    }
}

/// Reads to the end and keeps the last of it.
async fn listen(stderr: Option<impl AsyncRead + Unpin>, tail: &mut Vec<u8>) {
    let Some(mut stderr) = stderr else { return };
    let mut chunk = vec![0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        tail.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let surplus = tail.len().saturating_sub(TAIL);
        tail.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_fill_what_is_left_of_a_reason() {
        assert_eq!(with_tail("why", b" \n"), "why".into());
        assert_eq!(with_tail("why", b"because\n").to_string(), "why: because");
        let long = with_tail("why", format!("{}end", "ä".repeat(300)).as_bytes()).to_string();
        assert_eq!(long.chars().count(), MAX_REASON);
        assert!(long.ends_with("äend"), "{long}");
        // cut in the middle of a character
        assert_eq!(with_tail("why", &"ä".as_bytes()[1..]).to_string(), "why: \u{fffd}");
    }
}

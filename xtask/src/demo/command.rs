//! Runs a command for all to see: its line, then its output as it comes, and remembers both.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::demo::Interrupt;
use crate::demo::children::POLL;

/// The longest that one command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Whether the output is shown while it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Live,
    Nothing,
}

/// What a command that ended has left.
#[derive(Debug)]
pub(super) struct Answer {
    /// As one would type it.
    line: String,
    /// The exit code; `None` when a signal ended it.
    code: Option<i32>,
    /// What it wrote, stdout before stderr.
    text: String,
}

impl Answer {
    /// The exit code is this one.
    ///
    /// # Errors
    /// When it is another one.
    pub(super) fn exits(self, code: i32) -> anyhow::Result<Self> {
        match self.code {
            Some(found) if found == code => Ok(self),
            Some(found) => bail!("`{}` ended with {found} instead of {code}", self.line),
            None => bail!("`{}` was ended by a signal", self.line),
        }
    }

    /// Somewhere the output has this text.
    ///
    /// # Errors
    /// When it has not.
    pub(super) fn says(self, text: &str) -> anyhow::Result<Self> {
        if !self.text.contains(text) {
            bail!("`{}` did not say {text:?}; it said\n{}", self.line, self.text);
        }
        Ok(self)
    }

    /// The first line of the output.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn first_line(self) -> anyhow::Result<String> {
        let line = self.text.lines().next().map(|line| line.trim().to_owned());
        line.filter(|line| !line.is_empty()).with_context(|| format!("`{}` said nothing", self.line))
    }

    /// Some line of the output has all of these words.
    pub(super) fn has_line_with(&self, words: &[&str]) -> bool {
        self.text.lines().any(|line| words.iter().all(|word| line.contains(word)))
    }

    pub(super) fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs a command to its end. `line` is what stands for it on the screen.
///
/// # Errors
/// When it cannot be started, does not end in time, or somebody interrupts us; it is killed then.
pub(super) fn run(
    line: String,
    mut command: Command,
    show: Show,
    interrupt: &Interrupt,
) -> anyhow::Result<Answer> {
    if show == Show::Live {
        println!("\n$ {line}");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
    let readers = [
        child.stdout.take().map(|stream| spawn_reader(stream, show)),
        child.stderr.take().map(|stream| spawn_reader(stream, show)),
    ];
    let ended = wait(&mut child, interrupt);
    if ended.is_err() {
        // the first error is the one to tell; a child that cannot be killed is gone
        drop(child.kill());
        drop(child.wait());
    }
    let status = ended.with_context(|| format!("`{line}` did not end by itself"))?;
    let texts = readers.into_iter().flatten().map(|reader| reader.join().unwrap_or_default());
    Ok(Answer { line, code: status.code(), text: texts.collect() })
}

fn wait(child: &mut Child, interrupt: &Interrupt) -> anyhow::Result<ExitStatus> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().context("cannot ask after it")? {
            return Ok(status);
        }
        interrupt.check()?;
        if Instant::now() >= deadline {
            bail!("it took longer than {LIMIT:?}");
        }
        sleep(POLL);
    }
}

/// Reads lines until the stream ends, shows each at once, and returns all of them.
fn spawn_reader(stream: impl Read + Send + 'static, show: Show) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut all = String::new();
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches('\n');
            if show == Show::Live {
                println!("  {text}");
            }
            all.push_str(text);
            all.push('\n');
            line.clear();
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Answer {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run("sh".to_owned(), command, Show::Nothing, &Interrupt::never()).unwrap()
    }

    #[test]
    fn what_was_expected_passes_and_anything_else_is_told() {
        let script = "echo web-1 away; echo sorry >&2; exit 5";
        shell(script).exits(5).unwrap().says("sorry").unwrap().says("web-1").unwrap();
        assert!(shell(script).has_line_with(&["web-1", "away"]));
        assert!(!shell(script).has_line_with(&["web-1", "sorry"]));
        assert!(shell(script).exits(0).unwrap_err().to_string().contains("ended with 5 instead of 0"));
        assert!(shell(script).says("fine").unwrap_err().to_string().contains("fine"));
        assert!(shell("kill -9 $$").exits(0).is_err());
    }

    #[test]
    fn an_interrupt_ends_the_command() {
        let interrupt = Interrupt::never();
        interrupt.0.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut command = Command::new("sleep");
        command.arg("600");
        let error = run("sleep 600".to_owned(), command, Show::Nothing, &interrupt).unwrap_err();
        assert!(format!("{error:#}").contains("interrupted"), "{error:#}");
    }
}

//! A worker from its start until it says that it is ready.

use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::overdue::Overdue;
use super::process::{Process, Step};
use crate::exec::DRAIN;

/// Bytes of the last line of its standard error in the fault of a worker that does not become ready.
const LAST_LINE: usize = 200;

/// Why a worker did not become ready.
pub(super) enum NotReady {
    Exited,
    Broke(String),
}

/// Waits until it says so; `None`: it has.
pub(super) async fn until_ready(
    process: &mut Process,
    deadline: Instant,
    within: Duration,
) -> Option<NotReady> {
    let too_late = || {
        let within = within.as_secs_f64();
        let text = format!("it did not say {{\"ready\": true}} within {within} s, its ready_timeout");
        Some(NotReady::Broke(text))
    };
    let mut overdue = Overdue::default();
    loop {
        if overdue.is_over(Instant::now() >= deadline) {
            return too_late();
        }
        let step = tokio::select! {
            biased; // a worker that is ready at the last moment is ready
            step = process.step() => step,
            () = sleep_until(deadline) => return too_late(),
        };
        match step {
            Step::Out => match process.machine.poll_event() {
                Some(Ok(_ready)) => return None,
                Some(Err(violation)) => return Some(NotReady::Broke(violation.to_string())),
                None => {}
            },
            Step::Exited => return Some(exited(process).await),
            // its end follows, or the deadline
            Step::OutEnd | Step::Err(_) | Step::Wrote => {}
        }
        yield_now().await; // who writes without a pause has not the thread for itself
    }
}

/// What it said at last, if it was bad, is why it is not ready.
async fn exited(process: &mut Process) -> NotReady {
    let until = Instant::now() + DRAIN;
    loop {
        let is_over = process.rest(until).await.is_none();
        match process.machine.poll_event() {
            Some(Err(violation)) => return NotReady::Broke(violation.to_string()),
            Some(Ok(_ready)) => return NotReady::Exited,
            None if is_over => return NotReady::Exited,
            None => {}
        }
    }
}

/// The last line with something on it, safe to show and short.
pub(super) fn last_line(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let safe: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if safe.len() <= LAST_LINE {
        return Some(safe);
    }
    let end = safe.floor_char_boundary(LAST_LINE - '…'.len_utf8());
    Some(format!("{}…", safe.get(..end).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_one_line_without_control_characters_and_short() {
        assert_eq!(last_line("a\nNo module named x\n\n"), Some("No module named x".to_owned()));
        assert_eq!(last_line("a\x1b[31mred\x07"), Some("a [31mred ".to_owned()));
        assert_eq!(last_line(" \n\n"), None);
        let long = last_line(&"ä".repeat(300)).unwrap_or_default();
        assert!(long.len() <= LAST_LINE && long.ends_with("ä…"), "{long}");
    }
}

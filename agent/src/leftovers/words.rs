//! What is left, in words.

use crate::exec::leftovers::Leftover;

/// Process numbers that are told in words.
const TOLD_PIDS: usize = 8;
/// Processes that a line of the log names.
const TOLD_PROGRAMS: usize = 30;

/// Processes with their programs, for the log.
pub(super) fn shown(processes: &[Leftover]) -> String {
    let name = |leftover: &Leftover| format!("{} {}", leftover.pid, leftover.program);
    listed(processes.iter().map(name), TOLD_PROGRAMS)
}

/// The first of some, and whether there are more.
fn listed(mut all: impl Iterator<Item = String>, max: usize) -> String {
    let mut words: Vec<String> = all.by_ref().take(max).collect();
    words.extend(all.next().map(|_more| "…".to_owned()));
    words.join(", ")
}

/// What is left, in the words of an end.
pub(super) fn words(processes: &[Leftover]) -> String {
    if processes.is_empty() {
        return "whether its processes still run is not known yet".to_owned();
    }
    let pids = listed(processes.iter().map(|leftover| leftover.pid.to_string()), TOLD_PIDS);
    let (count, verb) = (processes.len(), if processes.len() == 1 { "runs" } else { "run" });
    format!(
        "{count} of its processes still {verb} (pid {pids}): sys.leftovers lists them, sys.leftovers.stop ends them"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_the_first_and_say_that_there_are_more() {
        let some = |count: u8| listed((1..=count).map(|n| n.to_string()), 3);
        assert_eq!((some(0), some(3), some(4)), (String::new(), "1, 2, 3".into(), "1, 2, 3, …".into()));
    }
}

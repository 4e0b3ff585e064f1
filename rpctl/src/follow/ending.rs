//! How runs and jobs end, as exit codes and as reports.

use std::collections::BTreeMap;

use redpoll_common::api::jobs::EndSummary;
use redpoll_common::job::Outcome;
use redpoll_common::wire::{Fault, FaultCode};

use crate::arguments::is_exec_run;
use crate::exit::Exit;
use crate::report::{Report, Target};
use crate::value::{decode, field};

/// The exit code of an outcome; `internal` if it failed because the system around the procedure did.
pub fn exit_of(outcome: &str, internal: bool) -> Exit {
    match Outcome::from_wire(outcome) {
        Some(Outcome::Succeeded) => Exit::Good,
        Some(Outcome::Failed) if internal => Exit::Internal,
        Some(Outcome::Failed) => Exit::Failed,
        Some(Outcome::Rejected) => Exit::Refused,
        Some(Outcome::Expired | Outcome::TimedOut) => Exit::TimedOut,
        Some(Outcome::Cancelled) => Exit::Cancelled,
        // a word of a newer manager: this build cannot tell what it means
        Some(Outcome::Unknown) | None => Exit::Unknown,
    }
}

/// Whether a run ended because the system around the procedure failed.
pub fn is_internal(end: &EndSummary) -> bool {
    end.fault.as_ref().is_some_and(|fault| fault.code == FaultCode::Internal)
}

/// How the runs of a job ended, counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    counts: BTreeMap<String, u64>,
    internal: bool,
}

impl Tally {
    /// Counts an end; `corrects` is the outcome that was counted before it turned out to be another.
    pub fn add(&mut self, end: &EndSummary, corrects: Option<&str>) {
        if let Some(count) = corrects.and_then(|outcome| self.counts.get_mut(outcome)) {
            *count = count.saturating_sub(1);
        }
        *self.counts.entry(end.outcome.clone()).or_default() += 1;
        self.internal |= is_internal(end);
    }

    /// How many ended.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The exit code: that of the job's own `outcome` if it is known, else of the worst that was counted.
    pub fn exit(&self, outcome: Option<&str>) -> Exit {
        /// In the manager's order.
        const WORST_FIRST: [Outcome; 7] = [
            Outcome::Unknown,
            Outcome::Failed,
            Outcome::TimedOut,
            Outcome::Rejected,
            Outcome::Expired,
            Outcome::Cancelled,
            Outcome::Succeeded,
        ];
        let had = |outcome: &Outcome| self.counts.get(outcome.as_str()).is_some_and(|count| *count > 0);
        let worst = outcome.or_else(|| WORST_FIRST.iter().find(|outcome| had(outcome)).map(|o| o.as_str()));
        exit_of(worst.unwrap_or(Outcome::Unknown.as_str()), self.internal)
    }
}

/// `1 run`, `2 runs`.
pub fn runs(count: u64) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs") }
}

/// `2 succeeded, 1 failed`.
pub fn counted(outcomes: &BTreeMap<String, u64>) -> String {
    let words: Vec<_> = outcomes
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(outcome, count)| format!("{count} {}", outcome.replace('_', " ")))
        .collect();
    words.join(", ")
}

/// Why a run did not succeed, in one line; empty when nothing more is known.
pub fn why(end: &EndSummary) -> String {
    end.fault.as_ref().map_or_else(String::new, |fault| match &fault.class {
        Some(class) => format!("{class}: {}", fault.message),
        // the code of such a fault is that of its family, which says something else
        None if end.outcome == Outcome::Expired.as_str() => fault.message.clone(),
        None => format!("{} ({})", fault.message, fault.code),
    })
}

/// `web-1: sh exited with 3`, if that is what happened.
pub fn exit_of_program(agent: &str, procedure: &str, program: Option<&str>, fault: &Fault) -> Option<String> {
    if fault.code != FaultCode::Failed || !is_exec_run(procedure) {
        return None;
    }
    let data = decode(fault.data.as_ref()?);
    let number = |key| field(&data, key).and_then(rmpv::Value::as_i64);
    let how = match (number("exit"), number("signal")) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => return None,
    };
    Some(format!("{agent}: {} {how}", program.unwrap_or("the command")))
}

/// What people are told of a run that did not succeed.
pub fn report(agent: &str, procedure: &str, end: &EndSummary, verbose: bool) -> Report {
    let exit = exit_of(&end.outcome, is_internal(end));
    let name = format!("{agent}: {procedure}");
    let target = Target::Procedure { agent: agent.to_owned(), procedure: procedure.to_owned() };
    let of_fault = end.fault.as_ref().map(|fault| Report::of_fault(fault, &target, verbose));
    let reason = || of_fault.as_ref().map(|report| report.why.clone());
    let (what, why, help) = match Outcome::from_wire(&end.outcome) {
        Some(Outcome::TimedOut) => (
            format!("{name} took too long"),
            reason().unwrap_or_else(|| "a time limit of the job ended it".to_owned()),
            "give it longer with --run-timeout DUR or --idle-timeout DUR; never longer than limits.run_timeout of the agent",
        ),
        Some(Outcome::Expired) => (
            format!("{name} expired"),
            reason().unwrap_or_else(|| "it could not begin in time".to_owned()),
            "it never ran; give it longer with --start-within DUR, or let it wait with --offline wait",
        ),
        Some(Outcome::Cancelled) => (
            format!("{name} was cancelled"),
            reason().unwrap_or_else(|| "somebody asked for its end".to_owned()),
            match end.started {
                Some(true) => "it had begun: look at what it left",
                Some(false) => "it never ran",
                None => "whether it had begun is not known",
            },
        ),
        Some(Outcome::Unknown) => (
            format!("what became of {name} is not known"),
            reason().unwrap_or_else(|| "its agent was lost".to_owned()),
            "it may have run: look at the machine before you repeat it",
        ),
        Some(Outcome::Failed)
            if end.fault.as_ref().is_some_and(|fault| fault.code == FaultCode::TooLarge) =>
        {
            (
                format!("{name}: more came of it than may"),
                reason().unwrap_or_default(),
                "have it give less, or raise --output-limit and the agent's limits.output; one value has to fit [session] frame_limit",
            )
        }
        // of a call these codes say that nothing ran: not so of a run that failed
        Some(Outcome::Failed) if end.started != Some(false) && denies_a_start(end) => {
            let stopping = end.fault.as_ref().is_some_and(|fault| fault.code == FaultCode::ShuttingDown);
            (
                if stopping {
                    format!("{name}: its agent stopped, and ended it")
                } else {
                    format!("{name} failed")
                },
                reason().unwrap_or_default(),
                match end.started {
                    Some(_) => "it had begun: look at what it left before you repeat it",
                    None => "it may have begun: look at the machine before you repeat it",
                },
            )
        }
        Some(Outcome::Succeeded | Outcome::Failed | Outcome::Rejected) | None => {
            if let Some(report) = of_fault {
                return Report { exit, ..report };
            }
            let what = format!("{name} ended as {}", end.outcome);
            (what, "the manager gives no reason".to_owned(), "the logs of agent and manager say more")
        }
    };
    let details = of_fault.and_then(|report| report.details);
    Report { details, ..Report::new(exit, what, why, help) }
}

/// Whether the fault of a run is one that, of a call, says that nothing ran.
fn denies_a_start(end: &EndSummary) -> bool {
    end.fault.as_ref().is_some_and(|fault| {
        matches!(fault.code, FaultCode::ShuttingDown | FaultCode::Overloaded | FaultCode::AgentAway)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(outcome: &str, code: Option<FaultCode>) -> EndSummary {
        EndSummary {
            outcome: outcome.to_owned(),
            started: None,
            result: None,
            fault: code.map(|code| Fault::new(code, "the reason")),
            items: 0,
            duration_ms: None,
        }
    }

    #[test]
    fn every_outcome_has_its_exit_code() {
        let found: Vec<_> = Outcome::ALL.iter().map(|o| exit_of(o.as_str(), false).code()).collect();
        assert_eq!(found, [0, 1, 3, 7, 6, 6, 8]);
        assert_eq!(exit_of("failed", true), Exit::Internal);
        assert_eq!(exit_of("from_the_future", false), Exit::Unknown);
    }

    #[test]
    fn several_runs_end_as_the_job_says_or_as_the_worst() {
        let mut tally = Tally::default();
        tally.add(&end("succeeded", None), None);
        assert_eq!(tally.exit(None), Exit::Good);
        tally.add(&end("cancelled", None), None);
        assert_eq!(tally.exit(None), Exit::Cancelled);
        tally.add(&end("unknown", None), None);
        assert_eq!(tally.exit(None), Exit::Unknown);
        tally.add(&end("failed", Some(FaultCode::Failed)), Some("unknown"));
        assert_eq!((tally.exit(None), tally.total()), (Exit::Failed, 3));
        assert_eq!(tally.exit(Some("rejected")), Exit::Refused);
        tally.add(&end("failed", Some(FaultCode::Internal)), None);
        assert_eq!(tally.exit(Some("failed")), Exit::Internal);
        assert_eq!(Tally::default().exit(None), Exit::Unknown);
    }

    #[test]
    fn every_end_is_told_in_three_lines_with_its_exit_code() {
        for outcome in Outcome::ALL.map(Outcome::as_str).into_iter().chain(["new_word"]) {
            for code in [None, Some(FaultCode::Failed), Some(FaultCode::AgentAway)] {
                let report = report("web-1", "p", &end(outcome, code.clone()), false);
                assert_eq!(report.exit, exit_of(outcome, false));
                assert!(!report.what.is_empty() && !report.help.is_empty(), "{report:?}");
                assert_eq!(report.why.contains("the reason"), code.is_some(), "{report:?}");
            }
        }
    }

    #[test]
    fn what_a_stopping_agent_ended_had_begun_whatever_the_code_says_of_calls() {
        for (started, word) in
            [(Some(true), "it had begun"), (None, "it may have begun"), (Some(false), "nothing ran")]
        {
            for code in [FaultCode::ShuttingDown, FaultCode::Overloaded] {
                let end = EndSummary { started, ..end("failed", Some(code)) };
                let report = report("web-1", "p", &end, false);
                assert!(report.help.contains(word) && report.exit == Exit::Failed, "{started:?}: {report:?}");
                assert!(started == Some(false) || !report.help.contains("nothing ran"), "{report:?}");
            }
        }
    }

    #[test]
    fn a_program_that_failed_is_told_in_one_line() {
        let data = crate::value::encode(&crate::value::from_json("{\"exit\":3}").unwrap()).unwrap();
        let fault = Fault::new(FaultCode::Failed, "it failed").with_data(data);
        let line = exit_of_program("web-1", "exec.run@1", Some("sh"), &fault);
        assert_eq!(line.as_deref(), Some("web-1: sh exited with 3"));
        assert_eq!(exit_of_program("web-1", "p", Some("sh"), &fault), None);
    }
}

//! What must be found.

use super::*;

/// A break of what is fair, and a word of what has to be found.
type Break = (&'static str, fn(&mut Evidence));

const BREAKS: &[Break] = &[
    ("I1: it was acknowledged", |evidence| {
        evidence.jobs.clear();
        evidence.oracle.clear();
    }),
    ("the manager does not know it", |evidence| evidence.jobs.clear()),
    ("I1: asked for", |evidence| evidence.told.submits[0].order.program.lines = 3),
    ("I2: its key", |evidence| {
        let mut other = job("job-0");
        other.detail.job.key = Some("key of job-1".into());
        evidence.jobs.insert("job-0".into(), other);
    }),
    ("I3", |evidence| evidence.oracle.insert(1, start(JOB))),
    ("I4", |evidence| {
        let attempt = Mark { attempt: 2, dno: 6, ..mark(JOB) };
        evidence.oracle.push(Line::Start { mark: attempt, parent: PID, at_ms: 1500, age_ms: 5 });
        the_run(evidence).attempt = 2;
        the_run(evidence).earlier.push(AttemptSummary {
            attempt: 1,
            outcome: "unknown".into(),
            fault: None,
            ended_ms: 1400,
        });
    }),
    ("I5", |evidence| evidence.told.ends[0].1.outcome = "failed".into()),
    ("I6: started=false", |evidence| the_end(evidence).started = Some(false)),
    ("I6: succeeded", |evidence| drop(evidence.oracle.pop())),
    ("I6: succeeded", |evidence| evidence.oracle.clear()),
    ("I6: failed", |evidence| the_end(evidence).outcome = "failed".into()),
    ("I6: expired", |evidence| the_end(evidence).outcome = "expired".into()),
    ("cannot be", |evidence| the_end(evidence).outcome = "rejected".into()),
    ("I6: cancelled", |evidence| the_end(evidence).outcome = "cancelled".into()),
    ("I6: cancelled", |evidence| {
        evidence.told.submits[0].cancel_asked_ms = Some(2_501);
        the_end(evidence).outcome = "cancelled".into();
    }),
    ("it had no limit", |evidence| the_end(evidence).outcome = "timed_out".into()),
    ("I6: timed out before", |evidence| timed_out(evidence, 200, 150)),
    ("I6: timed out before", |evidence| {
        timed_out(evidence, 200, 150);
        the_end(evidence).duration_ms = Some(200);
    }),
    ("does not say how long", |evidence| {
        timed_out(evidence, 200, 210);
        the_end(evidence).duration_ms = None;
    }),
    ("I6: it may run", |evidence| timed_out(evidence, 200, 9_000)),
    ("I15: event 3 stands", |evidence| drop(evidence.events.remove(1))),
    ("I15: the history was changed", |evidence| {
        let flaw = EventFlaw { n: 2, kind: "changed".into(), message: "it was".into() };
        evidence.verified.as_mut().unwrap().flaw = Some(flaw);
    }),
    ("I15: verified up to", |evidence| evidence.verified.as_mut().unwrap().last.n = 3),
    ("I15: nobody verified", |evidence| evidence.verified = None),
    ("I15: it ended 2 times", |evidence| {
        evidence.events.insert(3, event(4, "run.ended", Some(AGENT), Some("succeeded")));
        evidence.events[4].n = 5;
    }),
    ("I15: it ended 0 times", |evidence| drop(evidence.events.remove(2))),
    ("its last event says", |evidence| evidence.events[2].outcome = Some("failed".into())),
    ("I15: it was not submitted", |evidence| drop(evidence.events.remove(0))),
    ("I15: an attempt was started twice", |evidence| {
        evidence.events.insert(2, event(3, "run.started", Some(AGENT), None));
    }),
    ("I15: it was corrected 1 times", |evidence| {
        evidence.events.push(event(5, "run.corrected", Some(AGENT), Some("succeeded")));
    }),
    ("I15: its attempts", |evidence| {
        evidence.events.insert(2, event(3, "run.retried", Some(AGENT), Some("failed")));
    }),
    ("I15: a cancel was acknowledged", |evidence| evidence.told.submits[0].cancelled = Some((0, 1))),
    ("I15: an event of a job", |evidence| evidence.events[0].job = Some("job-9".into())),
    ("callback: nobody is told", |evidence| {
        the_job(evidence).detail.options.insert("callback".into(), Raw::text("tell"));
    }),
    ("and nobody took it", |evidence| {
        called_back(evidence);
        evidence.taken.clear();
    }),
    ("is pending", |evidence| {
        called_back(evidence);
        the_job(evidence).detail.callbacks[0].state = "pending".into();
    }),
    ("2 events say so", |evidence| {
        called_back(evidence);
        evidence.events.push(event(6, "callback.delivered", None, None));
    }),
    ("and is not known", |evidence| evidence.taken.push("job-9-1".into())),
    ("I7: its stdout", |evidence| {
        the_job(evidence).items.values_mut().for_each(|items| items[1].data = Raw::bin(b"line 7\n"));
    }),
    ("I7: its items have gaps", |evidence| {
        the_job(evidence).items.values_mut().for_each(|items| items[1].n = 2);
    }),
    ("I7: its items are not as many", |evidence| {
        the_job(evidence).items.values_mut().for_each(|items| drop(items.pop()));
    }),
    ("I7: a reader had", |evidence| {
        evidence.told.items.values_mut().for_each(|items| drop(items.insert(2, item(2))));
    }),
    ("I10", |evidence| {
        evidence.jobs.insert("job-2".into(), job("job-2"));
        evidence.oracle.extend([start("job-2"), Line::End(mark("job-2"))]);
    }),
    ("I11", |evidence| {
        evidence.jobs.insert("job-2".into(), job("job-2"));
        evidence.oracle.insert(1, start("job-2"));
        evidence.oracle.push(Line::End(mark("job-2")));
    }),
    ("I12", |evidence| evidence.told.submits[0].cancelled = Some((1, 0))),
    ("I13", |evidence| {
        let within = Raw::encode(&100).unwrap();
        the_job(evidence).detail.options.insert("start_within_ms".into(), within);
        evidence.oracle[0] = Line::Start { mark: mark(JOB), parent: PID, at_ms: 2200, age_ms: 5 };
    }),
    ("I17", |evidence| the_run(evidence).state = "running".into()),
    ("spool", |evidence| {
        unknown(evidence);
        died(evidence, 1500);
        the_end(evidence).fault = Some(Fault::new(FaultCode::AgentGone, "no records (spool_lost)"));
    }),
    ("only 0 such runs are unknown", |evidence| died(evidence, 1500)),
    ("before it was released", |evidence| {
        the_job(evidence).detail.options.insert("held".into(), Raw::encode(&true).unwrap());
    }),
    ("not that of the program", |evidence| the_job(evidence).ends.clear()),
    ("dispatch number", |evidence| the_run(evidence).dno = 4),
];

#[test]
fn each_break_is_found() {
    for (wanted, break_it) in BREAKS {
        let mut evidence = fair();
        break_it(&mut evidence);
        let findings = judge(&evidence);
        assert!(findings.iter().any(|finding| finding.text.contains(wanted)), "{wanted}: {findings:?}");
        assert!(findings.iter().all(|finding| !told(finding, &evidence).is_empty()));
    }
}

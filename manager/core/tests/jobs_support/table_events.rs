//! What can happen to a run, for the table of its states.

use std::collections::BTreeSet;

use redpoll_common::job::wire::SpoolState;
use redpoll_common::job::{Attempt, Dno, Ending, Outcome};
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::clock::Anchor;
use redpoll_manager_core::jobs::{Ended, EndedJob, Found, Input, OfferAnswer, Whose};

use super::bench::{Bench, SPOOL, ending, item};
use super::{Plan, agent, job};

pub(crate) type Event = fn(&mut Bench);

/// Each input is among them.
pub(crate) const EVENTS: &[(&str, Event)] = &[
    ("release", |bench| {
        bench.feed(Input::Release { token: (), job: job(1), away: BTreeSet::new(), by: None })
    }),
    ("cancel", |bench| bench.cancel(false)),
    ("preview of a cancel", |bench| bench.cancel(true)),
    ("delete", |bench| bench.feed(Input::Delete { token: (), job: job(1), by: None })),
    ("down", |bench| bench.down()),
    ("cut", |bench| bench.cut()),
    ("its agent is revoked", |bench| bench.revoke()),
    ("its agent is restored", |bench| bench.restore()),
    ("cut, and told late that it ran", |bench| {
        bench.cut();
        bench.report(|report| report.started_ms_ago = Some(0));
    }),
    ("cut, and told late that it succeeded", |bench| {
        bench.cut();
        bench.ended(ending(Outcome::Succeeded));
    }),
    ("cut, and told late that it was accepted", |bench| {
        bench.cut();
        bench.offer_answered(OfferAnswer::Accepted);
    }),
    ("up, nothing told yet", |bench| bench.begin()),
    ("up, a page without it, and more to come", |bench| {
        bench.begin();
        bench.page(SPOOL, bench.about.1.0, None, false);
    }),
    ("up, a page with it running, and more to come", |bench| {
        bench.begin();
        bench.page(SPOOL, bench.about.1.0, Some(SpoolState::Running), false);
    }),
    ("up, has it received", |bench| bench.up(SPOOL, true, Some(SpoolState::Received))),
    ("up, has it starting", |bench| bench.up(SPOOL, true, Some(SpoolState::Starting))),
    ("up, has it running", |bench| bench.up(SPOOL, true, Some(SpoolState::Running))),
    ("up, has it done", |bench| bench.up(SPOOL, true, Some(SpoolState::Done))),
    ("up, never saw it", |bench| bench.up(SPOOL, false, None)),
    ("up, saw it and has it not", |bench| bench.up(SPOOL, true, None)),
    ("up, another spool", |bench| bench.up([2; 16], false, None)),
    ("up, another spool, has it received", |bench| bench.up([2; 16], true, Some(SpoolState::Received))),
    ("up, another spool, has it running", |bench| bench.up([2; 16], true, Some(SpoolState::Running))),
    ("up, another spool, has it done", |bench| bench.up([2; 16], true, Some(SpoolState::Done))),
    ("tells again, without it", |bench| bench.page(SPOOL, bench.about.1.0, None, true)),
    ("tells again, has it running", |bench| {
        bench.page(SPOOL, bench.about.1.0, Some(SpoolState::Running), true);
    }),
    ("accepted", |bench| bench.offer_answered(OfferAnswer::Accepted)),
    ("refused", |bench| bench.refused(FaultCode::Rejected)),
    ("refused for now", |bench| bench.refused(FaultCode::Overloaded)),
    ("refused, for it stops", |bench| bench.refused(FaultCode::ShuttingDown)),
    ("refused oddly", |bench| bench.refused(FaultCode::Internal)),
    ("known as received", |bench| bench.offer_answered(OfferAnswer::Known(SpoolState::Received))),
    ("known as starting", |bench| bench.offer_answered(OfferAnswer::Known(SpoolState::Starting))),
    ("known as running", |bench| bench.offer_answered(OfferAnswer::Known(SpoolState::Running))),
    ("known as done", |bench| bench.offer_answered(OfferAnswer::Known(SpoolState::Done))),
    ("known as absent", |bench| bench.offer_answered(OfferAnswer::Known(SpoolState::Absent))),
    ("unsendable", |bench| {
        bench.offer_answered(OfferAnswer::Unsendable(Fault::new(FaultCode::TooLarge, "too large")));
    }),
    ("offer lost", |bench| bench.offer_answered(OfferAnswer::Lost)),
    ("cancel said received", |bench| bench.cancel_answered(SpoolState::Received)),
    ("cancel said starting", |bench| bench.cancel_answered(SpoolState::Starting)),
    ("cancel said running", |bench| bench.cancel_answered(SpoolState::Running)),
    ("cancel said done", |bench| bench.cancel_answered(SpoolState::Done)),
    ("cancel said absent", |bench| bench.cancel_answered(SpoolState::Absent)),
    ("reported started", |bench| bench.report(|report| report.started_ms_ago = Some(0))),
    ("reported progress", |bench| {
        let progress = Progress { completed: 1, total: None, details: Raw::nil() };
        bench.report(|report| report.progress = Some(progress));
    }),
    ("reported item 0", |bench| bench.report(|report| report.items = vec![item(0)])),
    ("reported item 1", |bench| bench.report(|report| report.items = vec![item(1)])),
    ("reported succeeded", |bench| bench.ended(ending(Outcome::Succeeded))),
    ("reported failed", |bench| bench.ended(ending(Outcome::Failed))),
    ("reported failed before its start", |bench| {
        bench.ended(Ending { started: Some(false), ..ending(Outcome::Failed) });
    }),
    ("reported timed out", |bench| bench.ended(ending(Outcome::TimedOut))),
    ("reported cancelled", |bench| bench.ended(ending(Outcome::Cancelled))),
    ("reported cancelled before its start", |bench| {
        bench.ended(Ending { started: Some(false), ..ending(Outcome::Cancelled) });
    }),
    ("reported expired", |bench| bench.ended(ending(Outcome::Expired))),
    ("reported rejected", |bench| bench.ended(ending(Outcome::Rejected))),
    ("reported rejected for now", |bench| {
        let fault = Some(Fault::new(FaultCode::ShuttingDown, "it stops"));
        bench.ended(Ending { fault, ..ending(Outcome::Rejected) });
    }),
    ("reported unknown", |bench| bench.ended(ending(Outcome::Unknown))),
    ("reported too early", |bench| bench.ended(Ending { items: 1, ..ending(Outcome::Succeeded) })),
    ("another number reported", |bench| {
        bench.report(|report| (report.run.dno, report.done) = (Dno(7), Some(ending(Outcome::Succeeded))));
    }),
    ("another attempt reported", |bench| {
        bench.report(|report| (report.run.attempt, report.items) = (Attempt(9), vec![item(0)]));
    }),
    ("the wait is over", |bench| bench.later(1_500)),
    ("start_within passes", |bench| bench.later(30_000)),
    ("unknown_after passes", |bench| bench.later(60_000)),
    ("another agent reports that it runs", |bench| {
        bench.foreign(|bench| bench.report(|report| report.started_ms_ago = Some(0)));
    }),
    ("another agent reports item 0", |bench| {
        bench.foreign(|bench| bench.report(|report| report.items = vec![item(0)]));
    }),
    ("another agent reports that it succeeded", |bench| {
        bench.foreign(|bench| bench.ended(ending(Outcome::Succeeded)));
    }),
    ("another agent reports that it never began", |bench| {
        bench.foreign(|bench| bench.ended(ending(Outcome::Rejected)));
    }),
    ("another agent accepts", |bench| {
        bench.foreign(|bench| bench.offer_answered(OfferAnswer::Accepted));
    }),
    ("another agent refuses", |bench| bench.foreign(|bench| bench.refused(FaultCode::Rejected))),
    ("another agent has nothing of the offer", |bench| {
        bench.foreign(|bench| bench.offer_answered(OfferAnswer::Known(SpoolState::Absent)));
    }),
    ("another agent has nothing to cancel", |bench| {
        bench.foreign(|bench| bench.cancel_answered(SpoolState::Absent));
    }),
    ("another agent has it running", |bench| {
        bench.foreign(|bench| bench.up([9; 16], true, Some(SpoolState::Running)));
    }),
    ("another agent has it done", |bench| {
        bench.foreign(|bench| bench.up([9; 16], true, Some(SpoolState::Done)));
    }),
    ("another job is submitted", |bench| {
        bench.feed(Input::Submit(Plan::default().submit((), job(2), &[("c", false)])));
    }),
    ("its agent records a run of its own", |bench| {
        let submit = Plan::default().submit((), job(2), &[("a", true)]);
        let (ending, items) = (ending(Outcome::Succeeded), vec![item(0)]);
        let ended = Ended { ending, started_ms_ago: Some(5), items, dropped: 0 };
        bench.feed(Input::Record(submit, Box::new(ended)));
    }),
    ("its agent says something", |bench| {
        let name = "said".to_owned();
        bench.feed(Input::Emit { token: (), agent: agent("a"), name, data: Raw::nil() });
    }),
    ("its procedure is switched off", |bench| {
        let (procedure, operator) = ("sys.echo".to_owned(), "anna".to_owned());
        bench.feed(Input::Switched { token: (), agent: agent("a"), procedure, on: false, operator });
    }),
    ("a key is found that nobody asked for", |bench| {
        let (submitter, key) = (agent("anna").into(), "k".to_owned());
        let found = Found::Taken { job: job(1), digest: [0; 32] };
        bench.feed(Input::KeyFound { submitter, key, look: 1, found });
    }),
    ("a callback is told that nobody asked for", |bench| {
        bench.feed(Input::CallbackTried { job: job(1), serial: 1, error: None });
    }),
    ("more of its arguments is secret", |bench| {
        bench.feed(Input::Redact { job: job(1), paths: vec!["kwargs.pin".to_owned()] });
    }),
    ("the oldest are found that nobody asked for", |bench| {
        let jobs = vec![EndedJob { id: job(1), ended_ms: 1_000, runs: 1 }];
        bench.feed(Input::Oldest { whose: Whose::Operators, stored: Some(1), jobs });
    }),
    ("the disk is full", |bench| bench.feed(Input::StoreFull(true))),
    ("nobody waits for what is in doubt any more", |bench| bench.impatient()),
    ("the clock is set", |bench| {
        let anchor = Anchor { boot: None, base_ms: 5, ahead_ms: 7, ahead_at_boot_ms: 0 };
        bench.feed(Input::Clock { anchor, set_by_ms: 7_000 });
    }),
    ("the manager stood still", |bench| bench.feed(Input::StoodStill)),
    ("the history is broken", |bench| {
        bench.feed(Input::HistoryBroken { detail: "event 1 was changed".to_owned() });
    }),
    ("the manager is started again", |bench| bench.restart()),
    ("the manager is started again, and told that it succeeded", |bench| {
        bench.restart();
        bench.up(SPOOL, true, Some(SpoolState::Done));
        bench.ended(ending(Outcome::Succeeded));
    }),
];

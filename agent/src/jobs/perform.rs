//! Does what the rules say, in their order: nothing passes a commit before it is durable.

use std::collections::VecDeque;
use std::time::Duration;

use redpoll_common::job::Dno;
use redpoll_common::job::spool::{self as rules, COMMIT_BYTES, COMMIT_RECORDS, NotSpawned, Record};
use redpoll_common::job::wire::{Offer, OfferAnswer, StateAnswer};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_net::failpoint;
use redpoll_net::service::run_call;
use tokio::time::sleep;

use super::Output;
use super::execution::Execution;
use super::notes::{self, Notes};
use super::runner::Runner;
use super::session::Ask;

/// How soon items are asked for again that could not be read, because too many files are open.
const LOAD_AGAIN: Duration = Duration::from_secs(1);

impl Runner {
    /// Does what can be done now.
    pub(super) fn perform(&mut self) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                if let Output::Commit(records) = &output {
                    self.backlog = self.backlog.saturating_add(notes::bytes(records));
                }
                self.outputs.push_back(output);
            }
            if self.commit.is_some() {
                if *self.full.borrow() {
                    self.perform_on_programs();
                }
                return;
            }
            let Some(output) = self.outputs.pop_front() else { return };
            self.perform_one(output);
        }
    }

    /// A disk without any room is waited for, and a commit with it. A run that is over its time, or cancelled, does not wait: its start is
    /// on disk, and it may be what takes the room. Nor does it wait that programs are made to: what they give is only held in memory.
    fn perform_on_programs(&mut self) {
        let Self { outputs, executions, .. } = self;
        outputs.retain(|output| {
            let (dno, act): (_, fn(&Execution)) = match output {
                Output::Terminate(dno) => (dno, Execution::terminate),
                Output::Kill(dno) => (dno, Execution::kill),
                Output::Pause(dno) => (dno, |execution| execution.pause(true)),
                // with those before it, which it takes back
                Output::Unpause(dno) => (dno, |execution| execution.pause(false)),
                Output::Commit(_)
                | Output::OfferAnswer(..)
                | Output::CancelAnswer(..)
                | Output::Spawn { .. }
                | Output::Resume(..)
                | Output::Report(..)
                | Output::Load { .. } => return true,
            };
            // one that has not begun yet has its turn
            let Some(execution) = executions.get(dno) else { return true };
            act(execution);
            false
        });
    }

    fn perform_one(&mut self, output: Output) {
        match output {
            Output::Commit(records) => self.begin_commit(records),
            Output::OfferAnswer(token, Ok(OfferAnswer::Accepted)) => {
                failpoint::reached("A2");
                self.accepts.push((token, Ok(OfferAnswer::Accepted.write())));
            }
            Output::OfferAnswer(token, answer) => {
                // whoever asked may be gone
                let _told = token.send(answer.map(OfferAnswer::write));
            }
            Output::CancelAnswer(token, answer) => {
                let _told = token.send(answer.map(|state| StateAnswer { state }.write()));
            }
            Output::Spawn { offer, not_after } => self.spawn(*offer, not_after),
            Output::Terminate(dno) => self.with(dno, Execution::terminate),
            Output::Kill(dno) => self.with(dno, Execution::kill),
            Output::Pause(dno) => self.with(dno, |execution| execution.pause(true)),
            Output::Unpause(dno) => self.with(dno, |execution| execution.pause(false)),
            Output::Resume(id, page) => self.ask(Ask::Resume(id, page)),
            Output::Report(id, mut report) => {
                if report.reports.iter().any(|report| report.done.is_some()) {
                    failpoint::reached("A6");
                }
                // with the end, so that the manager needs nothing else to know what nobody may see of the arguments
                for run in report.reports.iter_mut().filter(|run| run.done.is_some()) {
                    run.redact = self
                        .secrets
                        .get(&run.run.dno)
                        .map(|secret| secret.arguments.clone())
                        .unwrap_or_default();
                }
                self.ask(Ask::Report(id, report));
            }
            Output::Load { dno, from, bytes } => self.load(dno, from, bytes),
        }
    }

    fn begin_commit(&mut self, mut records: Vec<Record>) {
        // where there is little room, the first may still have it, and the rules give the smaller one first
        if !*self.full.borrow() {
            merge(&mut records, &mut self.outputs);
        }
        let (journal, secret) = (self.journal.clone(), self.keep_secrets(&mut records));
        let notes = Notes::of(&records);
        let commit = async move {
            for dno in secret {
                journal.has_secrets(dno).await?;
            }
            journal.append(records).await?.wait().await
        };
        self.commit = Some((Box::pin(commit), notes));
    }

    fn with(&self, dno: Dno, act: impl FnOnce(&Execution)) {
        if let Some(execution) = self.executions.get(&dno) {
            act(execution);
        }
    }

    /// Asks the manager. When its session has ended meanwhile, the rules know or hear of it soon, and ask anew.
    fn ask(&self, ask: Ask) {
        if let Some(session) = &self.session {
            session.ask(ask);
        }
    }

    fn spawn(&mut self, offer: Offer, not_after: Option<u64>) {
        failpoint::reached("A3");
        let (run, caller) = (offer.run, self.caller.clone());
        let Some(caller) = caller.filter(|_| !self.ending) else {
            let fault = Fault::new(FaultCode::ShuttingDown, "the agent is stopping; nothing ran");
            let why = NotSpawned::Refused(Box::new(fault));
            return self.not_begun(run.dno, why);
        };
        // its offer was accepted in an earlier life, which had begun another attempt; of this life none is
        if let Some(Err(fault)) =
            self.leftovers.as_ref().map(|leftovers| leftovers.refuse(run.job, &offer.procedure))
        {
            let why = NotSpawned::Refused(Box::new(fault));
            return self.not_begun(run.dno, why);
        }
        let (agent, limit) = (self.options.agent.clone(), self.options.max_item());
        let call = run_call(caller, agent, offer, not_after, limit);
        let offered = self.offered.now();
        // accepted by a definition that another has replaced, in an earlier life say: what that one hid stays hidden
        let mask = self.secrets.get(&run.dno).and_then(|secret| secret.mask(&call.0, &offered));
        let (execution, task) = Execution::new(call, run, (offered, mask), self.work.clone());
        self.executions.insert(run.dno, execution);
        self.running += 1;
        self.tracker.spawn(task.run());
    }

    fn load(&self, dno: Dno, from: u64, bytes: u64) {
        let (journal, answers) = (self.journal.clone(), self.answers.clone());
        self.tracker.spawn(async move {
            let loaded = loop {
                match journal.load(dno, from, bytes).await {
                    Err(error) if error.passes() => sleep(LOAD_AGAIN).await,
                    loaded => break loaded,
                }
            };
            // when the journal has failed nothing matters any more
            if let Ok(items) = loaded {
                let _ended = answers.send(rules::Input::Loaded(dno, items)).await;
            }
        });
    }
}

/// Takes the commits that follow at once into this one: nothing stands between them, so that one write does for all, up to a size.
fn merge(records: &mut Vec<Record>, outputs: &mut VecDeque<Output>) {
    let of = |records: &[Record]| records.iter().map(Record::weight).sum::<u64>();
    let mut weight = of(records);
    while let Some(Output::Commit(more)) = outputs.front_mut() {
        weight += of(more);
        if weight > COMMIT_BYTES || records.len() + more.len() > COMMIT_RECORDS {
            break;
        }
        records.append(more);
        outputs.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use redpoll_common::job::{Item, ItemKind};
    use redpoll_common::wire::Raw;

    use super::*;

    #[test]
    fn commits_are_written_together_up_to_a_size() {
        let data = Raw::bin(&vec![7; 5 << 20]);
        let item = |n| Record::Items {
            dno: Dno(1),
            items: vec![Item { n, kind: ItemKind::Stdout, data: data.clone() }],
        };
        let mut records = vec![item(0)];
        let mut outputs: VecDeque<Output> = (1..8).map(|n| Output::Commit(vec![item(n)])).collect();
        outputs.push_back(Output::Kill(Dno(1)));
        outputs.push_back(Output::Commit(vec![item(8)]));
        let mut sizes = Vec::new();
        loop {
            merge(&mut records, &mut outputs);
            sizes.push(records.len());
            let Some(Output::Commit(next)) = outputs.pop_front() else { break };
            records = next;
        }
        assert_eq!((sizes, outputs.len()), (vec![3, 3, 2], 1), "and nothing passes what stands between");
    }
}

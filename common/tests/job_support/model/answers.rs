//! What the manager answers to pages and reports, and what follows.

use redpoll_common::job::Dno;
use redpoll_common::job::spool::RETRY_MS;
use redpoll_common::job::wire::{Act, ReportAnswer, ResumeAct, ResumeAnswer};

use super::{At, CANCELLED, Model, Session};

impl Model {
    pub(super) fn resumed(&mut self, id: u64, answer: Result<ResumeAnswer, Option<u64>>) {
        let now = self.now.boot_ms;
        let Session::Telling { id: open, after, listed, last, at } = &mut self.session else { return };
        if *open != Some(id) {
            return;
        }
        *open = None;
        let answer = match answer {
            Ok(answer) => answer,
            Err(wait) => return *at = Some(now + wait.unwrap_or(RETRY_MS).max(RETRY_MS)),
        };
        let (listed, last) = (std::mem::take(listed), *last);
        (*after, *at) = (listed.last().map_or(*after, |run| run.dno), Some(now));
        for run in listed {
            let about = |act: &&ResumeAct| (act.job, act.attempt) == (run.job, run.attempt);
            let act = answer.jobs.iter().find(about).map(|act| act.act);
            let Some(row) = self.runs.get_mut(&run.dno) else { continue };
            match act {
                None if row.at == At::Received => continue,
                None | Some(Act::Continue) => {}
                Some(Act::SendFrom(n)) => {
                    row.acked = n.clamp(row.acked, row.acked.max(self.disk.fact(run.dno).items.len() as u64));
                    row.sent = row.acked;
                }
                Some(Act::Kill { grace_ms }) => {
                    let grace_ms = grace_ms.map(|grace| grace.min(self.options.grace_ms));
                    self.stop(run.dno, CANCELLED, grace_ms);
                }
                Some(Act::Drop) => {
                    row.unwanted = true;
                    if row.is_live() {
                        self.stop(run.dno, CANCELLED, None)
                    } else {
                        self.forget(run.dno)
                    }
                    continue;
                }
            }
            self.ask(run);
            self.start(run.dno);
        }
        self.gone.retain(|dno, _| *dno >= answer.purge_below_dno);
        let refused = self.runs.values().filter(|run| run.refused && run.run.dno < answer.purge_below_dno);
        let refused: Vec<Dno> = refused.map(|run| run.run.dno).collect();
        refused.into_iter().for_each(|dno| self.forget(dno));
        if last {
            self.session = Session::Live;
        }
    }

    pub(super) fn reported(&mut self, id: u64, answer: Result<ReportAnswer, Option<u64>>) {
        let Some(parts) = self.reports.remove(&id) else { return };
        let (acks, wait) = match answer {
            Ok(answer) => (answer.acks, None),
            Err(wait) => (Vec::new(), Some(wait.unwrap_or(RETRY_MS).max(RETRY_MS))),
        };
        let mut stuck = false;
        for part in parts {
            let dno = part.run.dno;
            let Some(run) = self.runs.get_mut(&dno) else { continue };
            let ack = acks.iter().find(|ack| (ack.job, ack.attempt) == (part.run.job, part.run.attempt));
            if let Some((_, progress)) = run.told.take_if(|(of, _)| *of == id) {
                run.progress = run.progress.or_else(|| ack.is_none().then_some(progress));
            }
            let news = ack.is_some_and(|ack| ack.next_n.min(run.sent) > run.acked);
            run.acked = ack.map_or(run.acked, |ack| ack.next_n.min(run.sent).max(run.acked));
            let done = ack.is_some_and(|ack| ack.done);
            if done && !run.is_open() {
                self.forget(dno);
                continue;
            }
            run.unwanted |= done;
            // what is not taken is sent again, and not at once if nothing of it was
            let taken = ack.is_some_and(|ack| ack.next_n >= part.until && (!part.end || done));
            run.gap |= !taken;
            run.told_start &= ack.is_some();
            stuck |= !taken && !news && (ack.is_none() || part.items || part.end);
            if ack.is_some_and(|ack| ack.stop || ack.done) {
                self.stop(dno, CANCELLED, None);
            }
            let under_way = self.reports.values().flatten().any(|part| part.run.dno == dno);
            let run = self.runs.get_mut(&dno).unwrap();
            if run.gap && !under_way {
                (run.gap, run.told_end, run.sent) = (false, false, run.acked);
            }
        }
        if wait.is_some() || stuck {
            self.hold = self.hold.max(Some(self.now.boot_ms + wait.unwrap_or(RETRY_MS)));
        }
    }
}

//! The manager of the small world: it never forgets, and settles what is in doubt by what the spool says.

use std::cmp::Ordering;

use redpoll_common::job::spool::Input;
use redpoll_common::job::wire::{
    Ack, Act, Cancel, OfferAnswer, ReportAnswer, Resume, ResumeAct, ResumeAnswer, ResumeRow, RunRef,
    RunReport, SpoolState,
};
use redpoll_common::job::{Attempt, Dno, Ending, JobId, Limits, Outcome};
use redpoll_common::wire::FaultCode;

use super::super::{fault, offer};
use super::{Down, Job, Up, World, index};

impl World {
    /// Under a number that was never given before.
    pub(super) fn dispatch(&mut self, job: JobId) {
        self.last_dno += 1;
        self.jobs.get_mut(&job).unwrap().dno = self.last_dno;
        self.send_offer(job);
    }

    fn send_offer(&mut self, job: JobId) {
        if self.live {
            let run = RunRef { job, attempt: Attempt(1), dno: Dno(self.jobs[&job].dno) };
            self.down.push_back(Down::Offer(offer(run, Limits::default())));
        }
    }

    pub(super) fn cancel(&mut self, which: usize) {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        let Some(at) = index(ids.len(), which) else { return };
        let job = self.jobs.get_mut(&ids[at]).unwrap();
        job.cancelled = true;
        let run = RunRef { job: ids[at], attempt: Attempt(1), dno: Dno(job.dno) };
        if self.live && job.ending.is_none() {
            // a cancel overtakes what is queued
            self.down.push_front(Down::Cancel(run));
        }
    }

    pub(super) fn deliver_down(&mut self) {
        match self.down.pop_front() {
            Some(Down::Offer(offer)) => {
                let refused = self.jobs[&offer.run.job].refused;
                let verdict = if refused { Err(fault("not here")) } else { Ok(()) };
                self.put(Input::Offer {
                    token: (offer.run.job, offer.run.dno),
                    offer,
                    admin: false,
                    verdict,
                });
            }
            Some(Down::Cancel(run)) => {
                self.put(Input::Cancel {
                    token: (run.job, run.dno),
                    cancel: Cancel { run, grace_ms: Some(0) },
                });
            }
            Some(Down::Resumed(id, answer)) => self.put(Input::Resumed(id, Ok(answer))),
            Some(Down::Reported(id, answer)) => self.put(Input::Reported(id, Ok(answer))),
            None => {}
        }
    }

    pub(super) fn deliver_up(&mut self) {
        match self.up.pop_front() {
            Some(Up::Offered((id, dno), said)) => {
                let job = self.jobs.get_mut(&id).unwrap();
                if Dno(job.dno) != dno || job.ending.is_some() {
                    return;
                }
                match said {
                    Ok(OfferAnswer::Known(SpoolState::Absent)) => self.never_received(id),
                    Ok(_) => {}
                    // it had no room, and has not seen it
                    Err(fault) if fault.code == FaultCode::Overloaded => self.never_received(id),
                    Err(fault) => job.ending = Some(Ending::unstarted(Outcome::Rejected, fault)),
                }
            }
            Some(Up::Cancelled((id, dno), state)) => {
                let job = &self.jobs[&id];
                if state == SpoolState::Absent && Dno(job.dno) == dno && job.ending.is_none() {
                    self.never_received(id);
                }
            }
            Some(Up::Resume(id, page)) => self.resumed(id, &page),
            Some(Up::Report(id, report)) => {
                let acks = report.reports.into_iter().map(|report| self.reported(report)).collect();
                self.down.push_back(Down::Reported(id, ReportAnswer { acks }));
            }
            None => {}
        }
    }

    fn never_received(&mut self, id: JobId) {
        let job = self.jobs.get_mut(&id).unwrap();
        if job.cancelled {
            job.ending = Some(Ending::unstarted(Outcome::Cancelled, fault("cancelled")));
        } else {
            self.dispatch(id);
        }
    }

    fn resumed(&mut self, id: u64, page: &Resume) {
        let act = |row: &ResumeRow| {
            let job = &self.jobs[&row.run.job];
            let act = match () {
                () if Dno(job.dno) != row.run.dno || job.ending.is_some() => Act::Drop,
                () if job.cancelled => Act::Kill { grace_ms: None },
                () if row.state == SpoolState::Received => Act::Continue,
                () => Act::SendFrom(u64::try_from(job.items.len()).unwrap()),
            };
            ResumeAct { job: row.run.job, attempt: row.run.attempt, act }
        };
        let jobs = page.jobs.iter().map(act).collect();
        self.listed.extend(page.jobs.iter().map(|row| row.run.job));
        let open = self.jobs.values().filter(|job| job.ending.is_none()).map(|job| job.dno);
        let purge_below_dno = Dno(open.min().unwrap_or(self.last_dno + 1));
        self.down.push_back(Down::Resumed(id, ResumeAnswer { jobs, purge_below_dno }));
        if page.last {
            self.live = true;
            let open = self.jobs.iter().filter(|(id, job)| job.ending.is_none() && !self.listed.contains(id));
            let missing: Vec<JobId> = open.map(|(id, _)| *id).collect();
            for id in missing {
                let job = &self.jobs[&id];
                if page.max_dno >= Dno(job.dno) || job.cancelled {
                    self.never_received(id);
                } else {
                    self.send_offer(id);
                }
            }
        }
    }

    fn reported(&mut self, report: RunReport) -> Ack {
        let run = report.run;
        let job = self.jobs.get_mut(&run.job).unwrap();
        let ack = |next_n, done, stop| Ack { job: run.job, attempt: run.attempt, next_n, done, stop };
        let have = |job: &Job| u64::try_from(job.items.len()).unwrap();
        if Dno(job.dno) != run.dno {
            return ack(0, true, true);
        }
        if job.ending.is_some() {
            let how =
                |ending: &Option<Ending>| ending.as_ref().map(|ending| (ending.outcome, ending.started));
            // what the manager concluded from an absence it put into its own words
            let concluded = how(&job.ending) == Some((Outcome::Cancelled, Some(false)));
            let same = report.done == job.ending || (concluded && how(&report.done) == how(&job.ending));
            assert!(report.done.is_none() || same, "an ending changed");
            return ack(have(job), true, false);
        }
        for item in report.items {
            match item.n.cmp(&have(job)) {
                Ordering::Less => {
                    assert_eq!(item, job.items[usize::try_from(item.n).unwrap()], "an item changed");
                }
                Ordering::Equal => job.items.push(item),
                Ordering::Greater => return ack(have(job), false, false),
            }
        }
        if let Some(ending) = report.done {
            assert_eq!(ending.items, have(job), "an ending before its last item");
            job.ending = Some(ending);
        }
        ack(have(job), job.ending.is_some(), false)
    }
}

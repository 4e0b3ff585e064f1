//! What each step of the model test is for the machine: the same input each time that it is asked for.

use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::wire::{ResumeRow, RunRef, RunReport, SpoolState};
use redpoll_common::job::{Attempt, Dno, Ending, JobId, Offline, Outcome, QueueKey};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::clock::Anchor;
use redpoll_manager_core::jobs::criteria::Comparison;
use redpoll_manager_core::jobs::{
    Criteria, Ended, Found, Input, OfferAnswer, ResumePage, Scope, Settings, Submit,
};

use redpoll_manager_core::revoked::{CertificateName, Denial, Denied};

use super::bench::item;
use super::model::{At, Link};
use super::model_bench::Pair;
use super::model_do::Do;
use super::{Plan, agent, job};

pub(crate) const AGENTS: [&str; 3] = ["a", "b", "c"];

/// An agent, one of its certificates, or an operator.
fn denied(n: u8) -> Denied {
    let id = agent(AGENTS[usize::from(n) % AGENTS.len()]);
    match n {
        0..=127 => Denied::whole(Role::Agent, id),
        128..=191 => Denied { role: Role::Agent, id, certificate: CertificateName::parse("0a1b").ok() },
        192..=255 => Denied::whole(Role::Operator, agent("anna")),
    }
}

fn revoke(n: u8, token: u32) -> Input<u32> {
    let denial = Denial { denied: denied(n), at_ms: 0, by: agent("anna").into(), reason: None };
    Input::Revoke { token, denial: Box::new(denial) }
}

/// Whether all jobs are in one queue, so that its slots and the room of its agents are scarce at a time.
pub(crate) fn is_crowded(kind: u8) -> bool {
    kind >= 128
}

pub(crate) fn settings(kind: u8) -> Settings {
    Settings {
        offers_per_agent: if is_crowded(kind) { 1 } else { 1 + usize::from(kind % 3) },
        runs_per_agent: 2 + usize::from(kind / 4 % 4),
        admin_reserve: usize::from(kind / 16 % 3),
        open_runs: if kind.is_multiple_of(5) { 5 } else { 1_000 },
        unknown_after_ms: kind.is_multiple_of(2).then_some(3_000),
        return_ms: if kind.is_multiple_of(3) { 1_000 } else { 600_000 },
        retry_first_ms: 500,
        retry_max_ms: 2_000,
        callback_tries: 1_000_000,
        keep_ms: kind.is_multiple_of(3).then_some(4_000),
        keep_jobs: u64::from(kind % 7),
        prune_every_ms: 1_000,
        prune_at_once: 3,
        prune_runs: 1 + usize::from(kind % 4),
        ..Settings::default()
    }
}

impl Pair {
    /// What a step tells, if it tells anything now.
    pub(super) fn input(&self, what: &Do) -> Option<Input<u32>> {
        let token = u32::try_from(self.submitted).unwrap();
        let named = |n: u8| agent(AGENTS[usize::from(n) % AGENTS.len()]);
        let stored =
            |n: u8| self.store.jobs.keys().nth(usize::from(n) % self.store.jobs.len().max(1)).copied();
        let of = |id: &PeerId| self.model.agents.iter().find(|agent| agent.id == *id).unwrap();
        let older =
            |id: &PeerId, old: bool| ConnectionId(of(id).newest.saturating_sub(u64::from(old)).max(1));
        Some(match what {
            Do::Submit { .. } => self.submit(what, token),
            Do::KeyFound { readable, late } => self.key_found(*readable, *late)?,
            Do::Cancel { scope, which, preview } => self.cancel(*scope, *which, *preview, token),
            Do::Release(n) => {
                let held = self.model.jobs.iter().filter(|job| job.released.is_none() && job.is_open());
                let held: Vec<JobId> = held.map(|job| job.submit.id).collect();
                let any = job(1 + u64::from(*n) % self.submitted.max(1));
                let job = held.get(usize::from(*n) % 4).copied().unwrap_or(any);
                // what the look says need not be what the machine was told
                let away = self.model.agents.iter().filter(|agent| agent.link == Link::Away || *n > 200);
                Input::Release { token, job, away: away.map(|agent| agent.id.clone()).collect(), by: None }
            }
            Do::Delete(n) => Input::Delete { token, job: stored(*n)?, by: None },
            Do::Up { agent, old } => {
                let id = named(*agent);
                let connection = if *old { older(&id, true) } else { ConnectionId(of(&id).newest + 1) };
                Input::AgentUp { agent: id, connection }
            }
            Do::Down { agent, old } => {
                let id = named(*agent);
                Input::AgentDown { connection: older(&id, *old), agent: id, reason: "cut".to_owned() }
            }
            Do::Page { .. } => self.page(what, token),
            Do::Answer { which, answer } => {
                let (agent, run) = self.pick(*which)?;
                let (connection, answer) = (self.heard_on(&agent, *answer), offer_answer(*answer));
                Input::OfferAnswered { agent, connection, job: run.job, dno: run.dno, answer }
            }
            Do::CancelAnswer { which, state } => {
                let (agent, run) = self.pick(*which)?;
                let connection = self.heard_on(&agent, *state);
                let state = SpoolState::ALL[usize::from(*state) % 5];
                Input::CancelAnswered { agent, connection, job: run.job, dno: run.dno, state }
            }
            Do::Report { .. } => self.report(what, token)?,
            Do::Callback { which, taken } => {
                let place = usize::from(*which) % self.callbacks.len().max(1);
                let (job, serial) = *self.callbacks.get(place)?;
                Input::CallbackTried { job, serial, error: (!taken).then(|| "no".into()) }
            }
            Do::Oldest => {
                let whose = self.model.finding.first()?.clone();
                let (stored, jobs) = self.store.oldest(&whose, self.model.settings.prune_at_once);
                Input::Oldest { whose, stored: Some(stored), jobs }
            }
            Do::Full(full) => Input::StoreFull(*full),
            Do::Settings(kind) => Input::Settings(settings(*kind)),
            Do::Record { .. } => self.record(what, token),
            Do::Emit(n) => {
                let (agent, name) = (named(*n), format!("said{n}"));
                Input::Emit { token, agent, name, data: Raw::nil() }
            }
            Do::Switched(n) => {
                let (procedure, operator) = (format!("p{n}"), "anna".to_owned());
                Input::Switched { token, agent: named(*n), procedure, on: n % 2 == 1, operator }
            }
            Do::Redact { which, path } => {
                let any = job(1 + u64::from(*which) % self.submitted.max(1));
                let open = self.model.jobs.iter().filter(|job| job.is_alive()).map(|job| job.submit.id);
                let job = open.collect::<Vec<_>>().get(usize::from(*which) % 8).copied().unwrap_or(any);
                Input::Redact { job, paths: secret(*path) }
            }
            Do::Clock { base, set_by } => clock(*base, *set_by),
            Do::Revoke(n) => revoke(*n, token),
            Do::Restore(n) => Input::Restore { token, denied: denied(*n), by: agent("anna").into() },
            Do::Cut { which, connection } => self.cut(*which, *connection, token),
            Do::Broken(n) => Input::HistoryBroken { detail: format!("event {n} was changed") },
            Do::Still => Input::StoodStill,
            Do::Pass(_) | Do::Crash(_) => return None,
        })
    }

    fn cancel(&self, scope: u8, which: u8, preview: bool, token: u32) -> Input<u32> {
        let named = |n: u8| agent(AGENTS[usize::from(n) % AGENTS.len()]);
        let id = job(1 + u64::from(which) % self.submitted.max(1));
        let field = |name: &str, value: Raw| {
            Scope::Where(Criteria::Field(name.to_owned(), Comparison::Eq, vec![value]))
        };
        let states = ["held", "queued", "offered", "running", "in_doubt", "ended"];
        let scope = match scope % 7 {
            0 | 1 => Scope::Job(id),
            2 => Scope::Run(id, named(scope / 7)),
            3 => Scope::Queue(QueueKey::text(["q", "r"][usize::from(which) % 2]).unwrap()),
            4 => field("state", Raw::text(states[usize::from(which) % states.len()])),
            5 => field("attempt", Raw::encode(&(which % 3)).unwrap()),
            _ => field("agent", Raw::text(named(which).as_str())),
        };
        let grace_ms = (which / 2 % 2 == 1).then_some(u32::from(which));
        Input::Cancel { token, scope, grace_ms, preview: preview && which % 2 == 1, by: None }
    }

    fn key_found(&self, readable: bool, late: bool) -> Option<Input<u32>> {
        let (submit, _, look) = self.model.lookups.first()?;
        let (submitter, key) = (agent("anna").into(), submit.spec.key.clone()?);
        let found = if readable { self.store.find_key(&submitter, &key) } else { Found::Unreadable };
        // what an earlier look found was true then
        let (look, found) = if late { (look - 1, Found::Free) } else { (*look, found) };
        Some(Input::KeyFound { submitter, key, look, found })
    }

    fn record(&self, what: &Do, token: u32) -> Input<u32> {
        let Do::Record { agents, key, outcome, items } = what else { panic!("no record") };
        let plan =
            Plan { key: key.map(|key| format!("k{key}")), idempotent: outcome % 16 > 7, ..Plan::default() };
        let count = if *agents < 8 { usize::from(agents % 3) } else { 1 };
        let of = AGENTS.iter().cycle().skip(usize::from(*agents)).take(count);
        let submit =
            plan.submit(token, job(self.submitted), &of.map(|name| (*name, true)).collect::<Vec<_>>());
        let submit = Submit { redact: secret(*agents).into(), ..*submit };
        let outcome = Outcome::ALL[usize::from(*outcome) % 7];
        let started = Some(!matches!(outcome, Outcome::Rejected | Outcome::Expired));
        let ending = Ending { outcome, started, result: None, fault: None, items: 0, duration_ms: None };
        let (started_ms_ago, items) =
            (started.and_then(|begun| begun.then_some(5)), (0..u64::from(*items)).map(item));
        Input::Record(
            Box::new(submit),
            Box::new(Ended { ending, started_ms_ago, items: items.collect(), dropped: 0 }),
        )
    }

    fn submit(&self, what: &Do, token: u32) -> Input<u32> {
        let Do::Submit { agents, queue, flags, key, within, attempts } = what else { panic!("no submit") };
        let one = Some(("q", 2));
        let queues = if self.crowded { [one; 4] } else { [Some(("q", 1)), one, Some(("r", 2)), None] };
        let plan = Plan {
            queue: queues[usize::from(*queue) % 4],
            offline: [Offline::Wait, Offline::Wait, Offline::Skip, Offline::Require]
                [usize::from(*queue / 4) % 4],
            start_within_ms: within.map(u64::from),
            attempts: 1 + u16::from(*attempts % 3),
            idempotent: flags % 2 == 1,
            admin: flags / 64 % 4 > 1,
            key: key.map(|key| format!("k{key}")),
            held: flags / 2 % 8 == 1,
            callback: flags / 16 % 4 == 1,
            info: None,
        };
        let here = |name: &str| {
            self.model.agents.iter().any(|other| other.id.as_str() == name && other.link != Link::Away)
        };
        // none, some, or mostly one
        let mask = if *agents < 16 { agents % 8 } else { 1 << (agents % 3) };
        let chosen = AGENTS.iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1);
        let agents: Vec<(&str, bool)> = chosen.map(|(_, name)| (*name, here(name))).collect();
        let submit = plan.submit(token, job(self.submitted), &agents);
        Input::Submit(Box::new(Submit { redact: secret(*flags).into(), ..*submit }))
    }

    /// A run, mostly one that an agent has or may have.
    fn pick(&self, which: u8) -> Option<(PeerId, RunRef)> {
        let run = |at: &At| &self.model.jobs[at.0].runs[at.1];
        let mut all = self.model.all();
        if !which.is_multiple_of(8) && all.iter().any(|at| run(at).is_out()) {
            all.retain(|at| run(at).is_out());
        }
        all.retain(|at| run(at).dno > 0);
        let at = all.get(usize::from(which / 8) % all.len().max(1))?;
        let about = RunRef {
            job: self.model.jobs[at.0].submit.id,
            attempt: Attempt(run(at).attempt),
            dno: Dno(run(at).dno),
        };
        Some((run(at).agent.clone(), about))
    }

    fn page(&self, what: &Do, token: u32) -> Input<u32> {
        let Do::Page { agent: name, connection, spool, max_dno, rows, last } = what else {
            panic!("no page")
        };
        let known = &self.model.agents[usize::from(*name) % AGENTS.len()];
        let connection = match connection % 8 {
            0 => known.newest.max(1),
            1 => known.newest.saturating_sub(1).max(1),
            2..=6 if known.link != Link::Away => known.newest,
            _ => known.newest + 1,
        };
        let spool = if *spool < 240 { known.spool.unwrap_or([1; 16]) } else { [*spool; 16] };
        let max_dno = match max_dno % 8 {
            0 => known.last.saturating_sub(1),
            1 => known.seen,
            2 => known.seen.saturating_sub(1),
            3 => known.last + 1,
            _ => known.last,
        };
        let runs = self
            .model
            .all()
            .into_iter()
            .map(|at| (self.model.jobs[at.0].submit.id, &self.model.jobs[at.0].runs[at.1]));
        let mut runs: Vec<_> = runs.filter(|(_, run)| run.agent == known.id && run.dno > 0).collect();
        runs.sort_by_key(|(_, run)| (!run.is_out(), run.dno));
        let row = |(which, state, acked): &(u8, u8, bool)| {
            let (id, run) = runs.get(usize::from(*which) % 6)?;
            let dno = if *which > 250 { run.dno + 1 } else { run.dno };
            let about = RunRef { job: *id, attempt: Attempt(run.attempt), dno: Dno(dno) };
            let state = SpoolState::ALL[usize::from(*state) % 5];
            // a store that was put back may lack what was acknowledged
            let lost = if *which > 200 { 3 } else { 0 };
            let acked_n = if *acked { run.items + lost } else { 0 };
            // beyond `next_n`: by that the bench knows that the store lacks some
            Some(ResumeRow { run: about, state, next_n: run.items, acked_n })
        };
        let mut told: Vec<ResumeRow> = rows.iter().filter_map(row).collect();
        told.sort_by_key(|row| row.run.dno);
        told.dedup_by_key(|row| row.run.dno);
        let (agent, connection) = (known.id.clone(), ConnectionId(connection));
        Input::Resume(ResumePage {
            token,
            agent,
            connection,
            spool,
            max_dno: Dno(max_dno),
            last: *last,
            rows: told,
        })
    }

    fn report(&self, what: &Do, token: u32) -> Option<Input<u32>> {
        let Do::Report { which, other, begun, items, done } = what else { panic!("no report") };
        let (agent, mut run) = self.pick(*which)?;
        match other {
            0..=15 => run.dno = Dno(run.dno.0.saturating_sub(1).max(1)),
            16..=31 => run.attempt = Attempt(run.attempt.0 + 1),
            32.. => {}
        }
        let at = self.model.find(run.job, &agent)?;
        let have = self.model.jobs[at.0].runs[at.1].items;
        let from = (have + u64::from(items.0)).saturating_sub(1);
        let sent: Vec<_> = (from..from + u64::from(items.1)).map(item).collect();
        let next = if from <= have { have.max(from + u64::from(items.1)) } else { have };
        let end = |(outcome, started, more): &(u8, u8, u8)| {
            let outcome = Outcome::ALL[usize::from(*outcome) % 7];
            let code = match more % 16 {
                1 | 5 | 9 => FaultCode::Overloaded,
                13 => FaultCode::ShuttingDown,
                _ => FaultCode::Failed,
            };
            let mut fault = Fault::new(code, "no");
            fault.retry_after_ms = (more / 16 % 4 == 1).then_some(if *more > 128 { 2_500 } else { 1_200 });
            let usual = Some(!matches!(outcome, Outcome::Rejected | Outcome::Expired));
            let started = [usual, usual, None, Some(false), Some(true)][usize::from(*started) % 5];
            let items = if *more > 240 { next + 5 } else { next };
            Ending { outcome, started, result: None, fault: Some(fault), items, duration_ms: None }
        };
        let started_ms_ago = begun.then_some(0);
        let done = done.as_ref().map(end);
        let redact = secret(*other);
        let report = RunReport { started_ms_ago, items: sent, done, redact, ..RunReport::about(run) };
        let connection = self.heard_on(&agent, *other);
        Some(Input::Report { token, agent, connection, reports: vec![report] })
    }

    fn cut(&self, which: u8, connection: u8, token: u32) -> Input<u32> {
        let Denied { role, id, certificate } = denied(which);
        let who = Identity::parse(&format!("spiffe://home/{role}/{id}")).unwrap();
        let whole = certificate.is_none();
        Input::Cut { token, connection: self.heard_on(&id, connection), who, whole }
    }

    /// Mostly the newest connection of an agent; sometimes an older one, or one of which nobody has told yet.
    fn heard_on(&self, agent: &PeerId, dice: u8) -> ConnectionId {
        let newest =
            self.model.agents.iter().find(|other| other.id == *agent).map_or(0, |known| known.newest);
        ConnectionId(match dice {
            64..=71 if newest > 0 => newest - 1,
            72..=75 => newest + 1,
            _ => newest.max(1),
        })
    }
}

fn clock(base: i16, set_by: i8) -> Input<u32> {
    let (ahead_ms, ahead_at_boot_ms) = (i64::from(set_by), i64::from(base % 64));
    let anchor = Anchor { boot: None, base_ms: i64::from(base), ahead_ms, ahead_at_boot_ms };
    Input::Clock { anchor, set_by_ms: i64::from(set_by / 2) * 1_000 }
}

/// Paths that nobody may see: mostly none.
fn secret(dice: u8) -> Vec<String> {
    if dice.is_multiple_of(4) { vec![format!("kwargs.k{}", dice / 4 % 3)] } else { Vec::new() }
}

fn offer_answer(dice: u8) -> OfferAnswer {
    let refused = |code| OfferAnswer::Refused(Fault::new(code, "no"));
    match dice % 16 {
        0..=6 => OfferAnswer::Accepted,
        7 => refused(FaultCode::Rejected),
        8 if dice % 64 < 32 => refused(FaultCode::Overloaded),
        8 => refused(FaultCode::ShuttingDown),
        9 => refused(FaultCode::Internal),
        10 => OfferAnswer::Unsendable(Fault::new(FaultCode::TooLarge, "no")),
        11 => OfferAnswer::Lost,
        _ => OfferAnswer::Known(SpoolState::ALL[usize::from(dice / 16) % 5]),
    }
}

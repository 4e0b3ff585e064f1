//! `rp.jobs.preview` with a procedure: what would become of a job on each of its agents. Every agent that is connected is asked
//! with `rp.policy.test`; nothing is stored, and nothing runs. What is not known is said to be unknown, never a yes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redpoll_common::api::agent_method;
use redpoll_common::api::submit::{PreviewAgent, SubmitArguments};
use redpoll_common::api::trial::{
    Judge, PolicyTest, PolicyTestAnswer, Refusal as WholeRefusal, TrialArguments, Verdict,
};
use redpoll_common::identity::Role;
use redpoll_common::ids::PeerId;
use redpoll_common::job::{JobSpec, Offline, Submitter};
use redpoll_common::session::Refusal;
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};
use redpoll_manager_core::jobs::Refusal::AgentsRevoked;
use redpoll_net::peer::{Call, CallError};
use redpoll_net::{CallContext, Peer};
use tokio::time::{Instant, timeout_at};

use super::arguments::{page_size, stopping};
use super::jobs_rows::count;
use super::room::Room;
use super::submit_agents::{Choice, MAX_PAGE, PAGE};
use super::{submit, write};
use crate::catalogue::Judged;
use crate::engine::refusal;
use crate::state::{Manager, parse_agent};

/// Questions of one preview that may be under way, and the fewest when each is large.
const WIDTH: (usize, usize) = (128, 4);
/// Bytes of questions of one preview that may be under way.
const WIDTH_BYTES: usize = 16 * 1024 * 1024;
/// How long an agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long agents are asked for one page; then it is cut, and whoever asked goes on with the next one.
const PAGE_TIME: Duration = Duration::from_secs(20);
/// How long before the caller's time is over the answer leaves, at most.
const MARGIN: Duration = Duration::from_millis(250);
/// Characters that are passed on of an agent's reason, and of a name that it says.
const MAX_TEXT: usize = 400;
const MAX_NAME: usize = 200;

/// What is said of an agent that did not answer.
const NO_ANSWER: &str = "it gave no answer in time";

/// Answers it.
pub(super) async fn preview(
    manager: &Manager,
    call: &CallContext,
    asked: TrialArguments,
) -> Result<Raw, Fault> {
    let TrialArguments { submit: SubmitArguments { agents, spec }, after, limit } = asked;
    let limit = page_size(limit, PAGE, MAX_PAGE)?;
    let after = after.as_deref().map(parse_agent).transpose()?;
    submit::check(&spec, manager)?;
    let agents = Choice::parse(&agents)?.resolve(manager)?;
    let mut room = Room::of(call);
    let map = RawMap::new().uint("total", count(agents.len()));
    let map = map.uint("connected", count(agents.iter().filter(|(_, connected)| *connected).count()));
    let start = after.map_or(0, |after| agents.partition_point(|(agent, _)| *agent <= after));
    let left = agents.get(start..).unwrap_or_default();
    let page = left.get(..limit).unwrap_or(left);
    // what is about all of them is said once, with the first page
    let judged = Judged::of(manager, if start == 0 { &agents } else { page }, &spec).await;
    let map = if start == 0 { about_all(manager, &judged, &agents, &spec, (map, &mut room))? } else { map };
    let refusals = judged.refusals();
    let trial = Trial::new(manager, call, &spec);
    let rows = tokio::select! {
        biased;
        rows = trial.rows(page, &refusals) => rows,
        // a manager that stops waits for nobody's agents
        () = manager.draining() => return Err(stopping()),
    };
    if rows.is_empty() && !left.is_empty() {
        return Err(Fault::new(FaultCode::TimedOut, "no time was left to ask an agent"));
    }
    let (mut shown, mut last) = (Vec::with_capacity(rows.len()), None);
    for row in &rows {
        let raw = write(row)?;
        if !room.take(&raw) {
            if shown.is_empty() {
                return Err(room.too_large("what is said of an agent", &raw));
            }
            break;
        }
        shown.push(raw);
        last = Some(row.id.as_str());
    }
    let next = last.filter(|_| shown.len() < left.len());
    Ok(map.raws("agents", &shown).opt_text("next", next).finish())
}

/// Why the job as a whole would not be stored, and what of it is deprecated.
fn about_all(
    manager: &Manager,
    judged: &Judged<'_>,
    agents: &[(PeerId, bool)],
    spec: &JobSpec,
    (map, room): (RawMap, &mut Room),
) -> Result<RawMap, Fault> {
    let refusal =
        judged.refusal().or_else(|| shut_out(manager, agents)).or_else(|| required(manager, agents, spec));
    let refusal = refusal.map(|fault| {
        // as of a submit, which says that nothing was stored: here nothing would be
        let message = fault.message.replace("; nothing was stored", "");
        WholeRefusal { code: fault.code.to_string(), message: cut(message) }
    });
    let refusal = refusal.map(|refusal| write(&refusal)).transpose()?;
    let deprecated = judged.deprecated();
    let deprecated = deprecated.iter().map(write).collect::<Result<Vec<_>, _>>()?;
    // a frame always has room for these: both are bounded
    for part in refusal.iter().chain(&deprecated) {
        let _taken = room.take(part);
    }
    Ok(map.opt_raw("refusal", refusal.as_ref()).raws("deprecated", &deprecated))
}

/// The refusal of a job that names agents which are revoked.
fn shut_out(manager: &Manager, agents: &[(PeerId, bool)]) -> Option<Fault> {
    let revoked = agents.iter().map(|(agent, _)| agent).filter(|agent| is_revoked(manager, agent));
    let revoked: Vec<PeerId> = revoked.cloned().collect();
    (!revoked.is_empty()).then(|| refusal::fault(&AgentsRevoked { agents: revoked }))
}

fn is_revoked(manager: &Manager, agent: &PeerId) -> bool {
    manager.door.revoked(Role::Agent, agent).is_some()
}

/// The refusal of a job that requires agents which are not there.
fn required(manager: &Manager, agents: &[(PeerId, bool)], spec: &JobSpec) -> Option<Fault> {
    let is_away = |agent: &PeerId| manager.agent(agent.as_str()).is_err();
    let away = match spec.offline {
        Offline::Require => agents.iter().filter(|(agent, _)| is_away(agent)).count(),
        Offline::Wait | Offline::Skip => 0,
    };
    let text = || format!("the job requires all of its agents, and {away} of them are not connected");
    (away > 0).then(|| Fault::new(FaultCode::AgentAway, text()))
}

/// One page of a preview.
struct Trial<'t> {
    manager: &'t Manager,
    spec: &'t JobSpec,
    /// What each agent is asked.
    question: Raw,
    trace: Option<String>,
    until: Instant,
}

impl<'t> Trial<'t> {
    fn new(manager: &'t Manager, call: &CallContext, spec: &'t JobSpec) -> Self {
        let submitter = Submitter::of(&call.caller.identity);
        let question = PolicyTest {
            procedure: spec.procedure.clone(),
            args: spec.args.clone(),
            kwargs: spec.kwargs.clone(),
            // as an offer of the job would say
            roles: manager.roles_of(&submitter),
            operator: Some(submitter.to_string()),
        };
        let now = Instant::now();
        let time = call.deadline.map_or(PAGE_TIME, |deadline| {
            let left = deadline.saturating_duration_since(now);
            left.saturating_sub(MARGIN.min(left / 4)).min(PAGE_TIME)
        });
        Self { manager, spec, question: question.write(), trace: call.trace.clone(), until: now + time }
    }

    /// The rows of a page, or of its beginning, when the time is over before all agents were asked.
    async fn rows(&self, page: &[(PeerId, bool)], refusals: &BTreeMap<&PeerId, &Fault>) -> Vec<PreviewAgent> {
        let (most, fewest) = WIDTH;
        let width = (WIDTH_BYTES / self.question.len().max(1)).clamp(fewest, most);
        let (mut left, mut asked, mut rows) = (page.iter(), FuturesUnordered::new(), Vec::new());
        loop {
            // begun in the order of the page: what is not begun is its end
            while asked.len() < width && Instant::now() < self.until {
                let Some((agent, connected)) = left.next() else { break };
                asked.push(self.row(agent, *connected, refusals.get(agent).copied()));
            }
            match asked.next().await {
                Some(row) => rows.push(row),
                None => break,
            }
        }
        rows.sort_by(|one: &PreviewAgent, other| one.id.cmp(&other.id));
        rows
    }

    async fn row(&self, agent: &PeerId, connected: bool, refusal: Option<&Fault>) -> PreviewAgent {
        let row = match refusal {
            Some(fault) => refused(Judge::Manager, fault.code.to_string(), fault.message.clone()),
            None if is_revoked(self.manager, agent) => {
                refused(Judge::Manager, FaultCode::AgentAway.to_string(), "it is revoked".to_owned())
            }
            None => match self.manager.agent(agent.as_str()) {
                Ok(peer) => self.ask(&peer).await,
                Err(_away) => self.away(),
            },
        };
        PreviewAgent { id: agent.to_string(), connected, ..row }
    }

    async fn ask(&self, peer: &Peer) -> PreviewAgent {
        if peer.terms().is_oldest() {
            return unknown("it speaks the oldest protocol, and cannot be asked");
        }
        // shared by all previews
        let Ok(Ok(_place)) = timeout_at(self.until, self.manager.trials.acquire()).await else {
            return unknown("the manager had no time left to ask it");
        };
        let timeout = self.until.saturating_duration_since(Instant::now()).min(PATIENCE);
        let mut question = Call::new(agent_method::POLICY_TEST, timeout).with_kwargs(self.question.clone());
        question.trace.clone_from(&self.trace);
        // a session that cannot even take the question tells so a second late, which would be too late for the whole page
        let Ok(answer) = timeout_at(self.until, peer.call(question)).await else {
            return unknown(NO_ANSWER);
        };
        match answer {
            Ok(answer) => match answer.decode::<PolicyTestAnswer>() {
                Ok(answer) => self.verdict(answer),
                Err(_unreadable) => unknown("its answer cannot be read"),
            },
            Err(error) => self.no_verdict(&error),
        }
    }

    fn verdict(&self, answer: PolicyTestAnswer) -> PreviewAgent {
        let PolicyTestAnswer { allowed, procedure, rule, user, code, message, retry_after_ms } = answer;
        let code = code.unwrap_or_default();
        let row = if allowed {
            PreviewAgent { verdict: Some(Verdict::WouldRun), user: user.map(name), ..PreviewAgent::default() }
        } else if code == FaultCode::ShuttingDown.as_str() {
            return self.away();
        } else {
            refused(Judge::Agent, name(code), message.unwrap_or_default())
        };
        PreviewAgent { procedure: procedure.map(name), rule: rule.map(name), retry_after_ms, ..row }
    }

    /// No answer is no verdict. What is free text in a fault is not passed on: an agent of another kind may have put arguments
    /// into it.
    fn no_verdict(&self, error: &CallError) -> PreviewAgent {
        match error {
            CallError::Refused(Refusal::Closed(_)) => self.away(),
            CallError::Fault(Fault { code: FaultCode::UnknownMethod, .. }) => {
                unknown("it is older, or of another kind, and cannot be asked")
            }
            CallError::Fault(Fault { code: FaultCode::Other(_), .. }) => unknown("it did not say"),
            CallError::Fault(fault) => unknown(&format!("it did not say; its answer was {}", fault.code)),
            CallError::TimedOut(_) => unknown(NO_ANSWER),
            CallError::Closed(_) => unknown("its session ended before it answered"),
            CallError::Refused(refusal) => unknown(&format!("it was not asked: {refusal}")),
        }
    }

    /// What becomes of a run whose agent is not there, or takes nothing new.
    fn away(&self) -> PreviewAgent {
        let why = match self.spec.offline {
            Offline::Wait => "it cannot be asked; the run would wait for it",
            Offline::Skip => "it cannot be asked; the run would end at once, as expired",
            Offline::Require => "it cannot be asked, and the job requires it",
        };
        PreviewAgent { verdict: Some(Verdict::Away), why: Some(why.to_owned()), ..PreviewAgent::default() }
    }
}

fn refused(by: Judge, code: String, why: String) -> PreviewAgent {
    PreviewAgent {
        verdict: Some(Verdict::WouldRefuse),
        by: Some(by),
        code: Some(code),
        why: Some(cut(why)),
        ..PreviewAgent::default()
    }
}

fn unknown(why: &str) -> PreviewAgent {
    PreviewAgent {
        verdict: Some(Verdict::Unknown),
        why: Some(cut(why.to_owned())),
        ..PreviewAgent::default()
    }
}

fn cut(text: String) -> String {
    shorten(text, MAX_TEXT)
}

fn name(text: String) -> String {
    shorten(text, MAX_NAME)
}

fn shorten(mut text: String, max: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(max) {
        text.truncate(end);
        text.push('…');
    }
    text
}

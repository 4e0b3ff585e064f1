//! An agent's end of its connection: dials, says hello, serves offers, reports.

use std::time::Duration;

use bytes::Bytes;
use redpoll_common::ids::RequestId;
use redpoll_common::job::spool::Input;
use redpoll_common::job::wire::{Cancel, Offer, ReportAnswer, ResumeAnswer};
use redpoll_common::session::handshake::{Dialling, HandshakeError, SPOKEN};
use redpoll_common::session::{CloseReason, Event as SessionEvent, Incoming, OutgoingCall, Session};
use redpoll_common::wire::{AgentHello, Fault, FaultCode, Limits, Raw, codec};

use super::invariant::{Check, Invariant, ensure};
use super::network::Side;
use super::plan::ADMIN;
use super::world::{Event, World};

/// How long a dialler waits for the manager's hello, in milliseconds.
const HELLO_MS: u64 = 5_000;

/// What the agent told the manager.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told {
    Resume(u64),
    Report(u64),
}

/// A connection, as the agent has it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: u64,
    stage: Stage,
    timer_at: Option<u64>,
}

#[derive(Debug)]
enum Stage {
    /// The hello is on its way; `None` while it is taken.
    Hello(Option<Box<Dialling>>),
    Open(Box<Session<Told>>),
}

impl World {
    pub(super) fn plan_dial(&mut self, agent: usize, within_ms: u64) {
        let at = self.calendar.now_ms() + self.dice.between(1, within_ms);
        self.calendar.plan(at, Event::Dial(agent, self.agents[agent].life, self.agents[agent].session));
    }

    /// Dials, unless it has been done since it was planned. An older connection is left alone: its end is noticed late.
    pub(super) fn dial(&mut self, agent: usize, life: u64, session: u64) -> Check {
        let host = &self.agents[agent];
        if (host.life, host.session) != (life, session) || host.spool.is_none() {
            return Ok(());
        }
        if self.manager.jobs.is_none() || self.partitioned(agent).is_some() || self.is_shut_out(agent) {
            self.plan_dial(agent, 3_000);
            return Ok(());
        }
        self.leave(agent)?;
        let connection = self.lay_wire(agent);
        let host = &self.agents[agent];
        let hello = AgentHello {
            id: host.id.to_string(),
            version: "sim".to_owned(),
            credentials: String::new(),
            protocol: Some(SPOKEN),
            caps: Vec::new(),
            limits: Some(Limits::default()),
            instance: None,
            boot: None,
            spool: None,
            epoch: None,
            turn: None,
            policy: None,
            max_dno: host.spool.as_ref().map(|spool| spool.max_dno().0),
            wall_ms: Some(host.wall.at(self.calendar.now_ms())),
        };
        let (dialling, message) = Dialling::start(hello, true);
        self.agents[agent].link =
            Some(Link { connection, stage: Stage::Hello(Some(Box::new(dialling))), timer_at: None });
        self.send(connection, Side::Manager, codec::encode(&message, 1));
        self.calendar.plan(self.calendar.now_ms() + HELLO_MS, Event::HelloLate(agent, connection));
        Ok(())
    }

    /// Gives the connection up that it has.
    fn leave(&mut self, agent: usize) -> Check {
        let host = &mut self.agents[agent];
        let Some(link) = host.link.take() else { return Ok(()) };
        host.session += 1;
        host.under_way.clear();
        self.close_end(link.connection, Side::Agent);
        self.tell_agent(agent, Input::Disconnected)
    }

    pub(super) fn hello_late(&mut self, agent: usize, connection: u64) -> Check {
        let host = &self.agents[agent];
        let waits = host
            .link
            .as_ref()
            .is_some_and(|link| link.connection == connection && matches!(link.stage, Stage::Hello(_)));
        if waits {
            self.leave(agent)?;
            self.plan_dial(agent, 2_000);
        }
        Ok(())
    }

    pub(super) fn agent_hears(&mut self, agent: usize, connection: u64, payload: &Bytes) {
        let now = self.calendar.instant();
        let Some(link) = self.agents[agent].link.as_mut().filter(|link| link.connection == connection) else {
            return;
        };
        match &mut link.stage {
            Stage::Open(session) => session.handle_payload(payload, now),
            Stage::Hello(dialling) => {
                let answer = codec::decode(payload).ok();
                let finished = dialling.take().zip(answer).map(|(dialling, answer)| dialling.finish(answer));
                if let Some(Err(HandshakeError::Refused(_))) = &finished {
                    // it is revoked, and comes again slowly
                    let left = self.leave(agent);
                    self.keep(left);
                    return self.plan_dial(agent, 3_000);
                }
                let Some(Ok(terms)) = finished else {
                    return self.fail(Invariant::NoPanic, "the manager's hello was refused".to_owned());
                };
                link.stage = Stage::Open(Box::new(Session::new(terms, self.dice.next(), now)));
                let host = &mut self.agents[agent];
                host.session += 1;
                host.under_way.clear();
                let connected = self.tell_agent(agent, Input::Connected);
                self.keep(connected);
            }
        }
        let pumped = self.pump_agent(agent);
        self.keep(pumped);
    }

    pub(super) fn agent_lost(&mut self, agent: usize, connection: u64) {
        let done = self.agent_is_lost(agent, connection);
        self.keep(done);
    }

    fn agent_is_lost(&mut self, agent: usize, connection: u64) -> Check {
        match self.agents[agent].link.as_mut().filter(|link| link.connection == connection) {
            Some(Link { stage: Stage::Open(session), .. }) => {
                session.handle_lost(CloseReason::Lost("cut".to_owned()));
                self.pump_agent(agent)
            }
            Some(Link { stage: Stage::Hello(_), .. }) => {
                self.leave(agent)?;
                self.plan_dial(agent, 2_000);
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn agent_session_timer(&mut self, agent: usize, connection: u64) -> Check {
        let now = self.calendar.instant();
        if let Some(link) = self.agents[agent].link.as_mut().filter(|link| link.connection == connection) {
            link.timer_at = None;
            if let Stage::Open(session) = &mut link.stage {
                session.handle_timeout(now);
            }
        }
        Ok(())
    }

    fn agent_session(&mut self, agent: usize) -> Option<(u64, &mut Session<Told>)> {
        match self.agents[agent].link.as_mut()? {
            Link { connection, stage: Stage::Open(session), .. } => Some((*connection, session)),
            Link { stage: Stage::Hello(_), .. } => None,
        }
    }

    /// Does what the session wants done.
    pub(super) fn pump_agent(&mut self, agent: usize) -> Check {
        while let Some((connection, event)) = self
            .agent_session(agent)
            .and_then(|(connection, session)| Some((connection, session.poll_event()?)))
        {
            self.agent_event(agent, connection, event)?;
        }
        while let Some(payload) = self.next_payload(agent) {
            let (connection, payload) = payload;
            self.send(connection, Side::Manager, payload);
        }
        let id = self.agents[agent].id.clone();
        let Some((connection, session)) = self.agent_session(agent) else { return Ok(()) };
        let (queued, asked) = (session.queued_bytes(), session.in_flight().0);
        if let Some(reason) = session.closed().cloned() {
            self.leave(agent)?;
            self.plan_dial(agent, 2_000);
            return ensure(!matches!(reason, CloseReason::Violation(_)), Invariant::NoPanic, || {
                format!("the manager broke the protocol: {reason}")
            });
        }
        let due = session.poll_timeout();
        self.check_agent_queue(&id, queued, asked)?;
        let Some(at) = due.map(|due| self.calendar.ms_of(due)) else { return Ok(()) };
        if let Some(link) = self.agents[agent].link.as_mut()
            && link.timer_at.is_none_or(|planned| at < planned)
        {
            link.timer_at = Some(at);
            self.calendar.plan(at, Event::AgentSession(agent, connection));
        }
        Ok(())
    }

    /// What goes out next, if the connection has room for it. Last words always have.
    fn next_payload(&mut self, agent: usize) -> Option<(u64, Bytes)> {
        let (connection, session) = self.agent_session(agent)?;
        let closed = session.closed().is_some();
        if !closed && !self.has_room(connection, Side::Manager) {
            return None;
        }
        let (connection, session) = self.agent_session(agent)?;
        Some((connection, session.poll_transmit()?))
    }

    fn agent_event(&mut self, agent: usize, connection: u64, event: SessionEvent<Told>) -> Check {
        match event {
            SessionEvent::Request(request) => self.manager_asks(agent, connection, request),
            SessionEvent::Answered(Told::Resume(id), answer) => {
                let answer = answer.map_err(|fault| fault.retry_after_ms);
                let answer = answer.and_then(|data| ResumeAnswer::read(&data).map_err(|_| None));
                self.tell_agent(agent, Input::Resumed(id, answer))
            }
            SessionEvent::Answered(Told::Report(id), answer) => {
                let answer = answer.map_err(|fault| fault.retry_after_ms);
                let answer = answer.and_then(|data| ReportAnswer::read(&data).map_err(|_| None));
                let acks = answer.as_ref().map_or(&[][..], |answer| &answer.acks);
                self.agents[agent].report_answered(id, acks);
                self.tell_agent(agent, Input::Reported(id, answer))
            }
            SessionEvent::Expired(Told::Resume(id)) => {
                self.tally.hit("resume without an answer in time");
                self.tell_agent(agent, Input::Resumed(id, Err(None)))
            }
            SessionEvent::Expired(Told::Report(id)) => {
                self.tally.hit("report without an answer in time");
                self.agents[agent].report_answered(id, &[]);
                self.tell_agent(agent, Input::Reported(id, Err(None)))
            }
            SessionEvent::Closed(..)
            | SessionEvent::Stop(..)
            | SessionEvent::Credit(..)
            | SessionEvent::Notification(_)
            | SessionEvent::Value(..)
            | SessionEvent::Progress(..)
            | SessionEvent::Pong(..) => Ok(()),
        }
    }

    fn manager_asks(&mut self, agent: usize, connection: u64, request: Incoming) -> Check {
        let token = (connection, request.id);
        let broken = |what: &str| format!("the manager sent {what} that cannot be read");
        match request.method.as_str() {
            "rp.job.offer" => {
                let offer = Offer::read(&request.kwargs);
                ensure(offer.is_ok(), Invariant::NoPanic, || broken("an offer"))?;
                let Ok(offer) = offer else { return Ok(()) };
                self.check_spec(&offer)?;
                let within = offer
                    .limits
                    .start_within
                    .map(|within| u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
                let now_ms = self.calendar.now_ms();
                self.agents[agent].offer_came(offer.run.dno, within, now_ms);
                let admin = offer.procedure == ADMIN;
                let verdict = self.verdict(offer.run.job);
                self.tell_agent(agent, Input::Offer { token, offer: Box::new(offer), admin, verdict })
            }
            "rp.job.cancel" => {
                let cancel = Cancel::read(&request.kwargs);
                ensure(cancel.is_ok(), Invariant::NoPanic, || broken("a cancel"))?;
                let Ok(cancel) = cancel else { return Ok(()) };
                self.tell_agent(agent, Input::Cancel { token, cancel })
            }
            other => ensure(false, Invariant::NoPanic, || format!("the manager asked for {other}")),
        }
    }

    /// What policy and registry of an agent say of a job.
    fn verdict(&mut self, job: redpoll_common::job::JobId) -> Result<(), Fault> {
        let refused = self.operators.plan(job).is_some_and(|plan| plan.refused);
        if refused {
            Err(Fault::new(FaultCode::Rejected, "not here"))
        } else if self.dice.percent(self.weather.busy_percent) {
            Err(Fault::new(FaultCode::Overloaded, "busy"))
        } else {
            Ok(())
        }
    }

    pub(super) fn respond_manager(
        &mut self,
        agent: usize,
        connection: u64,
        request: &RequestId,
        answer: Result<Raw, Fault>,
    ) {
        if let Some((current, session)) = self.agent_session(agent)
            && current == connection
        {
            session.respond(request, answer);
        }
    }

    pub(super) fn ask_manager(&mut self, agent: usize, method: &str, kwargs: Raw, told: Told) -> Check {
        let now = self.calendar.instant();
        let Some((_, session)) = self.agent_session(agent).filter(|(_, session)| session.closed().is_none())
        else {
            return Ok(());
        };
        let timeout = Duration::from_secs(20);
        let call = OutgoingCall {
            method: method.to_owned(),
            args: Raw::empty_array(),
            kwargs,
            timeout,
            trace: None,
            operator: None,
            roles: None,
        };
        let refused = session.call(call, told, now).err();
        ensure(refused.is_none(), Invariant::Bounded, || format!("a report cannot be sent: {refused:?}"))
    }
}

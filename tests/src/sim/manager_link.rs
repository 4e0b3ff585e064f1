//! The manager's end of its connections: real handshakes, real sessions, real bytes.

use std::time::Duration;

use bytes::Bytes;
use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::{ClusterName, ConnectionId, PeerId, RequestId};
use redpoll_common::job::wire::{self, Cancel, Report, Resume, RunRef, StateAnswer};
use redpoll_common::job::{Dno, JobId};
use redpoll_common::session::handshake::Accepting;
use redpoll_common::session::terms::{Liveness, Offer as Welcome};
use redpoll_common::session::{CloseReason, Event as SessionEvent, OutgoingCall, Refusal, Session};
use redpoll_common::wire::{Bye, ByeCode, Fault, FaultCode, Limits, Raw, codec};
use redpoll_manager_core::jobs::{Input, Offer, OfferAnswer, ResumePage};

use super::invariant::{Check, Invariant, ensure};
use super::manager::Token;
use super::network::Side;
use super::world::{Event, World};

/// How long a peer may be silent before it is given up, in milliseconds.
pub(super) const DEAD_MS: u64 = 40_000;

/// What the manager asked an agent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask {
    Offer(JobId, Dno),
    Cancel(JobId, Dno),
}

/// One connection, as the manager has it.
#[derive(Debug)]
pub(super) struct ManagerEnd {
    pub(super) agent: PeerId,
    /// `None` before the hello.
    pub(super) session: Option<Session<Ask>>,
    timer_at: Option<u64>,
    /// Somebody has to look what the session wants.
    touched: bool,
    /// The session has ended; its farewell takes a moment more, in which the peer may go on talking.
    pub(super) shut: bool,
}

impl World {
    pub(super) fn manager_hears(&mut self, connection: u64, payload: &Bytes) {
        let now = self.calendar.instant();
        if self.manager.jobs.is_none() {
            return self.close_end(connection, Side::Manager);
        }
        if let Some(end) = self.manager.sessions.get_mut(&connection) {
            end.touched = true;
            if end.shut {
                self.tally.hit("word on a closed connection");
            }
            if let Some(session) = &mut end.session {
                session.handle_payload(payload, now);
            }
            return;
        }
        self.welcome(connection, payload);
    }

    /// The hello of an agent: the newest connection wins, and the older one hears of it a little later.
    fn welcome(&mut self, connection: u64, payload: &Bytes) {
        let Some(agent) = self.network.get(&connection).map(|wire| self.agents[wire.agent].id.clone()) else {
            return;
        };
        let cluster = ClusterName::parse("sim").expect("a name");
        let proved = Identity { cluster, role: Role::Agent, id: agent.clone() };
        let admission =
            codec::decode(payload).ok().and_then(|first| Accepting::new(proved, true).receive(first).ok());
        let Some(admission) = admission else {
            return self.fail(Invariant::NoPanic, format!("the hello of {agent} was refused"));
        };
        let Some(admission) = self.at_the_door(&agent, connection, admission) else { return };
        let terms = Welcome {
            version: "sim".to_owned(),
            manager: "m".to_owned(),
            cluster: "sim".to_owned(),
            limits: Limits::default(),
            liveness: Liveness {
                ping: Some(Duration::from_secs(15)),
                dead: Some(Duration::from_millis(DEAD_MS)),
            },
            wall_ms: self.manager.wall.at(self.calendar.now_ms()),
        };
        let (terms, answer) = admission.accept(&terms);
        self.send(connection, Side::Agent, codec::encode(&answer, terms.protocol));
        let session = Session::new(terms, self.dice.next(), self.calendar.instant());
        // the one that was laid first, also if its hello comes last
        let others = self.manager.sessions.iter().filter(|(_, end)| end.agent == agent && !end.shut);
        let others = others.map(|(id, _)| *id);
        let all: Vec<u64> = others.chain([connection]).collect();
        for old in all.iter().filter(|id| Some(*id) != all.iter().max()) {
            self.tally.hit("connection replaced");
            let at = self.calendar.now_ms() + self.dice.below(1_500);
            self.calendar.plan(at, Event::Replaced(self.manager.life, *old));
        }
        let end = ManagerEnd {
            agent: agent.clone(),
            session: Some(session),
            timer_at: None,
            touched: true,
            shut: false,
        };
        self.manager.sessions.insert(connection, end);
        let up = self.agent_up(&agent, connection);
        self.keep(up);
        let place = self.agents.iter().position(|host| host.id == agent);
        if place.is_some_and(|place| self.is_shut_out(place)) {
            // its certificate ended while it said hello
            self.end_session(connection, ByeCode::Unauthorized);
        }
    }

    /// Says goodbye to a peer.
    pub(super) fn end_session(&mut self, connection: u64, code: ByeCode) {
        if let Some(end) = self.manager.sessions.get_mut(&connection)
            && let Some(session) = &mut end.session
        {
            session.close(Bye::new(code, "simulated"));
            end.touched = true;
        }
    }

    pub(super) fn manager_lost(&mut self, connection: u64) {
        match self.manager.sessions.get_mut(&connection).map(|end| (&mut end.session, &mut end.touched)) {
            Some((Some(session), touched)) => {
                session.handle_lost(CloseReason::Lost("cut".to_owned()));
                *touched = true;
            }
            Some((None, _)) | None => self.close_end(connection, Side::Manager),
        }
    }

    pub(super) fn manager_session_timer(&mut self, life: u64, connection: u64) {
        let now = self.calendar.instant();
        if life == self.manager.life
            && let Some(end) = self.manager.sessions.get_mut(&connection)
            && let Some(session) = &mut end.session
        {
            session.handle_timeout(now);
            (end.timer_at, end.touched) = (None, true);
        }
    }

    /// Does what the sessions want done.
    pub(super) fn pump_manager(&mut self) -> Check {
        while let Some(connection) =
            self.manager.sessions.iter().find(|(_, end)| end.touched).map(|(id, _)| *id)
        {
            self.pump_connection(connection)?;
        }
        Ok(())
    }

    fn pump_connection(&mut self, connection: u64) -> Check {
        let Some(end) = self.manager.sessions.get_mut(&connection) else { return Ok(()) };
        end.touched = false;
        let (agent, shut) = (end.agent.clone(), end.shut);
        if shut {
            return self.check_shut(connection);
        }
        while let Some(event) = self.session_at(connection).and_then(Session::poll_event) {
            self.manager_event(connection, &agent, event)?;
        }
        while (self.has_room(connection, Side::Agent) || self.is_closed(connection))
            && let Some(payload) = self.session_at(connection).and_then(Session::poll_transmit)
        {
            self.send(connection, Side::Agent, payload);
        }
        let Some(session) = self.session_at(connection) else { return Ok(()) };
        if let Some(reason) = session.closed().cloned() {
            self.begin_farewell(connection, matches!(reason, CloseReason::Ours(_)));
            // the news of an end takes its own way through the process
            let at = self.calendar.now_ms() + if self.dice.percent(20) { self.dice.below(3_000) } else { 0 };
            let down = Input::AgentDown {
                agent,
                connection: ConnectionId(connection),
                reason: reason.word().to_owned(),
            };
            self.calendar.plan(at, Event::ManagerInput(self.manager.life, Box::new(down)));
            return ensure(!matches!(reason, CloseReason::Violation(_)), Invariant::NoPanic, || {
                format!("an agent broke the protocol: {reason}")
            });
        }
        let (queued, in_flight) = (session.queued_bytes(), session.in_flight());
        let limit = usize::try_from(session.terms().limits.in_flight).unwrap_or(usize::MAX);
        let due = session.poll_timeout();
        self.plan_session_timer(connection, due);
        self.check_manager_queue(connection, queued)?;
        ensure(in_flight.0 <= limit && in_flight.1 <= limit, Invariant::Bounded, || {
            format!("connection {connection} has {in_flight:?} requests")
        })
    }

    fn is_closed(&mut self, connection: u64) -> bool {
        self.session_at(connection).is_some_and(|session| session.closed().is_some())
    }

    /// What waited for room on a connection may go out.
    pub(super) fn manager_has_room(&mut self, connection: u64) {
        if let Some(end) = self.manager.sessions.get_mut(&connection) {
            end.touched = true;
        }
    }

    fn session_at(&mut self, connection: u64) -> Option<&mut Session<Ask>> {
        self.manager.sessions.get_mut(&connection)?.session.as_mut()
    }

    fn plan_session_timer(&mut self, connection: u64, due: Option<std::time::Instant>) {
        let Some(at) = due.map(|due| self.calendar.ms_of(due)) else { return };
        let Some(end) = self.manager.sessions.get_mut(&connection) else { return };
        if end.timer_at.is_none_or(|planned| at < planned) {
            end.timer_at = Some(at);
            self.calendar.plan(at, Event::ManagerSession(self.manager.life, connection));
        }
    }

    fn manager_event(&mut self, connection: u64, agent: &PeerId, event: SessionEvent<Ask>) -> Check {
        self.check_heard(agent, &event)?;
        match event {
            SessionEvent::Request(request) => self.peer_asks(connection, agent, request),
            SessionEvent::Answered(ask, answer) => {
                self.peer_answers((agent, ConnectionId(connection)), ask, answer)
            }
            SessionEvent::Expired(Ask::Offer(job, dno)) => {
                self.tally.hit("offer without an answer in time");
                let (agent, connection, answer) =
                    (agent.clone(), ConnectionId(connection), OfferAnswer::Lost);
                self.tell_manager(Input::OfferAnswered { agent, connection, job, dno, answer })
            }
            // the next resume settles it: for that there has to be one
            SessionEvent::Expired(Ask::Cancel(..)) => {
                self.end_session(connection, ByeCode::Protocol);
                Ok(())
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

    fn peer_asks(
        &mut self,
        connection: u64,
        agent: &PeerId,
        request: redpoll_common::session::Incoming,
    ) -> Check {
        let token = Token::Peer { connection, request: request.id };
        let agent = agent.clone();
        let broken = |what: &str| format!("{agent} sent {what} that cannot be read");
        match request.method.as_str() {
            "rp.job.resume" => {
                let page = Resume::read(&request.kwargs);
                ensure(page.is_ok(), Invariant::NoPanic, || broken("a page"))?;
                let Ok(Resume { spool, max_dno, last, jobs: rows }) = page else { return Ok(()) };
                let connection = ConnectionId(connection);
                self.resume_came(&agent, connection.0, last);
                self.manager.presence.page_comes(&agent, connection.0);
                let page = ResumePage { token, agent, connection, spool, max_dno, last, rows };
                self.tell_manager(Input::Resume(page))
            }
            "rp.job.report" => {
                let report = Report::read(&request.kwargs);
                ensure(report.is_ok(), Invariant::NoPanic, || broken("a report"))?;
                let Ok(Report { reports }) = report else { return Ok(()) };
                let input = Input::Report { token, agent, connection: ConnectionId(connection), reports };
                // some wait for a place in the line, and are heard when their connection may be over
                if self.dice.percent(5) {
                    let at = self.calendar.now_ms() + self.dice.below(2_000);
                    let heard = Event::ManagerInput(self.manager.life, Box::new(input));
                    self.calendar.plan(at, heard);
                    return Ok(());
                }
                self.tell_manager(input)
            }
            other => ensure(false, Invariant::NoPanic, || format!("{agent} asked for {other}")),
        }
    }

    fn peer_answers(
        &mut self,
        (agent, connection): (&PeerId, ConnectionId),
        ask: Ask,
        answer: Result<Raw, Fault>,
    ) -> Check {
        let agent = agent.clone();
        match ask {
            Ask::Offer(job, dno) => {
                let answer = match answer.map(|data| wire::OfferAnswer::read(&data)) {
                    Ok(Ok(wire::OfferAnswer::Accepted)) => OfferAnswer::Accepted,
                    Ok(Ok(wire::OfferAnswer::Known(state))) => {
                        self.tally.hit(&format!("offer answered {}", state.as_str()));
                        OfferAnswer::Known(state)
                    }
                    Ok(Err(_)) => OfferAnswer::Lost,
                    Err(fault) => OfferAnswer::Refused(fault),
                };
                self.tell_manager(Input::OfferAnswered { agent, connection, job, dno, answer })
            }
            Ask::Cancel(job, dno) => {
                let Some(StateAnswer { state }) = answer.ok().and_then(|data| StateAnswer::read(&data).ok())
                else {
                    return Ok(());
                };
                self.tally.hit(&format!("cancel answered {}", state.as_str()));
                self.tell_manager(Input::CancelAnswered { agent, connection, job, dno, state })
            }
        }
    }

    pub(super) fn respond_peer(&mut self, connection: u64, request: &RequestId, answer: Result<Raw, Fault>) {
        if let Some(end) = self.manager.sessions.get_mut(&connection)
            && let Some(session) = &mut end.session
        {
            session.respond(request, answer);
            end.touched = true;
        }
    }

    /// On its connection or not at all.
    pub(super) fn send_offer(&mut self, offer: Offer) -> Check {
        self.check_offer(&offer)?;
        let (connection, run) = (offer.connection.0, offer.run);
        let mut limits = offer.spec.limits;
        let left = offer.start_by_ms.map(|by| by.saturating_sub(self.count_ms()));
        limits.start_within = left.map(Duration::from_millis);
        let body = wire::Offer {
            run,
            procedure: offer.spec.procedure.clone(),
            args: offer.spec.args.clone(),
            kwargs: offer.spec.kwargs.clone(),
            limits,
            info: offer.spec.info.clone(),
            operator: offer.submitter.to_string(),
            roles: None,
        };
        let refused = self.call_peer(connection, "rp.job.offer", body.write(), Ask::Offer(run.job, run.dno));
        let Some(refusal) = refused else { return Ok(()) };
        let answer = match refusal {
            // the end of the session tells
            Refusal::Closed(_) => return Ok(()),
            Refusal::TooMany { .. } => OfferAnswer::Lost,
            Refusal::TooLarge { .. } | Refusal::TextOnly | Refusal::Unacceptable(_) => {
                self.tally.hit("offer that cannot be sent");
                OfferAnswer::Unsendable(Fault::new(FaultCode::TooLarge, refusal.to_string()))
            }
        };
        let (agent, connection) = (offer.agent, offer.connection);
        self.later(Input::OfferAnswered { agent, connection, job: run.job, dno: run.dno, answer });
        Ok(())
    }

    pub(super) fn send_cancel(&mut self, connection: u64, run: RunRef, grace_ms: Option<u32>) {
        let body = Cancel { run, grace_ms: grace_ms.map(u64::from) };
        let refused =
            self.call_peer(connection, "rp.job.cancel", body.write(), Ask::Cancel(run.job, run.dno));
        if refused.is_some_and(|refusal| !matches!(refusal, Refusal::Closed(_))) {
            self.end_session(connection, ByeCode::Overloaded);
        }
    }

    fn call_peer(&mut self, connection: u64, method: &str, kwargs: Raw, ask: Ask) -> Option<Refusal> {
        let now = self.calendar.instant();
        let end = self.manager.sessions.get_mut(&connection)?;
        end.touched = true;
        let timeout = Duration::from_secs(10);
        let call = OutgoingCall {
            method: method.to_owned(),
            args: Raw::empty_array(),
            kwargs,
            timeout,
            trace: None,
            operator: None,
            roles: None,
        };
        end.session.as_mut()?.call(call, ask, now).err().map(|(_, refusal)| refusal)
    }
}

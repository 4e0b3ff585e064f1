//! What messages between a peer and the manager are called, as precisely as a test wants to lose them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use redpoll_common::api::method;
use redpoll_common::ids::RequestId;
use redpoll_common::job::JobId;
use redpoll_common::job::wire::{Report, ReportAnswer, Resume};
use redpoll_common::wire::flight::{self, Flight};
use redpoll_common::wire::{Message, Notification, Request, Response};

use super::From;

/// Requests that were not answered: their method, and how many runs stand in them if that is a page of a spool.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<BTreeMap<(bool, RequestId), (String, usize)>>);

impl Asked {
    fn note(&self, from: From, request: &Request) {
        let rows = match request.method.as_str() {
            method::JOB_RESUME => Resume::read(&request.kwargs).expect("a page of a spool").jobs.len(),
            _ => 0,
        };
        let key = (from == From::Below, request.id.clone());
        self.lock().insert(key, (request.method.clone(), rows));
    }

    /// What an answer from this side is about.
    fn method(&self, from: From, answer: &Response) -> String {
        let key = (from == From::Manager, answer.id.clone());
        self.lock().get(&key).map_or_else(|| "nothing".to_owned(), |(method, _)| method.clone())
    }

    /// The method of the request that a value, progress, a cancel or credit belongs to.
    fn about(&self, from: From, notification: &Notification) -> Option<String> {
        let of_callee = match notification.kind.as_str() {
            flight::VALUE | flight::PROGRESS => true,
            flight::CANCEL | flight::CREDIT => false,
            _ => return None,
        };
        let flight = Flight::decode(notification).expect("a good notification")?;
        let key = ((from == From::Below) != of_callee, flight.request().clone());
        self.lock().get(&key).map(|(method, _)| method.clone())
    }

    /// How many runs stood in a page of a spool that this message answers.
    pub(super) fn settled(&self, from: From, message: &Message) -> Option<usize> {
        let Message::Response(answer) = message else { return None };
        let (method, rows) = self.lock().get(&(from == From::Manager, answer.id.clone()))?.clone();
        (method == method::JOB_RESUME && answer.result.is_ok()).then_some(rows)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(bool, RequestId), (String, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All names of a message of `who`: the plain one, for reports and their answers one for each thing in them, and for what
/// belongs to a request one with the request's method.
pub(super) fn names(who: &str, from: From, message: &Message, asked: &Asked) -> Vec<String> {
    let mut names = match message {
        Message::AgentHello(_) | Message::ManagerHello(_) => vec!["hello".to_owned()],
        Message::Ping(_) => vec!["ping".to_owned()],
        Message::Pong(_) => vec!["pong".to_owned()],
        Message::Bye(_) => vec!["bye".to_owned()],
        Message::Request(request) => {
            asked.note(from, request);
            let of = |what: &str| format!("{}{what}", request.method);
            let mut names = vec![of("")];
            if request.method == method::JOB_REPORT {
                names.extend(in_report(request).into_iter().map(of));
            }
            names
        }
        Message::Response(answer) => {
            let method = asked.method(from, answer);
            let mut names = vec![format!("answer to {method}")];
            if method == method::JOB_REPORT && acknowledges_an_end(answer) {
                names.push(format!("answer to {method} with an end"));
            }
            names
        }
        Message::Notification(notification) => {
            let mut names = vec![notification.kind.clone()];
            names.extend(asked.about(from, notification).map(|of| format!("{} of {of}", notification.kind)));
            names
        }
        Message::Unknown(kind) => vec![format!("kind {kind}")],
    };
    for name in &mut names {
        *name = format!("{who}: {name}");
    }
    names
}

fn in_report(request: &Request) -> Vec<&'static str> {
    let report = Report::read(&request.kwargs).expect("a report");
    let mut names = Vec::new();
    names.extend(report.reports.iter().any(|run| run.started_ms_ago.is_some()).then_some(" with a start"));
    names.extend(report.reports.iter().any(|run| !run.items.is_empty()).then_some(" with items"));
    names.extend(report.reports.iter().any(|run| run.progress.is_some()).then_some(" with progress"));
    names.extend(report.reports.iter().any(|run| run.done.is_some()).then_some(" with an end"));
    names
}

/// The items in a message: their jobs, and their numbers. Jobs here have one attempt.
pub(super) fn reported(message: &Message) -> Vec<(JobId, u64)> {
    let Message::Request(request) = message else { return Vec::new() };
    if request.method != method::JOB_REPORT {
        return Vec::new();
    }
    let report = Report::read(&request.kwargs).expect("a report");
    report.reports.iter().flat_map(|run| run.items.iter().map(|item| (run.run.job, item.n))).collect()
}

fn acknowledges_an_end(answer: &Response) -> bool {
    let acks = answer.result.as_ref().ok().map(|data| ReportAnswer::read(data).expect("an answer").acks);
    acks.is_some_and(|acks| acks.iter().any(|ack| ack.done))
}

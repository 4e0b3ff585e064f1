//! `rpctl events`: the public history, and how it goes on.

use redpoll_common::api::events::{EventList, EventListArguments, EventSummary};
use redpoll_common::api::method;
use redpoll_common::wire::Raw;

use super::jobs::JobsQuestion;
use super::verify::VerifyEvents;
use super::{Lasting, Patient, Question, decoded, elements, encoded, interrupted, queue_words};
use crate::cli::{EventsArgs, EventsVerb};
use crate::exit::Exit;
use crate::feed::{Feed, Step};
use crate::link::{Link, refused};
use crate::output::{Format, Output, OutputError, json, terminated, yaml};
use crate::report::{Report, Target};
use crate::steady::Steady;
use crate::times;
use crate::value::{Shown, decode};
use crate::{Ended, Stop, sanitize};

/// Events in one answer, at most.
const PAGE: u64 = 1000;
/// Events that are shown unless more are asked for.
const DEFAULT_LIMIT: u64 = 500;
const HEADERS: [&str; 7] = ["N", "TIME", "TYPE", "AGENT", "JOB", "OUTCOME", "DETAIL"];

/// What is wanted of the history.
#[derive(Debug)]
pub(super) struct ListEvents {
    arguments: EventListArguments,
    limit: u64,
}

/// The same, and what comes later.
#[derive(Debug)]
pub(super) struct FollowEvents {
    arguments: EventListArguments,
    limit: Option<u64>,
}

pub(super) fn read(args: &EventsArgs) -> Result<Question, Stop> {
    if let Some(EventsVerb::Verify { heads }) = &args.verb {
        return Ok(Question::Jobs(JobsQuestion::Verify(VerifyEvents::new(heads))));
    }
    let kind = args.kind.clone();
    let arguments = EventListArguments { since: args.since, recent: args.recent, kind, limit: None };
    if args.follow {
        return Ok(Question::Lasting(Lasting::Events(FollowEvents { arguments, limit: args.limit })));
    }
    let limit = args.limit.unwrap_or(DEFAULT_LIMIT);
    // without a number the newest: of a long history nobody wants the beginning
    let recent = match (args.recent, args.since) {
        (Some(recent), _) => Some(args.limit.unwrap_or(u64::MAX).min(recent.into())),
        (None, Some(_)) => None,
        (None, None) => Some(limit),
    };
    // the newest come in one answer: a manager finds them from the end
    if recent.is_some_and(|recent| recent > PAGE) {
        let why = format!("of the newest a manager tells {PAGE} at most");
        let help =
            "give --since N to list those after a number; --since 0 begins with the oldest that is kept";
        return Err(Report::usage(format!("--limit {limit} is too large without --since"), why, help).into());
    }
    let recent = recent.and_then(|recent| u32::try_from(recent).ok());
    let arguments = EventListArguments { recent, ..arguments };
    Ok(Question::Jobs(JobsQuestion::Events(ListEvents { arguments, limit })))
}

impl ListEvents {
    pub(super) async fn run(&self, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        let target = Target::Manager { method: method::EVENTS_LIST };
        let mut arguments = self.arguments.clone();
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        let mut left = self.limit;
        let last = loop {
            let of_page = u32::try_from(left.min(PAGE)).unwrap_or(u32::MAX);
            arguments.limit = Some(of_page).filter(|_| arguments.recent.is_none());
            let call = link.request(method::EVENTS_LIST, encoded(&arguments)?);
            let answer = link.ask(call, &target, verbose).await?;
            let page: EventList = decoded(&answer, method::EVENTS_LIST)?;
            left = left.saturating_sub(u64::try_from(page.events.len()).unwrap_or(u64::MAX));
            page.events.iter().for_each(|event| note_lost(event.lost, event.n, output));
            note_lost(page.lost, page.last, output);
            rows.extend(page.events.iter().map(row));
            values.extend(elements(&answer, "events"));
            // a page may hold nothing that matches although more follows
            if let Some(recent) = arguments.recent {
                let all = u32::try_from(page.events.len()).is_ok_and(|came| came >= recent);
                // of one type there is more also where the manager gave up looking, with as many as were wanted or with fewer
                match (page.more, all && arguments.kind.is_none()) {
                    (true, true) => output.note("there are older ones; --since 0 begins with the oldest that is kept"),
                    // no more fits an answer, or what is wanted is so rare that the manager gave up
                    (true, false) => output.note("there may be older ones, for which the manager did not look any further; --since 0 begins with the oldest that is kept"),
                    (false, _) => {}
                }
                break None;
            }
            let progressed = arguments.since.is_none_or(|since| page.last > since);
            arguments.since = Some(page.last);
            if !page.more || left == 0 || !progressed {
                break Some(page.last).filter(|_| page.more);
            }
        };
        if output.format() == Format::Table {
            output.table(&HEADERS, rows)?;
        } else {
            let shown: Vec<_> = values.iter().map(Shown).collect();
            output.list(&[], &shown, |_| Vec::new())?;
        }
        if let Some(last) = last {
            output.note(&format!("there are more; go on with --since {last}, or give --limit N"));
        }
        Ok(Exit::Good)
    }
}

impl FollowEvents {
    pub(super) async fn run(&self, patient: Patient<'_>) -> Ended {
        let Patient { settings, output, interrupts, deadline } = patient;
        let (steady, last) = tokio::select! {
            biased;
            _ = interrupts.next() => return Err(interrupted("while connecting; nothing was sent").into()),
            begun = async {
                let steady = Steady::connect(settings, deadline).await?;
                let last = self.begin(&steady).await?;
                Ok::<_, Stop>((steady, last))
            } => begun?,
        };
        let mut feed = Feed::new(steady);
        let mut told =
            Told { last, kind: self.arguments.kind.clone(), count: 0, loss_told: false, asked_again: false };
        let ended = loop {
            let last = told.last;
            let kwargs = || encoded(&EventListArguments { since: last, ..self.arguments.clone() });
            let step = tokio::select! {
                biased;
                _ = interrupts.next() => break Err(told.stopped(Exit::Interrupted, "interrupted").into()),
                () = Steady::late(deadline) => {
                    break Err(told.stopped(Exit::TimedOut, "the time of --timeout is over").into());
                }
                step = feed.step(method::EVENTS_FOLLOW, kwargs) => step,
            };
            match step.and_then(|step| told.step(step, output, settings.verbose > 0)) {
                Ok(true) => {}
                Ok(false) => break Ok(Exit::Good),
                Err(stop) => break Err(stop),
            }
            if self.limit.is_some_and(|limit| told.count >= limit) {
                break Ok(Exit::Good);
            }
        };
        OutputError::unless_closed(told.close(output))?;
        feed.steady.close().await;
        ended
    }

    /// The event to begin after, if it is known. Of one type it is asked for: perhaps none comes that would say it.
    async fn begin(&self, steady: &Steady<'_>) -> Result<Option<u64>, Stop> {
        if self.arguments.since.is_some() || self.arguments.kind.is_none() {
            return Ok(self.arguments.since);
        }
        let newest = encoded(&EventListArguments { recent: Some(1), ..EventListArguments::default() })?;
        let answer =
            steady.ask_once(method::EVENTS_LIST, newest, steady.settings().config.call.timeout).await;
        Ok(answer.and_then(|answer| answer.decode::<EventList>().ok()).map(|page| page.last))
    }
}

/// What was printed so far.
struct Told {
    /// The newest event that is known.
    last: Option<u64>,
    /// The types that are wanted, if not all.
    kind: Option<String>,
    count: u64,
    /// The loss of the connection was told.
    loss_told: bool,
    /// It was asked for again, and nothing has come yet: a manager that stops opens a stream, too.
    asked_again: bool,
}

impl Told {
    /// Takes what came; `false` at the end.
    fn step(&mut self, step: Step, output: &mut Output, verbose: bool) -> Result<bool, Stop> {
        let has_come = matches!(step, Step::Value(_) | Step::Answer(_));
        if has_come && std::mem::take(&mut self.asked_again) {
            self.loss_told = false;
            let how = match self.last {
                Some(last) => format!("it goes on after event {last}"),
                None => "events in between may be missing, as none had come before".to_owned(),
            };
            output.note(&format!("connected again; {how}"));
        }
        match step {
            Step::Opened { again } => self.asked_again = again && self.loss_told,
            Step::Value(data) if data.is_nil() => {}
            Step::Value(data) => self.event(&data, output)?,
            Step::Answer(_) => return Ok(false),
            Step::Fault(fault) => {
                let target = Target::Manager { method: method::EVENTS_FOLLOW };
                return Err(Report::of_fault(&fault, &target, verbose).into());
            }
            Step::Refused(refusal) => return Err(refused(method::EVENTS_FOLLOW, &refusal).into()),
            Step::Lost(why) => {
                if !std::mem::replace(&mut self.loss_told, true) {
                    output
                        .note(&format!("the connection to the manager was lost ({why}); rpctl tries again"));
                }
            }
            Step::Errand(_) => {}
        }
        Ok(true)
    }

    fn event(&mut self, data: &Raw, output: &mut Output) -> Result<(), Stop> {
        let event: EventSummary = decoded(data, method::EVENTS_FOLLOW)?;
        if self.last.is_some_and(|last| event.n <= last) {
            return Ok(());
        }
        note_lost(event.lost, event.n, output);
        self.last = Some(event.n);
        let first = self.count == 0;
        self.count += 1;
        let value = decode(data);
        let text = match output.format() {
            // columns cannot be aligned with what has not come yet
            Format::Table => {
                let cells: Vec<_> = row(&event).iter().map(|cell| sanitize::line(cell)).collect();
                let cells: Vec<_> = cells.into_iter().filter(|cell| !cell.is_empty()).collect();
                format!("{}\n", cells.join("  "))
            }
            Format::Jsonl => terminated(json(&Shown(&value), false)?),
            Format::Json => {
                let before = if first { "[\n  " } else { ",\n  " };
                format!("{before}{}", json(&Shown(&value), false)?)
            }
            Format::Yaml => terminated(yaml(&[Shown(&value)])?),
        };
        Ok(output.bytes(text.as_bytes())?)
    }

    /// Makes the document whole.
    fn close(&self, output: &mut Output) -> Result<(), OutputError> {
        match (output.format(), self.count) {
            (Format::Json | Format::Yaml, 0) => output.bytes(b"[]\n"),
            (Format::Json, _) => output.bytes(b"\n]\n"),
            (Format::Yaml | Format::Jsonl | Format::Table, _) => Ok(()),
        }
    }

    fn stopped(&self, exit: Exit, what: &str) -> Report {
        let kind = self.kind.as_ref().map(|kind| format!(" --type '{}'", kind.replace('\'', "'\\''")));
        let again = format!("rpctl events --follow{}", kind.unwrap_or_default());
        let help = match self.last {
            Some(last) => format!("go on where it was: {again} --since {last}"),
            None => format!("follow again: {again}"),
        };
        Report::new(exit, what, "the history goes on without rpctl", help)
    }
}

/// Says what is missing before an event.
fn note_lost(lost: Option<u64>, n: u64, output: &mut Output) {
    if let Some(lost) = lost {
        output.note(&format!(
            "{lost} events before {n} are not kept any more (jobs.keep_events of the manager)"
        ));
    }
}

fn row(event: &EventSummary) -> Vec<String> {
    let mut detail = event.detail.clone().unwrap_or_default();
    if let Some(attempt) = event.attempt.filter(|attempt| *attempt > 1) {
        detail = format!("attempt {attempt} {detail}");
    }
    if let Some(queue) = &event.queue {
        detail = format!("{detail} queue {}", queue_words(queue));
    }
    if let Some(data) = &event.data {
        let shown = json(&Shown(&decode(data)), false).unwrap_or_default();
        detail = format!("{detail} {shown}");
    }
    vec![
        event.n.to_string(),
        times::local(event.at_ms),
        event.kind.clone(),
        event.agent.clone().unwrap_or_default(),
        event.job.clone().unwrap_or_default(),
        event.outcome.clone().unwrap_or_default(),
        detail.trim().to_owned(),
    ]
}

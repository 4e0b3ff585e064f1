//! `rpctl events verify`: whether the history is as it was written, and what has to be written down to know it later.

use redpoll_common::api::events::{EventFlaw, EventPoint, EventVerified, EventVerifyArguments};
use redpoll_common::api::method;
use serde::Serialize;

use super::{decoded, encoded};
use crate::cli::Head;
use crate::exit::Exit;
use crate::link::Link;
use crate::output::{Format, Output, OutputError};
use crate::report::{Report, Target};
use crate::{Ended, Stop};

/// What is to be checked.
#[derive(Debug)]
pub(super) struct VerifyEvents {
    /// In the order of their numbers.
    heads: Vec<Head>,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Found {
    /// Everything is as it was written, as far as the heads that were given tell.
    ok: bool,
    /// The first event that was checked, if any was.
    first: Option<u64>,
    /// The last one that fits.
    last: u64,
    checked: u64,
    /// Events up to this number have no hashes.
    begun: u64,
    /// What to write down: `N:HASH` of the last event that fits.
    head: String,
    flaw: Option<EventFlaw>,
    heads: Vec<Compared>,
}

/// A head that was given.
#[derive(Debug, Serialize)]
struct Compared {
    n: u64,
    hash: String,
    /// Whether the history has it; nothing when that cannot be seen.
    fits: Option<bool>,
}

impl VerifyEvents {
    pub(super) fn new(heads: &[Head]) -> Self {
        let mut heads = heads.to_vec();
        heads.sort();
        heads.dedup();
        Self { heads }
    }

    pub(super) async fn run(&self, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        let mut walk = Walk::default();
        for head in &self.heads {
            walk.go(link, Some(head.n), verbose).await?;
            walk.compare(head);
        }
        walk.go(link, None, verbose).await?;
        let found = walk.found();
        let printed = if output.format() == Format::Table {
            output.table(&[], rows(&found))
        } else {
            output.document(&found)
        };
        OutputError::unless_closed(printed)?;
        match &found.flaw {
            None => Ok(Exit::Good),
            Some(flaw) => Err(broken(flaw).into()),
        }
    }
}

/// Goes through the history, part by part.
#[derive(Debug, Default)]
struct Walk {
    /// The point before the first event that was checked, and the last answer.
    from: Option<EventPoint>,
    last: Option<EventVerified>,
    checked: u64,
    /// The newest head that fits.
    known: u64,
    compared: Vec<Compared>,
    flaw: Option<EventFlaw>,
}

impl Walk {
    /// Up to an event, or to the end. Nothing once something was found.
    async fn go(&mut self, link: &Link, until: Option<u64>, verbose: bool) -> Result<(), Stop> {
        let target = Target::Manager { method: method::EVENTS_VERIFY };
        while self.flaw.is_none() {
            let after = self.last.as_ref().map(|last| last.last.clone());
            let is_there = |until| after.as_ref().is_some_and(|after| after.n >= until);
            let is_over = self.last.as_ref().is_some_and(|last| !last.more);
            if until.is_some_and(is_there) || is_over {
                return Ok(());
            }
            let asked = EventVerifyArguments { after, until, limit: None };
            let call = link.request(method::EVENTS_VERIFY, encoded(&asked)?);
            let answer = link.ask(call, &target, verbose).await?;
            let part: EventVerified = decoded(&answer, method::EVENTS_VERIFY)?;
            self.checked += part.checked;
            self.from.get_or_insert_with(|| part.from.clone());
            self.flaw.clone_from(&part.flaw);
            // a manager that comes no further would be asked for ever
            let stands = part.checked == 0 && self.last.as_ref().is_some_and(|last| last.last == part.last);
            self.last = Some(part);
            if stands {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Compares a head with what is at its number now.
    fn compare(&mut self, head: &Head) {
        let Some(last) = &self.last else { return };
        let Head { n, hash } = head.clone();
        let at = [&last.last, &last.from].into_iter().find(|point| point.n == n);
        // before the first is what is deleted, or was never chained
        let fits = match at {
            Some(point) if n > last.begun => Some(point.hash.eq_ignore_ascii_case(&hash)),
            Some(_) | None => (self.flaw.is_none() && last.last.n < n).then_some(false),
        };
        if fits == Some(true) {
            self.known = n;
        } else if fits == Some(false) && self.flaw.is_none() {
            self.flaw = Some(if last.last.n < n {
                let (first, kind) = (last.last.n + 1, "truncated".to_owned());
                let message =
                    format!("the history was cut off: events {first} to {n} were written, and are missing");
                EventFlaw { n: first, kind, message }
            } else {
                let first = self.known.max(self.from.as_ref().map_or(0, |from| from.n)) + 1;
                let message = format!(
                    "event {n} has another hash than was written down: one of the events {first} to {n} was changed, \
                     and the hashes were computed anew"
                );
                EventFlaw { n: first, kind: "rewritten".to_owned(), message }
            });
        }
        self.compared.push(Compared { n, hash, fits });
    }

    fn found(self) -> Found {
        let from = self.from.map_or(0, |from| from.n);
        let (last, begun) = self.last.map_or_else(Default::default, |last| (Some(last.last), last.begun));
        let last = last.unwrap_or(EventPoint { n: 0, hash: String::new() });
        Found {
            ok: self.flaw.is_none(),
            first: (self.checked > 0).then_some(from + 1),
            last: last.n,
            checked: self.checked,
            begun,
            head: format!("{}:{}", last.n, last.hash),
            flaw: self.flaw,
            heads: self.compared,
        }
    }
}

fn rows(found: &Found) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row("history", if found.ok { "as it was written" } else { "NOT as it was written" }.to_owned());
    row(
        "events that fit",
        match found.first {
            Some(first) => format!("{first} to {} ({})", found.last, found.checked),
            None => "none".to_owned(),
        },
    );
    if found.begun > 0 {
        row("without hashes", format!("events up to {}, from before there were any", found.begun));
    }
    row("head", found.head.clone());
    for head in &found.heads {
        let word = match head.fits {
            Some(true) => "fits",
            Some(false) => "DOES NOT FIT",
            None => "cannot be compared: it is not kept any more, or comes after what is wrong",
        };
        row(&format!("head {}", head.n), word.to_owned());
    }
    if let Some(flaw) = &found.flaw {
        row("first wrong", flaw.n.to_string());
        row("what", flaw.message.clone());
    }
    rows
}

fn broken(flaw: &EventFlaw) -> Report {
    Report::new(
        Exit::Failed,
        format!("the history is not as it was written, from event {} on", flaw.n),
        flaw.message.clone(),
        "keep the manager's jobs.db and its backups as they are and find out who could write it; jobs go on meanwhile",
    )
}

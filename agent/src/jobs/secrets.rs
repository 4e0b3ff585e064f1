//! What nobody may see of runs, as their procedures said when they were accepted. It is on disk with the runs: their next life hides
//! what was promised then, and what the procedures say now besides.

use std::collections::{BTreeMap, BTreeSet};

use redpoll_common::job::Dno;
use redpoll_common::job::secret::{bounded, everything, is_everything};
use redpoll_common::job::spool::{Image, ImageRow, Record};
use redpoll_common::job::wire::Offer;
use redpoll_common::wire::Raw;
use redpoll_common::words::Words;
use redpoll_exec::procedures::mask;
use redpoll_net::CallContext;
use redpoll_net::service::Mask;
use redpoll_schema::{ArgumentRedaction, MASK};

use super::runner::Runner;
use crate::offered::Current;

/// What nobody may see of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Secret {
    /// What its procedure said when it was accepted: paths with their roots.
    paths: Vec<String>,
    /// What leads to something in its arguments; the report of its end tells the manager.
    pub(super) arguments: Vec<String>,
}

impl Secret {
    /// Of an offer that is taken now.
    fn of_offer(offer: &Offer, offered: &Current) -> Self {
        let paths = bounded(offered.redact(&offer.procedure).unwrap_or_default());
        Self { arguments: leading(&paths, offer), paths }
    }

    /// Of a run from before the start: what was kept, and what its procedure says now. Of a run of which nothing was kept that is all
    /// there is, and everything when the procedure is gone.
    fn of_row(row: &ImageRow, offered: &Current) -> Self {
        let kept = row.redact.clone().unwrap_or_default();
        let mut arguments = row.secret.clone().unwrap_or_default();
        if let Some((offer, _)) = &row.received {
            arguments.extend(leading(&kept, offer));
            match offered.redact(&offer.procedure) {
                Some(paths) => arguments.extend(leading(&bounded(paths), offer)),
                None if row.redact.is_none() && row.secret.is_none() => arguments.extend(everything()),
                None => {}
            }
        }
        let mut seen = BTreeSet::new();
        arguments.retain(|path| seen.insert(path.clone()));
        Self { paths: kept, arguments: bounded(arguments) }
    }

    fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.arguments.is_empty()
    }

    /// Masks what a run gives that is started with another definition than it was accepted with; `None` when there is nothing to mask
    /// beyond what that one says.
    pub(super) fn mask(&self, call: &CallContext, offered: &Current) -> Option<Mask> {
        if self.paths.is_empty() || offered.redact(&call.method).is_some_and(|now| now == self.paths) {
            return None;
        }
        if is_everything(&self.paths) {
            return Some(Mask::new(|_value| Raw::text(MASK)).with_words(Words::everything()));
        }
        let words = ArgumentRedaction::new(&self.paths).words(&call.args, &call.kwargs);
        // a path is the same for what goes in and what comes out
        let paths: Vec<&str> = self.paths.iter().filter_map(|path| path.strip_prefix("kwargs.")).collect();
        Some(mask(&paths, words))
    }
}

/// The paths, when they lead to something in the arguments of an offer, else none.
fn leading(paths: &[String], offer: &Offer) -> Vec<String> {
    let redaction = ArgumentRedaction::new(paths);
    if redaction.is_empty() {
        return Vec::new();
    }
    let (args, kwargs) = redaction.mask(&offer.args, &offer.kwargs);
    let is_secret = (&args, &kwargs) != (&offer.args, &offer.kwargs);
    if is_secret { paths.to_vec() } else { Vec::new() }
}

/// What nobody may see of runs from before the start.
pub(super) fn of_image(image: &Image, offered: &Current) -> BTreeMap<Dno, Secret> {
    let of_run = |(dno, row): (&Dno, &ImageRow)| (*dno, Secret::of_row(row, offered));
    image.rows().iter().map(of_run).filter(|(_, secret)| !secret.is_empty()).collect()
}

impl Runner {
    /// Remembers what nobody may see of runs that come in, until they are gone, and has it written down with them. Gives those whose
    /// arguments must not be kept longer than they are.
    pub(super) fn keep_secrets(&mut self, records: &mut [Record]) -> Vec<Dno> {
        let offered = self.offered.now();
        let mut secret = Vec::new();
        for record in records {
            match record {
                Record::Received { offer, redact, .. } => {
                    let found = Secret::of_offer(offer, &offered);
                    *redact = Some(found.paths.clone());
                    if !found.arguments.is_empty() {
                        secret.push(offer.run.dno);
                    }
                    if !found.is_empty() {
                        self.secrets.insert(offer.run.dno, found);
                    }
                }
                Record::Starting { run, redact } | Record::Done { run, redact, .. } => {
                    let found = self.secrets.get(&run.dno).map(|secret| secret.arguments.clone());
                    *redact = found.filter(|paths| !paths.is_empty());
                }
                Record::Gone { dno } => _ = self.secrets.remove(dno),
                Record::Floor { .. }
                | Record::Running { .. }
                | Record::Items { .. }
                | Record::Acked { .. } => {}
            }
        }
        secret
    }
}

#[cfg(test)]
mod tests {
    use redpoll_common::job::secret::{MAX_SECRET_BYTES, MAX_SECRET_PATHS};

    use super::*;

    #[test]
    fn more_paths_than_may_be_kept_hide_everything() {
        let path = |n: usize| format!("kwargs.{n:04}");
        let many = |count: usize| (0..count).map(path).collect::<Vec<_>>();
        assert_eq!(bounded(many(MAX_SECRET_PATHS)), many(MAX_SECRET_PATHS));
        assert_eq!(bounded(many(MAX_SECRET_PATHS + 1)), everything());
        let long = format!("kwargs.{}", "x".repeat(MAX_SECRET_BYTES - 7));
        assert_eq!(bounded(vec![long.clone()]), std::slice::from_ref(&long));
        assert_eq!(bounded(vec![long, "kwargs.y".to_owned()]), everything());
    }
}

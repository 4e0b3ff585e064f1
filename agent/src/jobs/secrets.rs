//! What nobody may see of the arguments of runs: the report of their end tells the manager.

use std::collections::BTreeMap;

use redpoll_common::job::Dno;
use redpoll_common::job::spool::{Image, ImageRow, Record};

use super::runner::Runner;
use crate::offered::Current;

/// What nobody may see of the arguments of runs from before the start. What the procedure said then is not kept: it is what it
/// says now, and everything when it is gone.
pub(super) fn of_image(image: &Image, offered: &Current) -> BTreeMap<Dno, Vec<String>> {
    let of_run = |(dno, row): (&Dno, &ImageRow)| {
        let (offer, _) = row.received.as_ref()?;
        let paths = offered.secrets_of_before(&offer.procedure, &offer.args, &offer.kwargs);
        (!paths.is_empty()).then_some((*dno, paths))
    };
    image.rows().iter().filter_map(of_run).collect()
}

impl Runner {
    /// Remembers what nobody may see of the arguments of runs that come in, until they are gone. Gives those runs: their arguments
    /// must not be kept longer than they are.
    pub(super) fn note_secrets(&mut self, records: &[Record]) -> Vec<Dno> {
        let offered = self.offered.now();
        let mut secret = Vec::new();
        for record in records {
            match record {
                Record::Received { offer, .. } => {
                    let paths = offered.secrets(&offer.procedure, &offer.args, &offer.kwargs);
                    if !paths.is_empty() {
                        secret.push(offer.run.dno);
                        self.secrets.insert(offer.run.dno, paths);
                    }
                }
                Record::Gone { dno } => _ = self.secrets.remove(dno),
                Record::Floor { .. }
                | Record::Starting { .. }
                | Record::Running { .. }
                | Record::Items { .. }
                | Record::Acked { .. }
                | Record::Done { .. } => {}
            }
        }
        secret
    }
}

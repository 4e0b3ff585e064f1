//! What an offer takes of a rule's rate: it is given back where nothing of the run begins.

use std::sync::Arc;

use redpoll_common::job::Dno;
use redpoll_common::job::spool::{self as rules, NotSpawned};
use redpoll_common::job::wire::Offer;
use redpoll_common::wire::Fault;

use super::Token;
use super::runner::Runner;
use crate::clock::now;
use crate::gate::Leave;
use crate::offered::Offered;

/// One of a rate; given back when this is dropped, unless it was used.
#[derive(Debug)]
pub(super) struct Taken {
    offered: Arc<Offered>,
    leave: Option<Leave>,
}

impl Taken {
    pub(super) fn new(offered: Arc<Offered>, leave: Leave) -> Self {
        Self { offered, leave: Some(leave) }
    }

    /// Something ran.
    fn used(mut self) {
        self.leave = None;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(leave) = self.leave.take() {
            self.offered.gate().give_back(&leave);
        }
    }
}

impl Runner {
    /// A run that is offered. What there is no room for, or was offered before, takes nothing of a rate.
    pub(super) fn offer(
        &mut self,
        (token, offer): (Token, Box<Offer>),
        admin: bool,
        verdict: Result<Taken, Box<Fault>>,
    ) {
        let dno = offer.run.dno;
        let is_new = dno > self.machine.max_dno();
        let (taken, verdict) = match verdict {
            Ok(taken) => (Some(taken), Ok(())),
            Err(fault) => (None, Err(*fault)),
        };
        self.machine.handle(rules::Input::Offer { token, offer, admin, verdict }, now());
        if is_new && self.machine.is_live(dno) {
            self.taken.extend(taken.map(|taken| (dno, taken)));
        }
    }

    /// It has begun: what it took is used.
    pub(super) fn begun(&mut self, dno: Dno) {
        if let Some(taken) = self.taken.remove(&dno) {
            taken.used();
        }
    }

    /// Nothing of it has begun, or will.
    pub(super) fn not_begun(&mut self, dno: Dno, why: NotSpawned) {
        drop(self.taken.remove(&dno));
        self.machine.handle(rules::Input::NotSpawned(dno, why), now());
    }
}

//! What the manager of the tests offers.

use redpoll_common::job::wire::{Offer, RunRef};
use redpoll_common::job::{Attempt, Dno, JobId, Limits};
use redpoll_common::wire::Raw;
use serde_json::{Value, json};

/// A run that no other test has: an agent looks at all processes of the machine for what is left of its runs.
pub(crate) fn run(dno: u64) -> RunRef {
    let job = (u128::from(std::process::id()) << 64 | u128::from(dno + 1000)).to_be_bytes();
    RunRef { job: JobId::from_bytes(job), attempt: Attempt(1), dno: Dno(dno) }
}

pub(crate) fn offer(dno: u64, procedure: &str, args: Value, kwargs: Value) -> Offer {
    Offer {
        run: run(dno),
        procedure: procedure.into(),
        args: Raw::encode(&args).unwrap(),
        kwargs: Raw::encode(&kwargs).unwrap(),
        limits: Limits::default(),
        info: Raw::nil(),
        operator: "alice".into(),
        roles: None,
    }
}

/// A shell that runs a script.
pub(crate) fn shell(dno: u64, script: &str) -> Offer {
    offer(dno, "exec.run", json!(["/bin/sh", "-c", script]), json!({}))
}

pub(crate) fn limited(offer: Offer, limits: Limits) -> Offer {
    Offer { limits, ..offer }
}

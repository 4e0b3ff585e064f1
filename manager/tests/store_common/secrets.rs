//! What nobody may see of arguments, in every store.

use std::sync::Arc;

use redpoll_common::job::{JobSpec, Outcome};
use redpoll_common::wire::Raw;
use redpoll_manager_core::jobs::record::{Change, JobRecord};
use serde_json::{Value, json};

use crate::store_common::*;

const PATHS: [&str; 2] = ["args.1", "kwargs.keys.*"];

fn arguments(spec: &JobSpec) -> (Value, Value) {
    (spec.args.decode().unwrap(), spec.kwargs.decode().unwrap())
}

fn clear() -> (Value, Value) {
    (json!(["ann", "hunter2"]), json!({"keys": ["hunter2", "x"], "n": 5}))
}

fn hidden() -> (Value, Value) {
    (json!(["ann", "***"]), json!({"keys": ["***", "***"], "n": 5}))
}

/// A job with secrets, of which as much is known as `redact` says.
fn secret(n: u64, redact: &[&str]) -> JobRecord {
    let (args, kwargs) = clear();
    let (args, kwargs) = (Raw::encode(&args).unwrap(), Raw::encode(&kwargs).unwrap());
    let spec = JobSpec { args, kwargs, key: Some(format!("k{n}")), ..full_spec() };
    let redact = redact.iter().map(|&path| path.to_owned()).collect();
    let admin = [peer("a1")].into();
    JobRecord { redact, admin, ..job(n, &["a1"], spec) }
}

async fn found(rig: &Rig, n: u64) -> JobRecord {
    rig.store.job(id(n)).await.unwrap().unwrap()
}

/// It is the same job but for the arguments, wherever it is read.
async fn assert_hidden(rig: &Rig, n: u64, was: &JobRecord) {
    let now = found(rig, n).await;
    assert_eq!(arguments(&now.spec), hidden());
    let spec =
        JobSpec { args: was.spec.args.clone(), kwargs: was.spec.kwargs.clone(), ..(*now.spec).clone() };
    assert_eq!(spec, *was.spec);
    assert_eq!((now.digest, &now.submitter, &now.redact), (was.digest, &was.submitter, &was.redact));
    assert_eq!(now.admin, was.admin, "also after what else is secret was found out");
    for listed in rig.store.list(redpoll_manager::store::Filter::default(), None, 9).await.unwrap().jobs {
        assert_eq!(arguments(&listed.spec), hidden());
    }
    // what may be corrected is read at the start
    for job in rig.store.recover().await.unwrap().jobs {
        assert_eq!(arguments(&job.spec), hidden());
    }
}

pub(crate) async fn the_secrets_of_an_ended_job_are_masked_and_stay_masked(mut rig: Rig) {
    for (n, outcome) in [(1, Outcome::Succeeded), (2, Outcome::Unknown)] {
        let record = secret(n, &PATHS);
        rig.store.commit(submitted(record.clone())).await.unwrap();
        rig.reopen().await;
        // whoever goes on with it needs them
        assert_eq!(arguments(&found(&rig, n).await.spec), clear());
        let recovered = rig.store.recover().await.unwrap().jobs;
        assert!(recovered.iter().any(|job| job.id == id(n) && arguments(&job.spec) == clear()));
        let mut changes = end(n, "a1", outcome, NOON + 9);
        changes.push(Change::ArgumentsMasked(id(n)));
        rig.store.commit(changes).await.unwrap();
        for _ in 0..2 {
            assert_hidden(&rig, n, &record).await;
            rig.reopen().await;
        }
        // as with a correction
        rig.store.commit(vec![Change::ArgumentsMasked(id(n))]).await.unwrap();
        assert_hidden(&rig, n, &record).await;
    }
    rig.store.commit(vec![Change::ArgumentsMasked(id(77))]).await.unwrap();
    assert_eq!(rig.store.job(id(77)).await.unwrap(), None, "nothing happens to what is not there");
}

pub(crate) async fn what_is_found_out_to_be_secret_later_is_masked_as_well(mut rig: Rig) {
    rig.store.commit(submitted(secret(1, &[]))).await.unwrap();
    rig.store.commit(vec![Change::ArgumentsMasked(id(1))]).await.unwrap();
    assert_eq!(arguments(&found(&rig, 1).await.spec), clear(), "nobody knew of any secret");
    let known = secret(1, &PATHS);
    rig.store.commit(vec![Change::JobRedacted(Arc::new(known.clone()))]).await.unwrap();
    for _ in 0..2 {
        let now = found(&rig, 1).await;
        assert_eq!((&now.redact, arguments(&now.spec)), (&known.redact, clear()));
        assert_eq!(*now.spec, *known.spec);
        rig.reopen().await;
    }
    let mut changes = end(1, "a1", Outcome::Cancelled, NOON + 9);
    changes.push(Change::ArgumentsMasked(id(1)));
    rig.store.commit(changes).await.unwrap();
    for _ in 0..2 {
        assert_hidden(&rig, 1, &known).await;
        rig.reopen().await;
    }
    rig.store.commit(vec![Change::JobRedacted(Arc::new(secret(77, &PATHS)))]).await.unwrap();
    assert_eq!(rig.store.job(id(77)).await.unwrap(), None, "nothing happens to what is not there");
}

//! The routes of `rp.jobs.*`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use redpoll_common::api::method;
use redpoll_common::wire::{Fault, Raw};
use redpoll_net::registry::Duplicate;
use redpoll_net::{CallContext, Registry};

use super::{follow, info, jobs, jobs_cancel, jobs_list, jobs_result, read, submit, submit_agents};
use crate::engine::Engine;
use crate::state::Manager;

/// What serving them needs.
struct Around {
    manager: Arc<Manager>,
    engine: Engine,
}

type Serve = fn(Arc<Around>, CallContext) -> BoxFuture<'static, Result<Raw, Fault>>;

const ROUTES: &[(&str, Serve)] = &[
    (method::JOBS_CANCEL, |around, call| {
        Box::pin(async move { jobs_cancel::cancel(&around.manager, &around.engine, &call).await })
    }),
    (method::JOBS_DELETE, |around, call| Box::pin(async move { jobs::delete(&around.engine, &call).await })),
    (method::JOBS_FOLLOW, |around, call| {
        Box::pin(async move { follow::follow(&around.manager, &around.engine, call).await })
    }),
    (method::JOBS_LIST, |around, call| Box::pin(async move { jobs_list::list(&around.engine, &call).await })),
    (method::JOBS_PREVIEW, |around, call| {
        Box::pin(async move { submit_agents::preview(&around.manager, &call).await })
    }),
    (method::JOBS_READ, |around, call| {
        Box::pin(async move { read::read(&**around.engine.store(), &call).await })
    }),
    (method::JOBS_RELEASE, |around, call| {
        Box::pin(async move { jobs::release(&around.engine, &call).await })
    }),
    (method::JOBS_RESULT, |around, call| {
        Box::pin(async move { jobs_result::result(&around.manager, &around.engine, call).await })
    }),
    (method::JOBS_SHOW, |around, call| {
        Box::pin(async move { jobs::show(&around.manager, &around.engine, &call).await })
    }),
    (method::JOBS_SUBMIT, |around, call| {
        Box::pin(async move { submit::submit(&around.manager, &around.engine, &call).await })
    }),
];

/// Adds them. When a caller stops, the future of its request is dropped: nothing here has to be undone.
pub(super) fn register(
    registry: Registry,
    manager: &Arc<Manager>,
    engine: &Engine,
) -> Result<Registry, Duplicate> {
    let around = Arc::new(Around { manager: manager.clone(), engine: engine.clone() });
    ROUTES.iter().try_fold(registry, |registry, (name, serve)| {
        let around = around.clone();
        registry.with(info(name), move |call| serve(around.clone(), call))
    })
}

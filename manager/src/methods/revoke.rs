//! `rp.agents.revoke`, `rp.operators.revoke` and their kin: who is shut out.
//!
//! The order of a revocation: on disk, then the door lets nobody in and closes what is inside, then all that is ending has ended, then the
//! machine of jobs takes nothing more of it; and only then the answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redpoll_common::api::method;
use redpoll_common::api::revoked::{
    OperatorList, OperatorListArguments, OperatorSummary, RestoreArguments, Revocation, RevokeAnswer,
    RevokeArguments, RevokedArguments, RevokedList, RevokedSummary,
};
use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::wire::{Fault, Raw};
use redpoll_manager_core::revoked::{CertificateName, Denial, Denied, MAX_REVOKE_REASON};
use redpoll_manager_core::roster::Lookup;
use redpoll_net::registry::Duplicate;
use redpoll_net::{CallContext, Registry};
use tokio::time::timeout;
use tracing::{info, warn};

use super::arguments::{bad, by, page_size};
use super::room::Room;
use super::{info as describe, read, write};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::state::Manager;

/// How long the end of what is cut is waited for: procedures of the manager have their grace.
const CUT_WITHIN: Duration = Duration::from_secs(20);
/// Entries in one answer, unless asked for fewer or more.
const PAGE: u32 = 500;
/// The most entries in one answer, if a frame holds as many.
const MAX_PAGE: u32 = 1000;

pub(super) fn register(
    mut registry: Registry,
    manager: &Arc<Manager>,
    engine: &Engine,
) -> Result<Registry, Duplicate> {
    let agents = (Role::Agent, method::AGENTS_REVOKE, method::AGENTS_RESTORE, method::AGENTS_REVOKED);
    let operators =
        (Role::Operator, method::OPERATORS_REVOKE, method::OPERATORS_RESTORE, method::OPERATORS_REVOKED);
    for (role, revoking, restoring, listing) in [agents, operators] {
        let whom = (manager.clone(), engine.clone());
        registry = registry.with(describe(revoking), move |call| {
            let (manager, engine) = whom.clone();
            async move { revoke((&manager, &engine), role, &call).await }
        })?;
        let restorer = engine.clone();
        registry = registry.with(describe(restoring), move |call| {
            let engine = restorer.clone();
            async move { restore(&engine, role, &call).await }
        })?;
        let listed = (manager.clone(), engine.store().clone());
        registry = registry.with(describe(listing), move |call| {
            let (manager, store) = listed.clone();
            async move { list((&manager, store.clock()), role, &call) }
        })?;
    }
    let listed = (manager.clone(), engine.store().clone());
    registry.with(describe(method::OPERATORS_LIST), move |call| {
        let (manager, store) = listed.clone();
        async move { operators_list((&manager, store.clock()), &call) }
    })
}

/// Whom somebody means.
fn denied(role: Role, id: &str, certificate: Option<&str>) -> Result<Denied, Fault> {
    let id =
        PeerId::parse(id).map_err(|error| bad(format!("{id:?} is not the name of an {role}: {error}")))?;
    let certificate = certificate.map(CertificateName::parse).transpose();
    Ok(Denied { role, id, certificate: certificate.map_err(|error| bad(error.to_string()))? })
}

async fn revoke(
    (manager, engine): (&Manager, &Engine),
    role: Role,
    call: &CallContext,
) -> Result<Raw, Fault> {
    let RevokeArguments { id, certificate, reason } = read(&call.kwargs)?;
    let denied = denied(role, &id, certificate.as_deref())?;
    let reason = reason.filter(|reason| !reason.is_empty());
    if let Some(reason) = &reason
        && (reason.len() > MAX_REVOKE_REASON || reason.chars().any(char::is_control))
    {
        return Err(bad(format!("reason is a line of at most {MAX_REVOKE_REASON} bytes")));
    }
    let known = match role {
        Role::Agent => !manager.with_roster(|roster| matches!(roster.get(&denied.id), Lookup::Unknown)),
        Role::Operator | Role::Manager => manager.door.sessions(role).contains_key(&denied.id),
    };
    let before = manager.door.inside(&denied).iter().filter(|guest| guest.may_ask().is_ok()).count();
    let newest = manager.door.newest(&denied);
    // whoever shuts himself out hears the answer first
    let _own = manager.door.spare(&call.caller, &denied);
    let denial = Denial { denied: denied.clone(), at_ms: 0, by: by(call), reason };
    let existing = engine.revoke(denial).await?;
    info!(%role, id = %denied.id, certificate, operator = %call.caller.identity, "revoked");
    let others = manager.door.leaving(&denied);
    let ends = others.iter().map(|guest| async { timeout(CUT_WITHIN, guest.ended()).await.is_err() });
    let ending = join_all(ends).await.into_iter().filter(|late| *late).count();
    if ending > 0 {
        warn!(%role, id = %denied.id, ending, "what the manager does for somebody who is revoked does not end");
    }
    // also of sessions that ended before anybody looked: something of them may still be under way to the machine
    let sessions = others.iter().filter_map(|guest| guest.session());
    let last = sessions.fold(newest.max(manager.door.newest_denied(&denied)), ConnectionId::max);
    let (cluster, whole) = (call.caller.identity.cluster.clone(), denied.certificate.is_none());
    engine.cut(Identity { cluster, role, id: denied.id }, last, whole).await?;
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    write(&RevokeAnswer { changed: !existing, cut: count(before), ending: count(ending), known })
}

async fn restore(engine: &Engine, role: Role, call: &CallContext) -> Result<Raw, Fault> {
    let RestoreArguments { id, certificate } = read(&call.kwargs)?;
    let denied = denied(role, &id, certificate.as_deref())?;
    engine.restore(denied, by(call)).await?;
    info!(%role, id, certificate, operator = %call.caller.identity, "restored");
    Ok(Raw::nil())
}

fn list((manager, clock): (&Manager, &Clock), role: Role, call: &CallContext) -> Result<Raw, Fault> {
    let RevokedArguments { after, limit } = read(&call.kwargs)?;
    let limit = page_size(limit, PAGE, MAX_PAGE)?;
    // names have no spaces
    let after = after.as_deref().map(|after| match after.split_once(' ') {
        Some((id, certificate)) => denied(role, id, Some(certificate)),
        None => denied(role, after, None),
    });
    let page = manager.door.list(role, after.transpose()?.as_ref(), limit);
    let (mut room, mut revoked) = (Room::of(call), Vec::new());
    let mut next = page.last().filter(|_| page.len() == limit).map(|last| cursor(&last.denied));
    let mut last = None;
    for denial in &page {
        let summary = RevokedSummary {
            id: denial.denied.id.to_string(),
            certificate: denial.denied.certificate.as_ref().map(|name| name.as_str().to_owned()),
            revocation: revocation(denial, clock),
        };
        let at = cursor(&denial.denied);
        if !room.push(&mut revoked, summary, &format!("what is told of {at}"))? {
            next = last;
            break;
        }
        last = Some(at);
    }
    write(&RevokedList { revoked, next })
}

fn cursor(denied: &Denied) -> String {
    match &denied.certificate {
        Some(certificate) => format!("{} {}", denied.id, certificate.as_str()),
        None => denied.id.to_string(),
    }
}

/// An entry for people.
pub(super) fn revocation(denial: &Denial, clock: &Clock) -> Revocation {
    Revocation { at_ms: clock.told(denial.at_ms), by: denial.by.to_string(), why: denial.reason.clone() }
}

fn operators_list((manager, clock): (&Manager, &Clock), call: &CallContext) -> Result<Raw, Fault> {
    let OperatorListArguments { after, limit } = read(&call.kwargs)?;
    let limit = page_size(limit, PAGE, MAX_PAGE)?;
    let mut rows = manager.door.sessions(Role::Operator);
    let whole = manager.door.list(Role::Operator, None, usize::MAX).into_iter();
    for denial in whole.filter(|denial| denial.denied.certificate.is_none()) {
        rows.entry(denial.denied.id).or_default();
    }
    let after = after.as_deref().map(|after| denied(Role::Operator, after, None)).transpose()?;
    let rest = rows.into_iter().filter(|(id, _)| after.as_ref().is_none_or(|after| *id > after.id));
    let (mut room, mut operators) = (Room::of(call), Vec::new());
    for (id, sessions) in rest {
        let summary = OperatorSummary {
            revoked: manager.door.revoked(Role::Operator, &id).map(|denial| revocation(&denial, clock)),
            id: id.to_string(),
            sessions,
        };
        let more = operators.len() == limit
            || !room.push(&mut operators, summary, &format!("what is told of the operator {id}"))?;
        if more {
            let next = operators.last().map(|last| last.id.clone());
            return write(&OperatorList { operators, next });
        }
    }
    write(&OperatorList { operators, next: None })
}

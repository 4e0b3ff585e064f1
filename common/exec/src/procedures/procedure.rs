//! One procedure: how many runs at a time, who waits, and what is done then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redpoll_common::identity::Role;
use redpoll_common::procedure::{CallLine, CallLineError, MAX_CALL_LINE};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_config::{Manifest, ProcedureMode};
use redpoll_net::CallContext;
use redpoll_net::service::stop_fault;

use super::heard::late;
use super::places::{Place, Places};
use super::worker::{Health, Pool};
use super::{Setting, once};
use crate::clock::boot_time;
use crate::exec::account::{Account, AccountError};
use crate::exec::is_no_room;
use crate::telling::no_room;

/// Calls that may wait for a place of one procedure; further ones are answered `overloaded`.
const WAITING: usize = 256;

/// An executable that is offered.
#[derive(Debug)]
pub struct Procedure {
    manifest: Manifest,
    pub(super) setting: Arc<Setting>,
    pub(super) account: Option<Account>,
    places: Arc<Places>,
    waiting: AtomicUsize,
    calls: AtomicU64,
    /// Workers, by whom they run as where a policy says so.
    pools: Mutex<BTreeMap<Option<String>, Arc<Pool>>>,
}

impl Procedure {
    /// One that runs as this account, and whose runs share places with those of the definitions before.
    pub(super) fn new(
        manifest: Manifest,
        account: Option<Account>,
        setting: Arc<Setting>,
        before: Option<Arc<Places>>,
    ) -> Result<Self, String> {
        let limits = &manifest.limits;
        let confined = account.is_some()
            || limits.memory.is_some()
            || limits.cpu.is_some()
            || limits.processes.is_some();
        if confined && setting.helper.is_none() {
            let text =
                "user, group and limits need a program whose main calls exec::confine::intercept first";
            return Err(text.to_owned());
        }
        let count = places_of(&manifest);
        let places = match before {
            Some(places) => {
                places.resize(count);
                places
            }
            None => Arc::new(Places::new(count)),
        };
        Ok(Self {
            manifest,
            setting,
            account,
            places,
            waiting: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            pools: Mutex::default(),
        })
    }

    /// What describes it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How many of it run at a time: for the next definition of it.
    pub fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// Whom it runs as, if that is not the agent's own user.
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Runs it.
    pub(super) async fn run(self: Arc<Self>, call: CallContext) -> Result<Raw, Fault> {
        let _place = self.place(&call).await?;
        match self.manifest.mode {
            ProcedureMode::Once => once::run(&self, call).await,
            ProcedureMode::Worker => self.pool(call.run_as.as_deref()).call(&self, call).await,
        }
    }

    /// How its workers are, by the user that they run as where that is a policy's choice.
    pub fn workers(&self) -> Vec<(Option<String>, Health)> {
        self.pools().iter().map(|(user, pool)| (user.clone(), pool.health())).collect()
    }

    /// The workers of a user: nobody is served by one that runs as somebody else.
    fn pool(&self, run_as: Option<&str>) -> Arc<Pool> {
        self.pools().entry(run_as.map(str::to_owned)).or_default().clone()
    }

    fn pools(&self) -> MutexGuard<'_, BTreeMap<Option<String>, Arc<Pool>>> {
        // nothing panics while it holds the lock
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before a worker is started for a call, which holds a place: lets as many free workers of other users go as have no place
    /// any more. All users together have no more workers than there are places.
    pub(super) fn make_room(&self, pool: &Arc<Pool>) {
        let mut spare = self.places.free();
        for other in self.pools().values().filter(|other| !Arc::ptr_eq(other, pool)) {
            spare = spare.saturating_sub(other.keep(spare));
        }
    }

    /// Whom a call runs as, if that is not the agent's own user.
    pub(super) fn account_for(&self, run_as: Option<&str>) -> Result<Option<Account>, Fault> {
        let Some(user) = run_as else { return Ok(self.account.clone()) };
        run_as_account(user)
    }

    /// Waits for a place, in the order of the calls; a run of a job as long as it may start.
    async fn place(&self, call: &CallContext) -> Result<Place<'_>, Fault> {
        if let Some(place) = self.places.try_take() {
            return Ok(place);
        }
        let _waiting = Waiting::new(&self.waiting).ok_or_else(|| {
            let text = format!(
                "all places of {} are taken, and {WAITING} calls wait already; nothing ran",
                self.manifest.name
            );
            Fault::new(FaultCode::Overloaded, text)
        })?;
        let not_after = call.run.as_ref().and_then(|run| run.not_after);
        tokio::select! {
            biased; // a place that is there at the same time is given back
            reason = call.stop.stopped() => Err(stop_fault(reason)),
            () = boot_time(not_after) => Err(late()),
            place = self.places.take() => {
                place.map_err(|_closed| Fault::new(FaultCode::ShuttingDown, "it is not offered any more"))
            }
        }
    }

    /// The line that asks for a run, and the number that it has in it.
    pub(super) fn call_line(&self, call: &CallContext) -> Result<(u64, bytes::Bytes), Fault> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let job = call.run.as_ref().map(|run| run.run.job.to_string());
        let caller = caller(call);
        let line = CallLine {
            call: number,
            procedure: &self.manifest.name,
            version: self.manifest.version,
            args: &call.args,
            kwargs: &call.kwargs,
            job: job.as_deref(),
            attempt: call.run.as_ref().map(|run| u32::from(run.run.attempt.0)),
            info: call.run.as_ref().map(|run| &run.info),
            operator: call.operator.as_deref().or(caller.as_deref()),
            roles: call.roles.as_deref(),
        };
        let line = line.write(MAX_CALL_LINE).map_err(|error| {
            let code = match error {
                CallLineError::Unspeakable(_) => FaultCode::BadArguments,
                CallLineError::TooLong { .. } => FaultCode::TooLarge,
            };
            Fault::new(code, error.to_string())
        })?;
        Ok((number, line))
    }
}

/// Who wants it. An agent's caller is its manager, who speaks for others and names them for jobs alone.
fn caller(call: &CallContext) -> Option<String> {
    let identity = &call.caller.identity;
    match (&call.run, identity.role) {
        (Some(run), _) => Some(run.operator.clone()),
        // nobody asked for what the agent runs by itself
        (None, _) if call.output.is_recorded() => None,
        (None, Role::Manager) => None,
        (None, Role::Agent | Role::Operator) => Some(format!("{}:{}", identity.role, identity.id)),
    }
}

/// How many may run at a time; `None`: as many as the agent allows.
fn places_of(manifest: &Manifest) -> Option<usize> {
    let places = match manifest.mode {
        ProcedureMode::Once => manifest.concurrency?,
        ProcedureMode::Worker => manifest.concurrency.unwrap_or(1),
    };
    Some(usize::try_from(places.max(1)).unwrap_or(1))
}

/// The account that a policy says something runs as; `None`: the agent is that already.
///
/// # Errors
/// `rejected`: nothing must run as anybody else then. `overloaded` while no file can be opened.
pub fn run_as_account(user: &str) -> Result<Option<Account>, Fault> {
    let found = Account::find(user, None).and_then(own_or_other);
    found.map_err(|error| {
        let text = format!("the agent's policy says that it runs as {user}, and nothing ran: {error}");
        if let AccountError::Unreadable { source, .. } = &error
            && is_no_room(source)
        {
            return no_room(text);
        }
        Fault::new(FaultCode::Rejected, text)
    })
}

/// Whom it runs as, if that is not the agent's own user.
pub fn account_of(manifest: &Manifest) -> Result<Option<Account>, AccountError> {
    if manifest.user.is_none() && manifest.group.is_none() {
        return Ok(None);
    }
    let own = rustix::process::geteuid();
    let user = manifest.user.clone().unwrap_or_else(|| own.as_raw().to_string());
    own_or_other(Account::find(&user, manifest.group.as_deref())?)
}

fn own_or_other(account: Account) -> Result<Option<Account>, AccountError> {
    let own = rustix::process::geteuid();
    if account.is_own() && !own.is_root() {
        return Ok(None);
    }
    if !own.is_root() {
        return Err(AccountError::NotRoot { name: account.name });
    }
    Ok(Some(account))
}

/// One of those who wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Option<Self> {
        let more = |n: usize| (n < WAITING).then_some(n + 1);
        waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_before| Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

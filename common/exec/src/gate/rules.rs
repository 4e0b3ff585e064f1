//! A policy as it was read.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_config::LoadedPolicy;
use redpoll_net::ProcedureInfo;
use redpoll_schema::Schema;
use redpoll_schema::policy::{Buckets, Policy, Rate, Rule, Whose};

/// The rules, and what is left of their rates.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) policy: Policy,
    pub(super) canonical: String,
    pub(super) digest: String,
    /// Why somebody other than root may put another file in its place.
    pub(super) replaceable: Option<String>,
    buckets: Arc<Mutex<Buckets>>,
}

impl Rules {
    pub(super) fn of(LoadedPolicy { policy, canonical, replaceable }: LoadedPolicy, whose: Whose) -> Self {
        let policy = policy.of(whose);
        let digest = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        Self { policy, canonical, digest, replaceable, buckets: Arc::default() }
    }

    /// One that no file says.
    pub(super) fn fixed(policy: Policy) -> Self {
        Self::of(LoadedPolicy { policy, canonical: "{}".to_owned(), replaceable: None }, Whose::Agent)
    }

    /// The same, with what is left of the rates of equal rules.
    pub(super) fn with_rates_of(self, old: &Self) -> Self {
        Self { buckets: old.buckets.clone(), ..self }
    }

    /// Takes one call of a rule's rate.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn take(&self, index: Option<usize>, now: Instant) -> Result<(), Duration> {
        let Some((index, rate)) = self.rate(index) else { return Ok(()) };
        self.buckets().take(index, rate, now)
    }

    /// Whether one call of a rule's rate is left; takes none.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn look(&self, index: Option<usize>, now: Instant) -> Result<(), Duration> {
        let Some((index, rate)) = self.rate(index) else { return Ok(()) };
        self.buckets().look(index, rate, now)
    }

    /// Gives one call of a rule back. Without such a rule, or its rate, there is nothing to give.
    pub(super) fn give_back(&self, rule: &str) {
        let index = self.policy.rules().iter().position(|one| one.name == rule);
        if let Some((index, rate)) = self.rate(index) {
            self.buckets().give_back(index, rate);
        }
    }

    fn rate(&self, index: Option<usize>) -> Option<(usize, Rate)> {
        let index = index?;
        Some((index, self.policy.rules().get(index)?.rate?))
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        // nothing panics while it holds the lock
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first rule that looks at the arguments of a procedure.
    pub(super) fn looks_at_arguments(&self, info: &ProcedureInfo) -> Option<&Rule> {
        let fits =
            |rule: &&Rule| rule.procedures.iter().any(|pattern| pattern.fits(&info.name, info.version));
        self.policy.rules().iter().filter(|rule| !rule.args.is_empty()).find(fits)
    }

    /// Whether one of the rules looks at an argument of this name: a piece of a file is not turned into text for those that do not.
    pub(super) fn are_about(&self, name: &str) -> bool {
        let mut paths = self.policy.rules().iter().flat_map(|rule| rule.args.keys());
        paths.any(|path| path.split('.').next() == Some(name))
    }
}

/// Refuses positional arguments that no schema names, where a rule looks at the arguments of the procedure: such a rule could
/// be passed by.
pub(super) fn refuse_hidden(
    (rule, whose): (&Rule, Whose),
    info: &ProcedureInfo,
    schema: &Schema,
    args: &Raw,
) -> Result<(), Fault> {
    if !schema.hides_positional() || *args == Raw::empty_array() {
        return Ok(());
    }
    let text = format!(
        "rule {:?} of the {whose}'s policy looks at the arguments of {}, which cannot be given by position then: its schema \
         does not name them",
        rule.name, info.name
    );
    Err(Fault::new(FaultCode::Rejected, text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // writing to a String cannot fail
        let _always = write!(text, "{byte:02x}");
        text
    })
}

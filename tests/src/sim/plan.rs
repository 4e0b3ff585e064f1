//! Jobs to submit: what their programs do, and every field of a spec in every combination.

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{
    Callback, Ending, Item, ItemKind, JobSpec, Limits, Offline, Outcome, Overflow, QueueKey, QueueSpec,
};
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};
use redpoll_manager_core::jobs::Ended;

use super::dice::Dice;

/// What the program of a job does.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// How many items it writes, each with so many bytes besides its name, at most so far apart.
    pub(super) items: u64,
    pub(super) item_bytes: u64,
    pub(super) gap_ms: u64,
    /// The last attempt that fails.
    pub(super) fails_until: u16,
    /// It never ends by itself.
    pub(super) endless: bool,
    /// It ignores TERM.
    pub(super) stubborn: bool,
    /// The agent's policy refuses it.
    pub(super) refused: bool,
    /// It cannot be started.
    pub(super) unspawnable: bool,
}

/// The procedure that looks after the machine, on all agents.
pub(super) const ADMIN: &str = "proc.4";

/// A job as an operator thought it up.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) spec: Arc<JobSpec>,
    pub(super) plan: Plan,
    /// The place numbers of its agents.
    pub(super) agents: Vec<usize>,
    pub(super) digest: [u8; 32],
    /// The procedure itself declares that it may be repeated.
    pub(super) repeatable: bool,
    /// When it becomes known that one of its arguments is secret.
    pub(super) secret: Secret,
    /// It is a run that this agent made by itself, and tells of.
    pub(super) recorded: Option<PeerId>,
}

/// When it becomes known that nobody may see an argument of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secret {
    /// It has none.
    None,
    /// With the submit.
    Known,
    /// Some time, if at all.
    FoundOut,
}

/// What nobody may see.
pub(super) const SECRET: &str = "hunter2-s3cr3t";
/// Where it is.
pub(super) const SECRET_PATH: &str = "kwargs.secret";

/// How many customers submit jobs: what cancels by criteria go by.
pub(super) const CUSTOMERS: u64 = 4;

impl Plan {
    fn draw(dice: &mut Dice) -> Self {
        let chatty = dice.percent(20);
        Self {
            items: if chatty { dice.between(10, 40) } else { dice.below(6) },
            item_bytes: match dice.below(12) {
                // longer than an item may be
                0 if chatty => 5_000,
                1..=3 => dice.below(400),
                _ => dice.below(30),
            },
            gap_ms: match dice.below(8) {
                0 => 1_500,
                1..=3 => 30,
                _ => 300,
            },
            fails_until: u16::try_from([0, 0, 0, 1, 1, 2, 99][dice.index(7)]).unwrap_or(0),
            endless: dice.percent(10),
            stubborn: dice.percent(20),
            refused: dice.percent(4),
            unspawnable: dice.percent(3),
        }
    }
}

impl Draft {
    /// A job, with a number that no other one has.
    pub(super) fn draw(dice: &mut Dice, n: u64, agents: usize) -> Self {
        let plan = Plan::draw(dice);
        let count = match dice.below(10) {
            0 => agents,
            1 | 2 => 2.min(agents),
            _ => 1,
        };
        let first = dice.index(agents);
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&n.to_be_bytes());
        let secret = [Secret::None, Secret::None, Secret::Known, Secret::FoundOut][dice.index(4)];
        let spec = Arc::new(spec(dice, n, &plan, secret));
        let agents = (0..count).map(|k| (first + k) % agents).collect();
        Self { spec, plan, agents, digest, repeatable: dice.percent(10), secret, recorded: None }
    }

    /// A run that an agent made by itself, under a key that no other one has.
    pub(super) fn record(dice: &mut Dice, n: u64, place: usize, agent: PeerId) -> Self {
        let mut draft = Self::draw(dice, n, 1);
        let spec = Arc::make_mut(&mut draft.spec);
        (spec.queue, spec.callback, spec.held) = (None, None, false);
        spec.key = Some(format!("run-{n}"));
        Self { agents: vec![place], recorded: Some(agent), ..draft }
    }
}

fn spec(dice: &mut Dice, n: u64, plan: &Plan, secret: Secret) -> JobSpec {
    // some offers are bulky, and overtaken by others on their way
    let bulk = if dice.percent(8) { 20_000 } else { 0 };
    JobSpec {
        procedure: format!("proc.{}", n % 5),
        args: Raw::empty_array(),
        kwargs: {
            let map = RawMap::new().uint("n", n).text("fill", &"y".repeat(bulk));
            if secret == Secret::None { map.finish() } else { map.text("secret", SECRET).finish() }
        },
        queue: dice.percent(60).then(|| queue(dice)),
        offline: match dice.below(12) {
            0 => Offline::Skip,
            1 => Offline::Require,
            _ => Offline::Wait,
        },
        limits: limits(dice, plan),
        max_attempts: u16::try_from([1, 1, 1, 2, 3, 4][dice.index(6)]).unwrap_or(1),
        idempotent: match dice.below(20) {
            0..7 => Some(true),
            7..10 => Some(false),
            _ => None,
        },
        key: None,
        info: RawMap::new().uint("customer", n % CUSTOMERS).finish(),
        callback: match dice.below(6) {
            0 => Some(Callback::Webhook("https://example.org/told".to_owned())),
            1 => Some(Callback::Procedure("told".to_owned())),
            _ => None,
        },
        held: dice.percent(8),
    }
}

/// How a run ended that an agent made by itself; told again it may say something else.
pub(super) fn ended(dice: &mut Dice) -> Ended {
    let outcome = Outcome::ALL[dice.index(Outcome::ALL.len())];
    let started = match outcome {
        Outcome::Rejected | Outcome::Expired => Some(false),
        Outcome::Unknown => None,
        Outcome::Succeeded | Outcome::Failed | Outcome::Cancelled | Outcome::TimedOut => Some(true),
    };
    let fault = (outcome != Outcome::Succeeded).then(|| Fault::new(FaultCode::Failed, "by itself"));
    let result = (outcome == Outcome::Succeeded).then(Raw::nil);
    let items = (0..dice.below(4)).map(|n| Item { n, kind: ItemKind::Value, data: Raw::text("one") });
    let items: Vec<Item> = items.collect();
    let ending = Ending { outcome, started, result, fault, items: 0, duration_ms: Some(5) };
    Ended { ending, started_ms_ago: Some(dice.below(5_000)), items, dropped: dice.below(2) }
}

/// One of few queues, so that they fill: texts, and a map whose keys come in either order.
pub(super) fn queue(dice: &mut Dice) -> QueueSpec {
    let name = match dice.below(4) {
        0 => RawMap::new().text("site", "a").uint("rack", 1).finish(),
        1 => RawMap::new().uint("rack", 1).text("site", "a").finish(),
        2 => Raw::text("backup"),
        _ => Raw::text("reports"),
    };
    let name = QueueKey::parse(&name).expect("a name of a queue");
    QueueSpec { name, concurrency: u32::try_from(dice.between(1, 3)).unwrap_or(1) }
}

fn limits(dice: &mut Dice, plan: &Plan) -> Limits {
    let mut some =
        |percent, low, high| dice.percent(percent).then(|| Duration::from_millis(dice.between(low, high)));
    let start_within = some(20, 200, 12_000);
    let run_timeout = some(if plan.endless { 40 } else { 15 }, 300, 6_000);
    let idle_timeout = some(15, 300, 3_000);
    let grace = some(30, 0, 800);
    Limits {
        start_within,
        run_timeout,
        idle_timeout,
        grace,
        output: dice.percent(20).then(|| dice.between(100, 1_500)),
        overflow: [Overflow::Truncate, Overflow::Block, Overflow::Kill][dice.index(3)],
    }
}

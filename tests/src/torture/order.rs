//! What a torture asks for: a program, and how it is to be run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::job::{Callback, Offline, Overflow, QueueKey, QueueSpec};
use redpoll_common::wire::{Raw, RawMap};

use super::dice::Dice;
use crate::process::program;

/// How many queues there are; the first lets one run at a time, the next two, and so on.
pub const QUEUES: u32 = 3;
/// The name of the manager's procedure that is told of ends.
pub const TELL: &str = "tell";
/// The longest that a program lives.
pub const LONGEST: Duration = Duration::from_secs(3);

/// What `redpoll-oracle` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// How many lines it writes.
    pub lines: u32,
    /// How long it waits after each.
    pub each_ms: u32,
    /// How long it waits at the end.
    pub wait_ms: u32,
    /// Its exit code.
    pub exit: u8,
}

impl Program {
    fn draw(dice: &mut Dice) -> Self {
        let exit = if dice.percent(80) { 0 } else { u8::try_from(dice.between(1, 9)).unwrap_or(1) };
        let (lines, each_ms, wait_ms) = match dice.between(0, 9) {
            0..=4 => (dice.between(0, 6), 0, dice.between(0, 30)),
            5..=7 => (dice.between(3, 20), dice.between(2, 15), 0),
            _ => (dice.between(5, 15), dice.between(20, 80), dice.between(0, 400)),
        };
        Self { lines, each_ms, wait_ms, exit }
    }

    /// Its arguments, and the program before them.
    pub fn argv(&self, oracle: &Path) -> Vec<String> {
        let Self { lines, each_ms, wait_ms, exit } = self;
        let own = program("redpoll-oracle").display().to_string();
        let numbers = [*lines, *each_ms, *wait_ms, (*exit).into()];
        let texts = numbers.iter().map(u32::to_string);
        [own, oracle.display().to_string()].into_iter().chain(texts).collect()
    }

    /// Reads the arguments, without the program before them.
    pub fn parse(arguments: &[String]) -> Option<(PathBuf, Self)> {
        let [file, lines, each_ms, wait_ms, exit] = arguments else { return None };
        let program = Self {
            lines: lines.parse().ok()?,
            each_ms: each_ms.parse().ok()?,
            wait_ms: wait_ms.parse().ok()?,
            exit: exit.parse().ok()?,
        };
        Some((PathBuf::from(file), program))
    }

    /// A line of its stdout.
    pub fn stdout_line(n: u32) -> String {
        format!("line {n}\n")
    }

    /// What it writes to stderr after a line of stdout, if anything.
    pub fn stderr_line(n: u32) -> Option<String> {
        (n % 7 == 3).then(|| format!("problem {n}\n"))
    }

    /// All of its stdout.
    pub fn stdout(&self) -> String {
        (0..self.lines).map(Self::stdout_line).collect()
    }

    /// All of its stderr.
    pub fn stderr(&self) -> String {
        (0..self.lines).filter_map(Self::stderr_line).collect()
    }
}

/// What to throw the dice for: mostly agents that are away are waited for.
const OFFLINE: [Offline; 10] = [
    Offline::Wait,
    Offline::Wait,
    Offline::Wait,
    Offline::Wait,
    Offline::Wait,
    Offline::Wait,
    Offline::Wait,
    Offline::Wait,
    Offline::Skip,
    Offline::Require,
];

/// A job to ask for, and what to do about it afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a throw of its own")]
pub struct Order {
    /// What runs.
    pub program: Program,
    /// Where.
    pub agents: Vec<String>,
    /// In which queue: the one that lets so many run at a time.
    pub queue: Option<u32>,
    /// With an idempotency key.
    pub keyed: bool,
    /// Prepared, and released later.
    pub held: bool,
    /// It may run twice.
    pub idempotent: bool,
    /// How often it may be tried.
    pub max_attempts: u16,
    /// Until when it must have started.
    pub start_within_ms: Option<u32>,
    /// How long it may run.
    pub run_timeout_ms: Option<u32>,
    /// How long it may be silent.
    pub idle_timeout_ms: Option<u32>,
    /// How much of its output is kept, and what happens beyond.
    pub output: Option<(u32, Overflow)>,
    /// What becomes of it where an agent is away.
    pub offline: Offline,
    /// The manager runs a procedure when it has ended.
    pub callback: bool,
    /// Cancel it after so many more events of the world.
    pub cancel_after: Option<u32>,
    /// Ask again with the same key although there was an answer.
    pub repeat: bool,
}

impl Order {
    /// Throws the dice for one.
    pub fn draw(dice: &mut Dice, agents: &[String]) -> Self {
        let program = Program::draw(dice);
        let wanted = match dice.between(0, 19) {
            0..=14 => 1,
            15..=18 => 2,
            _ => agents.len(),
        };
        let mut chosen: Vec<String> = agents.to_vec();
        while chosen.len() > wanted.max(1) {
            let out = dice.pick(&chosen).clone();
            chosen.retain(|agent| *agent != out);
        }
        let idempotent = dice.percent(25);
        Self {
            program,
            agents: chosen,
            queue: dice.percent(35).then(|| dice.between(1, QUEUES)),
            keyed: dice.percent(60),
            held: dice.percent(10),
            idempotent,
            max_attempts: if idempotent || dice.percent(10) { 3 } else { 1 },
            start_within_ms: dice.percent(10).then(|| dice.between(100, 2000)),
            run_timeout_ms: dice.percent(6).then(|| dice.between(100, 400)),
            idle_timeout_ms: dice.percent(6).then(|| dice.between(50, 300)),
            output: dice.percent(10).then(|| {
                let overflow = *dice.pick(&[Overflow::Truncate, Overflow::Block, Overflow::Kill]);
                (dice.between(60, 600), overflow)
            }),
            offline: *dice.pick(&OFFLINE),
            callback: dice.percent(25),
            cancel_after: dice.percent(15).then(|| dice.between(0, 12)),
            repeat: dice.percent(20),
        }
    }

    /// The arguments of the submit. `number` rides along as the caller's info.
    ///
    /// # Panics
    /// Never: what is drawn has a form.
    pub fn submit(&self, oracle: &Path, number: u64, key: Option<&str>) -> SubmitArguments {
        let mut submit = SubmitArguments::new(self.agents.clone(), "exec.run");
        let ms = |ms: Option<u32>| ms.map(|ms| Duration::from_millis(ms.into()));
        let spec = &mut submit.spec;
        spec.args = Raw::encode(&self.program.argv(oracle)).expect("texts");
        spec.info = RawMap::new().uint("number", number).finish();
        spec.queue = self.queue.map(|concurrency| QueueSpec {
            name: QueueKey::text(&queue_name(concurrency)).expect("a name"),
            concurrency,
        });
        spec.key = key.map(str::to_owned);
        spec.held = self.held;
        spec.idempotent = Some(self.idempotent);
        spec.max_attempts = self.max_attempts;
        spec.limits.start_within = ms(self.start_within_ms);
        spec.limits.run_timeout = ms(self.run_timeout_ms);
        spec.limits.idle_timeout = ms(self.idle_timeout_ms);
        if let Some((bytes, overflow)) = self.output {
            (spec.limits.output, spec.limits.overflow) = (Some(bytes.into()), overflow);
        }
        spec.offline = self.offline;
        spec.callback = self.callback.then(|| Callback::Procedure(TELL.to_owned()));
        spec.limits.grace = Some(Duration::from_millis(500));
        submit
    }
}

/// The name of the queue that lets so many run at a time.
pub fn queue_name(concurrency: u32) -> String {
    format!("queue-{concurrency}")
}

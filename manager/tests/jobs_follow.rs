//! `rp.jobs.follow`: a follower joins anywhere and misses and repeats nothing.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod jobs_desk;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jobs_desk::{Desk, Dice, Request, ended, succeeded};
use redpoll_common::api::items::{FollowArguments, FollowEvent, FollowFrom};
use redpoll_common::api::jobs::JobSummary;
use redpoll_common::api::method;
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::job::wire::RunReport;
use redpoll_common::job::{Item, ItemKind, JobId, Outcome};
use redpoll_common::wire::Raw;
use redpoll_common::wire::flight::Progress;

const AGENTS: [&str; 3] = ["a1", "a2", "a3"];

fn all_of(job: JobId) -> FollowArguments {
    FollowArguments { job: job.to_string(), ..FollowArguments::default() }
}

fn follow(desk: &Desk, arguments: &FollowArguments) -> Request {
    desk.start(method::JOBS_FOLLOW, Raw::encode(arguments).unwrap())
}

#[tokio::test]
async fn a_follower_holds_nothing_of_its_request() {
    let desk = Desk::memory().await;
    desk.connect(&AGENTS).await;
    let (job, pad) = (desk.submit(&AGENTS).await.to_string(), "x".repeat(100_000));
    let asked = [
        (method::EVENTS_FOLLOW, serde_json::json!({ "since": 0, "pad": pad })),
        (method::JOBS_FOLLOW, serde_json::json!({ "job": job, "pad": pad })),
    ];
    for (method, asked) in asked {
        let payload = Bytes::copy_from_slice(Raw::encode(&asked).unwrap().as_bytes());
        let mut request = desk.start(method, Raw::parse(payload.clone()).unwrap());
        request.value().await.unwrap();
        assert!(payload.is_unique(), "{method}");
    }
}

/// Items per agent and attempt, by their content.
type Given = BTreeMap<(String, u16), Vec<String>>;

/// Puts events together as a follower does, and finds what must not be.
#[derive(Debug, Default)]
struct Heard {
    items: BTreeMap<(String, u16), (u64, Vec<String>)>,
    at: BTreeMap<String, (u16, u64)>,
    ends: BTreeMap<String, String>,
    states: BTreeMap<String, String>,
}

impl Heard {
    fn take(&mut self, event: &FollowEvent) {
        let agent = &event.agent;
        assert!(!self.ends.contains_key(agent), "{agent} goes on after its end: {event:?}");
        assert!(event.is_news(), "an event with nothing in it");
        let at = self.at.entry(agent.clone()).or_insert((event.attempt, 0));
        assert!(event.attempt >= at.0, "{agent} goes back to attempt {}", event.attempt);
        if event.attempt > at.0 {
            *at = (event.attempt, 0);
        }
        for item in &event.items {
            let key = (agent.clone(), event.attempt);
            let (first, texts) = self.items.entry(key).or_insert((item.n, Vec::new()));
            assert_eq!(item.n, *first + u64::try_from(texts.len()).unwrap(), "{agent} {}", event.attempt);
            texts.push(item.data.as_text().unwrap().to_owned());
            at.1 = item.n + 1;
        }
        if let Some(state) = &event.state {
            let before = self.states.insert(agent.clone(), format!("{} {state}", event.attempt));
            assert_ne!(before.as_ref(), self.states.get(agent), "told twice");
        }
        if let Some(end) = &event.end {
            self.ends.insert(agent.clone(), end.outcome.clone());
        }
    }

    /// Only runs of which an item or the end was told: where the others begin nobody knows yet.
    fn from(&self) -> Vec<FollowFrom> {
        let has_items = |agent: &String| self.items.keys().any(|(of, _)| of == agent);
        let is_known = |agent: &String| has_items(agent) || self.ends.contains_key(agent);
        let known = self.at.iter().filter(|(agent, _)| is_known(agent));
        let known = known.map(|(agent, (attempt, next))| FollowFrom {
            agent: agent.clone(),
            attempt: *attempt,
            next: *next,
            ended: self.ends.contains_key(agent),
        });
        known.collect()
    }
}

fn texts(agent: &str, attempt: u16, from: u64, count: u64) -> Vec<Item> {
    let text = |n| Raw::text(&format!("{agent}/{attempt}/{n}"));
    (from..from + count).map(|n| Item { n, kind: ItemKind::Value, data: text(n) }).collect()
}

/// One random life of a job, with its followers joining and leaving.
struct Life {
    desk: Arc<Desk>,
    job: JobId,
    dice: Dice,
    given: Given,
    /// Per agent: the attempt, its next item, and whether it has ended.
    runs: Vec<(u16, u64, bool)>,
}

impl Life {
    async fn begin(desk: Arc<Desk>, seed: u64) -> Self {
        desk.connect(&AGENTS).await;
        let mut submit = SubmitArguments::new(AGENTS.map(str::to_owned).to_vec(), "app.work");
        (submit.spec.idempotent, submit.spec.max_attempts) = (Some(true), 3);
        let job = JobId::parse(&desk.submit_with(&submit).await.unwrap().job).unwrap();
        Self { desk, job, dice: Dice::new(seed), given: Given::new(), runs: vec![(1, 0, false); 3] }
    }

    fn is_over(&self) -> bool {
        self.runs.iter().all(|(_, _, ended)| *ended)
    }

    /// Something happens to one of the runs.
    async fn step(&mut self) {
        let place = usize::try_from(self.dice.below(3)).unwrap();
        let (attempt, next, over) = self.runs[place];
        let (agent, key) = (AGENTS[place], (AGENTS[place].to_owned(), attempt));
        if over {
            return;
        }
        match self.dice.below(12) {
            0 => {
                self.desk.end(self.job, agent, succeeded(next, Raw::nil())).await;
                self.runs[place].2 = true;
            }
            1 => {
                self.desk.end(self.job, agent, ended(Outcome::Failed, next)).await;
                self.runs[place] = if attempt < 3 { (attempt + 1, 0, false) } else { (attempt, next, true) };
            }
            2 => {
                let progress = Progress { completed: next, total: None, details: Raw::nil() };
                let fill = |report| RunReport { progress: Some(progress), ..report };
                self.desk.report(self.job, agent, fill).await;
            }
            _ => {
                let most = if self.dice.below(10) == 0 { 3000 } else { 20 };
                let count = 1 + self.dice.below(most);
                let fresh = texts(agent, attempt, next, count);
                let words = fresh.iter().map(|item| item.data.as_text().unwrap().to_owned());
                self.given.entry(key).or_default().extend(words);
                self.desk.give(self.job, agent, fresh).await;
                self.runs[place].1 += count;
            }
        }
    }
}

/// Follows, leaves after `cut` events, and goes on where it was, to the end.
async fn follower(desk: Arc<Desk>, mut arguments: FollowArguments, cut: u64) -> Heard {
    let mut heard = Heard::default();
    let mut request = follow(&desk, &arguments);
    for _ in 0..cut {
        let Some(event) = request.event().await else { break };
        heard.take(&event);
    }
    request.abort();
    arguments.from = heard.from();
    heard.states.clear();
    let (events, answer) = follow(&desk, &arguments).all().await;
    events.iter().for_each(|event| heard.take(event));
    let summary: JobSummary = answer.unwrap().decode().unwrap();
    assert_eq!((summary.state.as_str(), summary.open, summary.runs), ("ended", 0, 3));
    heard
}

async fn joining(desk: Desk, seed: u64) {
    println!("seed {seed}");
    let desk = Arc::new(desk);
    let mut life = Life::begin(desk.clone(), seed).await;
    let mut followers = Vec::new();
    while !life.is_over() {
        if life.dice.below(4) == 0 && followers.len() < 20 {
            let arguments = match life.dice.below(4) {
                0 => FollowArguments { since: Some(life.dice.below(30)), ..all_of(life.job) },
                1 => FollowArguments { recent: Some(life.dice.below(30)), ..all_of(life.job) },
                _ => all_of(life.job),
            };
            let begun: Vec<(u16, u64)> =
                life.runs.iter().map(|(attempt, next, _)| (*attempt, *next)).collect();
            let cut = life.dice.below(12);
            let following = follower(desk.clone(), arguments.clone(), cut);
            #[expect(clippy::disallowed_methods, reason = "a test's own task")]
            followers.push((arguments, begun, tokio::spawn(following)));
        }
        life.step().await;
        for _ in 0..life.dice.below(6) {
            tokio::task::yield_now().await;
        }
    }
    let late = (all_of(life.job), Vec::new(), {
        #[expect(clippy::disallowed_methods, reason = "a test's own task")]
        tokio::spawn(follower(desk.clone(), all_of(life.job), 1))
    });
    followers.push(late);
    for (arguments, begun, task) in followers {
        let heard = tokio::time::timeout(jobs_desk::PATIENCE, task).await.unwrap().unwrap();
        assert_eq!(heard.ends.len(), 3, "every end is told");
        for ((agent, attempt), given) in &life.given {
            let key = (agent.clone(), *attempt);
            let (first, told) = heard.items.get(&key).cloned().unwrap_or((0, Vec::new()));
            let place = AGENTS.iter().position(|name| name == agent).unwrap();
            let (joined, next) = begun.get(place).copied().unwrap_or((1, 0));
            let all = u64::try_from(given.len()).unwrap();
            // exactly where it had to begin is known for the attempts after the one in which it joined, and for joining
            // with everything; in between the run may have gone on while the follower began
            let rest = given.get(usize::try_from(first).unwrap()..).unwrap();
            match (arguments.since, arguments.recent) {
                (None, None) => assert_eq!((first, &told), (0, given), "{key:?}"),
                _ if told.is_empty() => {}
                (Some(since), _) if *attempt == joined => {
                    assert!(told == rest && (first == since || first == 0), "{key:?} {first} {since}");
                }
                (None, Some(recent)) if *attempt == joined => {
                    assert!(told == rest && first + recent >= next.min(all), "{key:?} {first} {recent}");
                }
                _ => assert_eq!(told, rest, "{key:?}"),
            }
        }
    }
}

/// `JOBS_FOLLOW_SEED` replays one seed.
fn seeds(count: u64) -> std::ops::RangeInclusive<u64> {
    match std::env::var("JOBS_FOLLOW_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..=seed,
        None => 1..=count,
    }
}

#[tokio::test]
async fn joining_a_running_job_anywhere_gives_exactly_its_items_in_memory() {
    for seed in seeds(10) {
        Box::pin(joining(Desk::memory().await, seed)).await;
    }
}

#[tokio::test]
async fn joining_a_running_job_anywhere_gives_exactly_its_items_on_disk() {
    for seed in seeds(4) {
        Box::pin(joining(Desk::sqlite().await, seed)).await;
    }
}

//! An agent whose procedures ask the manager, behind somebody who loses something.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redpoll_common::api::AgentState;
use redpoll_common::api::jobs::{JobList, JobSummary};
use redpoll_common::api::method;
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::wire::Raw;
use redpoll_tests::manifests::Manifests;
use redpoll_tests::middle::{Middle, Plan};
use redpoll_tests::policy::policy_section;
use redpoll_tests::process::{Daemon, Sleeper};
use redpoll_tests::work::Oracle;
use redpoll_tests::world::{World, arguments, tls_section, write_config};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The window of a call.
const WINDOW: &str = "session.window=256KiB";
/// What an agent has where nothing comes back.
const AGENT: &[&str] = &[
    "manager.backoff_initial=100ms",
    "manager.backoff_max=400ms",
    "manager.answer_timeout=700ms",
    "manager.stable_after=0s",
    "procedures.builtin=sys.*,exec.run",
    WINDOW,
];
/// A run that does not come again while a test lasts.
const SELDOM_MS: u64 = 3_600_000;

/// Where all of it happens.
pub(super) struct Stage {
    pub(super) world: World,
    /// What `site.slow` runs.
    pub(super) slow: Sleeper,
    /// What procedures of the manager write.
    folder: TempDir,
}

impl Stage {
    pub(super) async fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let asked = folder.path().join("asked").display().to_string();
        let manifests = Manifests::new(folder.path());
        let script = format!(
            "read -r line; echo \"$line\" >> {asked}; echo '{{\"progress\":{{\"completed\":1}}}}'; \
             echo '{{\"value\":1}}'; echo '{{\"value\":2}}'; echo '{{\"result\":7}}'"
        );
        manifests.shell("site.ask", "callers = [\"agent:*\"]", &script);
        let (slow, argv) = Sleeper::new(folder.path(), "slow");
        manifests.shell("site.slow", "callers = [\"agent:*\"]", argv.last().unwrap());
        let settings = [
            WINDOW,
            "agents.emit=*",
            "agents.submit=*",
            "agents.rate=1000",
            "jobs.offer_timeout=700ms",
            &manifests.setting(),
        ];
        Arc::new(Self { world: World::quiet(&settings).await, slow, folder })
    }

    /// How often `site.ask` was run with this word.
    pub(super) fn asked(&self, word: &str) -> usize {
        let text = std::fs::read_to_string(self.folder.path().join("asked")).unwrap_or_default();
        text.lines().filter(|line| line.contains(&format!("{word:?}"))).count()
    }
}

/// The agent.
pub(super) struct Asker {
    pub(super) stage: Arc<Stage>,
    pub(super) id: String,
    pub(super) middle: Middle,
    pub(super) oracle: Oracle,
    pub(super) manifests: Manifests,
    folder: PathBuf,
    _agent: Daemon,
}

impl Asker {
    /// Starts it. If it `recurs`, `test.wait` runs by itself, once, and does not wait.
    pub(super) async fn new(stage: Arc<Stage>, id: String, recurs: bool, plan: Option<Plan>) -> Self {
        let world = &stage.world;
        let folder = world.directory().join(&id);
        std::fs::create_dir(&folder).unwrap();
        let own = world.certificate(&id);
        own.write(&folder, "agent");
        let middle = Middle::listen(&world.authority.manager("m-1"), own, world.address, plan).await;
        let manifests = Manifests::new(&folder);
        let agent = start(&folder, &middle, &manifests, recurs);
        let oracle = Oracle::new(&folder, "jobs");
        world.operator.until(&id, AgentState::Connected).await;
        Self { stage, id, middle, oracle, manifests, folder, _agent: agent }
    }

    pub(super) fn world(&self) -> &World {
        &self.stage.world
    }

    pub(super) async fn connected(&self) {
        self.world().operator.until(&self.id, AgentState::Connected).await;
    }

    /// What the agent has written to its log.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("agent.log")).unwrap()
    }

    /// Runs of its own that the manager does not have yet, as far as the agent knows.
    pub(super) fn untold(&self) -> usize {
        let files = std::fs::read_dir(self.folder.join("state/schedule")).into_iter().flatten().flatten();
        let is_run = |end: &std::ffi::OsStr| end == "run" || end == "end";
        files.filter(|file| Path::new(&file.file_name()).extension().is_some_and(is_run)).count()
    }

    /// Has it ask the manager, in a job, which outlives a session. Gives a word for each try, and the answer.
    pub(super) async fn ask(
        &self,
        method: &str,
        kwargs: &Value,
        (within_ms, tries): (u64, u64),
    ) -> (Vec<String>, Value) {
        let mut submit = SubmitArguments::new(vec![self.id.clone()], "test.ask");
        let kwargs = json!({ "method": method, "kwargs": kwargs, "within_ms": within_ms, "tries": tries });
        submit.spec.kwargs = Raw::encode(&kwargs).unwrap();
        let operator = &self.world().operator;
        let job = operator.submit(&submit).await.unwrap();
        let end = operator.job_ended(&job).await.end.unwrap();
        assert_eq!(end.outcome, "succeeded", "{method}: {:?}", end.fault);
        let told: Value = end.result.unwrap().decode().unwrap();
        let words = told["tries"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned());
        (words.collect(), told["answer"].clone())
    }

    /// How it asks for a job on itself that is the script `rest`.
    pub(super) fn submission(&self, rest: &str, key: &str) -> Value {
        let args: Value = self.oracle.job(&self.id, rest).spec.args.decode().unwrap();
        json!({ "agents": [self.id], "procedure": "exec.run", "args": args, "key": key })
    }

    /// A job that it submitted itself.
    pub(super) async fn own_job(&self, rest: &str, key: &str) -> String {
        let submission = self.submission(rest, key);
        let (told, answer) = self.ask(method::JOBS_SUBMIT, &submission, (5_000, 1)).await;
        assert_eq!(told, ["answered"]);
        answer["job"].as_str().unwrap().to_owned()
    }

    /// The jobs that it submitted or had recorded.
    pub(super) async fn own_jobs(&self) -> Vec<JobSummary> {
        let asked = json!({ "submitter": format!("agent:{}", self.id) });
        let answer = self.world().operator.ask(method::JOBS_LIST, &asked).await.unwrap();
        answer.decode::<JobList>().unwrap().jobs
    }
}

fn start(folder: &Path, middle: &Middle, manifests: &Manifests, recurs: bool) -> Daemon {
    let text = format!(
        "manager = \"{}\"\n[agent]\nstate_dir = \"{}\"\n{}{}",
        middle.address(),
        folder.join("state").display(),
        policy_section(folder),
        tls_section(folder, "agent")
    );
    let (config, gate) = (folder.join("agent.toml"), folder.join("gate"));
    write_config(&config, &text);
    std::fs::write(&gate, "open").unwrap();
    let mut wrapper = vec!["/usr/bin/env".to_owned(), format!("REDPOLL_TEST_GATE={}", gate.display())];
    wrapper.extend(recurs.then(|| format!("REDPOLL_TEST_EVERY_MS={SELDOM_MS}")));
    let folder_setting = manifests.setting();
    let settings = [AGENT, &[&folder_setting]].concat();
    let (arguments, log) = (arguments(&config, &settings), folder.join("agent.log"));
    Daemon::start_under(&wrapper, "redpoll-recurring-agent", "an agent that asks", &arguments, &log)
}

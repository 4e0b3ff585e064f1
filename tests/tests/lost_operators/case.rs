//! Where `rpctl` loses something, and what it is to do there.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::AgentState;
use redpoll_common::api::revoked::RevokedList;
use redpoll_common::job::{QueueKey, QueueSpec};
use redpoll_common::wire::FaultCode;
use redpoll_tests::manifests::Manifests;
use redpoll_tests::middle::{Middle, Plan};
use redpoll_tests::process::command;
use redpoll_tests::work::{Oracle, numbers};
use redpoll_tests::world::{HONEST, World, tls_section, write_config};
use redpoll_tests::{eventually, within};
use serde_json::json;
use tempfile::TempDir;

/// An agent that was there once, for jobs that wait.
const AWAY: &str = "away-1";
/// What `rpctl` has where nothing comes back.
const LIMIT: &str = "2500ms";
/// The window of a call.
const WINDOW: &str = "session.window=256KiB";
/// Says how far it is, and gives values.
const STEPS: &str = r#"for n in 1 2 3; do
echo "{\"progress\":{\"completed\":$n,\"total\":3}}"; echo "{\"value\":$n}"; sleep 0.1
done; echo '{"result":"done"}'"#;

/// Where all of it happens.
pub(super) struct Stage {
    pub(super) world: World,
    /// What procedures of the manager write.
    pub(super) folder: TempDir,
}

impl Stage {
    pub(super) async fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let asked = format!(
            "read -r line; echo \"$line\" >> {}/asked; echo '{{\"result\":7}}'",
            folder.path().display()
        );
        let managers = Manifests::new(folder.path());
        managers.shell("site.ask", "callers = [\"operator:*\"]", &asked);
        let settings = [WINDOW, "session.ping_interval=100ms", &managers.setting()];
        let mut world = World::quiet(&settings).await;
        drop(world.line(AWAY).await);
        let own = Manifests::new(world.directory());
        own.shell("web.steps", "", STEPS);
        for number in 0..4 {
            own.shell(&format!("web.on{number}"), "", "echo '{\"result\":1}'");
            own.shell(&format!("web.off{number}"), "", "echo '{\"result\":1}'");
        }
        world.agent(HONEST, &[WINDOW, &own.setting()]).await;
        world.operator.until(AWAY, AgentState::Away).await;
        world.authority.operator("ada").write(world.directory(), "ada");
        Arc::new(Self { world, folder })
    }

    pub(super) async fn end(self: Arc<Self>) {
        let Some(Self { mut world, .. }) = Arc::into_inner(self) else { panic!("somebody has it yet") };
        world.operator.echo(HONEST, "life goes on").await.unwrap();
        world.nobody_else_noticed().await;
    }
}

/// What `rpctl` promises of a verb whose answer it does not hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    /// It changes nothing, and is asked once.
    Question,
    /// It is asked once, and may be done.
    Change,
    /// It is asked again, over a new connection.
    Again,
    /// The same, until it is known that it is stored; or it is said that it may be.
    Submit,
}

impl Promise {
    pub(super) fn exit(self, cut: bool) -> i32 {
        match (self, cut) {
            (Self::Again | Self::Submit, true) => 0,
            (Self::Question, true) => 4,
            (Self::Question | Self::Change | Self::Again, false) => 6,
            (Self::Change, true) | (Self::Submit, false) => 8,
        }
    }
}

/// What a verb does in the world.
pub(super) enum Deed {
    Nothing,
    /// This job leaves this state.
    Moves(String, &'static str),
    /// This job is there no more.
    Deletes(String),
    /// This procedure is offered from then on, or no more.
    Offers(String, bool),
    /// Somebody of this role (in the plural, as methods have it) is revoked from then on, or no more.
    Revokes(&'static str, String, bool),
    /// A word comes to the log of the agent.
    Logs(String),
    /// A program runs.
    Runs,
}

/// One message that is lost.
pub(super) struct Case {
    pub(super) stage: Arc<Stage>,
    /// A word that belongs to nobody else.
    pub(super) id: String,
    pub(super) plan: Plan,
    pub(super) middle: Middle,
    pub(super) oracle: Oracle,
}

impl Case {
    pub(super) async fn new(stage: Arc<Stage>, number: usize, plan: Plan) -> Self {
        let (world, id) = (&stage.world, format!("lost-{number}"));
        let (manager, own) = (world.authority.manager("m-1"), world.authority.operator("ada"));
        let middle = Middle::of_operator(&manager, own, world.address, Some(plan.clone())).await;
        let config = format!("manager = \"{}\"\n{}", middle.address(), tls_section(world.directory(), "ada"));
        write_config(&world.directory().join(format!("{id}.toml")), &config);
        let oracle = Oracle::new(world.directory(), &id);
        Self { stage, id, plan, middle, oracle }
    }

    pub(super) fn world(&self) -> &World {
        &self.stage.world
    }

    /// `rpctl` behind whoever loses something.
    pub(super) fn rpctl(&self, words: &[String]) -> tokio::process::Child {
        let mut rpctl = command("rpctl");
        rpctl.arg("--config").arg(self.world().directory().join(format!("{}.toml", self.id)));
        rpctl.args(["--timeout", LIMIT]).args(words).env("HOME", self.world().directory());
        rpctl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub(super) async fn run(&self, words: &[String]) -> Output {
        let what = format!("the end of rpctl {words:?} of {:?}", self.plan);
        within(Duration::from_secs(30), &what, self.rpctl(words).wait_with_output()).await.unwrap()
    }

    /// How often its program was started.
    pub(super) fn starts(&self) -> usize {
        let text = std::fs::read_to_string(self.file()).unwrap_or_default();
        text.lines().count()
    }

    pub(super) fn file(&self) -> PathBuf {
        self.world().directory().join(format!("{}.starts", self.id))
    }

    /// A shell script that notes its start, and then is `rest`.
    pub(super) fn noting(&self, rest: &str) -> String {
        format!("echo started >> {} && {rest}", self.file().display())
    }

    /// A job that ended, after it gave the numbers to 3.
    pub(super) async fn ended(&self) -> String {
        let job = self.world().operator.submit(&self.oracle.job(HONEST, "seq 3")).await.unwrap();
        self.oracle.succeeded_once(&self.world().operator, &job, &numbers(3)).await;
        job
    }

    /// A job that waits in a queue for an agent that is away.
    pub(super) async fn waiting(&self) -> String {
        let mut submit = self.oracle.job(AWAY, "true");
        submit.spec.queue = Some(QueueSpec { name: QueueKey::text(&self.id).unwrap(), concurrency: 1 });
        self.world().operator.submit(&submit).await.unwrap()
    }

    pub(super) async fn held(&self) -> String {
        let mut submit = self.oracle.job(HONEST, "seq 3");
        submit.spec.held = true;
        self.world().operator.submit(&submit).await.unwrap()
    }

    /// Shuts out somebody whom nobody knows.
    fn revoke(&self, whose: &'static str) -> (Promise, String, Deed) {
        let words = format!("{whose} revoke {} --reason lost --yes", self.id);
        (Promise::Change, words, Deed::Revokes(whose, self.id.clone(), true))
    }

    async fn restore(&self, whose: &'static str) -> (Promise, String, Deed) {
        let asked = json!({ "id": self.id });
        self.world().operator.ask(&format!("rp.{whose}.revoke"), &asked).await.unwrap();
        let words = format!("{whose} restore {}", self.id);
        (Promise::Change, words, Deed::Revokes(whose, self.id.clone(), false))
    }

    /// What `rpctl` is to do so that this method is asked for.
    pub(super) async fn verb(&self, method: &str) -> (Promise, Vec<String>, Deed) {
        use Promise::{Again, Change, Question, Submit};
        let cut = self.plan.cut;
        // cut or not, request or answer
        let number = usize::from(cut) + 2 * usize::from(self.plan.name.contains("answer"));
        let (promise, words, deed) = match method {
            "rp.agents.list" => (Question, "agents list".to_owned(), Deed::Nothing),
            "rp.agents.ping" => (Question, format!("agents ping {HONEST}"), Deed::Nothing),
            "rp.agents.procedures" => (Question, format!("agents procedures {HONEST}"), Deed::Nothing),
            "rp.agents.reload" => (Change, format!("agents reload {HONEST}"), Deed::Nothing),
            "rp.agents.show" => (Question, format!("agents show {HONEST}"), Deed::Nothing),
            "rp.agents.revoked" => (Question, "agents list --revoked".to_owned(), Deed::Nothing),
            "rp.operators.revoked" => (Question, "operators list --revoked".to_owned(), Deed::Nothing),
            "rp.operators.list" => (Question, "operators list".to_owned(), Deed::Nothing),
            "rp.agents.revoke" => self.revoke("agents"),
            "rp.agents.restore" => self.restore("agents").await,
            "rp.operators.revoke" => self.revoke("operators"),
            "rp.operators.restore" => self.restore("operators").await,
            "rp.events.list" => (Question, "events --limit 3".to_owned(), Deed::Nothing),
            "rp.events.verify" => (Question, "events verify".to_owned(), Deed::Nothing),
            "rp.jobs.list" => (Question, "jobs list".to_owned(), Deed::Nothing),
            "rp.jobs.preview" => (Again, format!("run {HONEST} web.steps --dry-run"), Deed::Nothing),
            "rp.queues.list" => (Question, "queues list".to_owned(), Deed::Nothing),
            "rp.status" => (Question, "status".to_owned(), Deed::Nothing),
            "rp.jobs.follow" => (Again, format!("jobs follow {}", self.ended().await), Deed::Nothing),
            "rp.jobs.read" => (Question, format!("jobs read {}", self.ended().await), Deed::Nothing),
            "rp.jobs.result" => (Again, format!("jobs result {}", self.ended().await), Deed::Nothing),
            "rp.jobs.show" => (Question, format!("jobs show {}", self.ended().await), Deed::Nothing),
            "rp.jobs.cancel" => {
                let job = self.waiting().await;
                (Change, format!("jobs cancel {job}"), Deed::Moves(job, "open"))
            }
            "rp.jobs.delete" => {
                let job = self.ended().await;
                (Change, format!("jobs delete {job} --yes"), Deed::Deletes(job))
            }
            "rp.jobs.release" => {
                let job = self.held().await;
                (Change, format!("jobs release {job}"), Deed::Moves(job, "held"))
            }
            "rp.queues.cancel" => {
                let job = self.waiting().await;
                (Change, format!("queues cancel {} --yes", self.id), Deed::Moves(job, "open"))
            }
            "rp.queues.show" => {
                self.waiting().await;
                (Question, format!("queues show {}", self.id), Deed::Nothing)
            }
            "rp.notify" => {
                (Change, format!("notify {HONEST} sys.log \"{}\"", self.id), Deed::Logs(self.id.clone()))
            }
            "rp.procedures.disable" => {
                let name = format!("web.off{number}");
                (Change, format!("agents disable {HONEST} {name}"), Deed::Offers(name, false))
            }
            "rp.procedures.enable" => {
                let (name, world) = (format!("web.on{number}"), self.world());
                let asked = json!({ "agent": HONEST, "procedure": name });
                world.operator.ask("rp.procedures.disable", &asked).await.unwrap();
                (Change, format!("agents enable {HONEST} {name}"), Deed::Offers(name, true))
            }
            "rp.call" => (Change, format!("call {HONEST} exec.run"), Deed::Runs),
            "rp.jobs.submit" => {
                // where it is asked again by itself, rpctl has to make a key
                let key = if cut { String::new() } else { format!("--key {}", self.id) };
                (Submit, format!("run {key} {HONEST} exec.run"), Deed::Runs)
            }
            "site.ask" => (Change, format!("call @manager site.ask id={}", self.id), Deed::Nothing),
            other => panic!("how is {other} asked for?"),
        };
        let mut words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        if matches!(deed, Deed::Runs) {
            words.extend(["--", "sh", "-c"].map(str::to_owned));
            words.push(self.noting("echo out"));
        }
        (promise, words, deed)
    }

    /// Whether it is done; waits for it if it should be.
    pub(super) async fn is(&self, deed: &Deed, done: bool) {
        let (world, plan) = (self.world(), &self.plan);
        eventually(&format!("done is {done} of {plan:?}"), async || {
            let found = match deed {
                Deed::Nothing => done,
                Deed::Moves(job, before) => world.operator.show(job).await.unwrap().job.state != *before,
                Deed::Deletes(job) => world.operator.show(job).await.is_err(),
                Deed::Offers(procedure, wanted) => {
                    let answer = world.operator.call(HONEST, procedure, &json!({})).await;
                    let unknown = answer.is_err_and(|fault| fault.code == FaultCode::UnknownProcedure);
                    unknown != *wanted
                }
                Deed::Revokes(whose, id, wanted) => {
                    let list = world.operator.ask(&format!("rp.{whose}.revoked"), &json!({})).await.unwrap();
                    let RevokedList { revoked, .. } = list.decode().unwrap();
                    revoked.iter().any(|entry| entry.id == *id) == *wanted
                }
                Deed::Logs(word) => {
                    let log = world.directory().join(format!("agent-{HONEST}.log"));
                    std::fs::read_to_string(log).unwrap().contains(word)
                }
                Deed::Runs => self.starts() > 0,
            };
            (found == done).then_some(())
        })
        .await;
        assert!(self.starts() <= 1, "{plan:?}: started twice");
    }
}

//! Each kind of message between an operator and the manager is lost once, with and without the connection: `rpctl` ends as it
//! promises, what it says is true, and nothing is done twice.
#![expect(clippy::panic, clippy::unwrap_used, reason = "test code")]

mod case;
mod programs;

use std::time::Duration;

use futures_util::StreamExt as _;
use redpoll_tests::middle::Plan;
use redpoll_tests::middle::known::{ASKED_BY_RPCTL, BESIDE_OPERATORS, questions};
use redpoll_tests::process::Sleeper;
use redpoll_tests::site::text;
use redpoll_tests::within;
use redpoll_tests::work::numbers;
use redpoll_tests::world::HONEST;
use rustix::process::{Pid, Signal, kill_process};

use self::case::{Case, Promise, Stage};

/// How many lose something at the same time.
const AT_ONCE: usize = 8;
/// Prints more than a window holds, so that credit has to be given.
const MUCH: &str = "head -c 600000 /dev/zero | tr '\\0' x";
const EVENTS: &str = "events --follow --since 0 --limit 3";

impl Case {
    /// Loses the question or its answer.
    async fn question(&self, method: &str) {
        let (promise, words, deed) = self.verb(method).await;
        let (plan, answer_lost) = (&self.plan, self.plan.name.contains(": answer to "));
        let output = self.run(&words).await;
        self.middle.lost().await;
        let said = text(&output.stderr);
        let told = format!("{plan:?} {words:?}: {}{said}", text(&output.stdout));
        assert_eq!(output.status.code(), Some(promise.exit(plan.cut)), "{told}");
        self.is(&deed, answer_lost || output.status.success()).await;
        match promise {
            Promise::Change => {
                assert!(said.contains("may be done") || said.contains("may have run"), "{told}")
            }
            Promise::Question if plan.cut => {
                let again = self.run(&words).await;
                assert_eq!(again.status.code(), Some(0), "{told}{}", text(&again.stderr));
            }
            Promise::Submit if !plan.cut => {
                assert!(said.contains(&format!("--key {}", self.id)), "{told}");
                let again = self.run(&words).await;
                assert_eq!(again.status.code(), Some(0), "{told}{}", text(&again.stderr));
                assert_eq!((text(&again.stdout), self.starts()), ("out\n".to_owned(), 1), "{told}");
            }
            Promise::Submit => assert_eq!(text(&output.stdout), "out\n", "{told}"),
            Promise::Question | Promise::Again => {}
        }
        if method == "site.ask" {
            let asked = std::fs::read_to_string(self.stage.folder.path().join("asked")).unwrap_or_default();
            let times = asked.lines().filter(|line| line.contains(&format!("{}\"", self.id))).count();
            assert_eq!(times, usize::from(answer_lost), "{told}");
        }
    }

    /// Loses something else. Gives what `rpctl` did, how it may end, and what it must print to end well.
    async fn beside(&self) {
        let cut = self.plan.cut;
        let words = |text: &str, script: Option<&str>| {
            let words = text.split_whitespace().map(str::to_owned);
            let script = script.map(|script| ["--", "sh", "-c", script].map(str::to_owned));
            words.chain(script.into_iter().flatten()).collect::<Vec<_>>()
        };
        let call = |script: &str| words(&format!("call {HONEST} exec.run"), Some(script));
        let much = "x".repeat(600_000);
        let (words, codes, whole): (_, &[i32], _) = match self.plan.name.as_str() {
            "manager: hello" | "operator: hello" => (words("status", None), &[4], None),
            "operator: bye" => (words("status", None), &[0], None),
            "manager: ping" | "manager: pong" | "operator: ping" | "operator: pong" => {
                (call("sleep 0.6; echo out"), if cut { &[8] } else { &[0] }, Some("out\n".to_owned()))
            }
            "manager: rp.progress of rp.call" => {
                (words(&format!("call {HONEST} web.steps"), None), if cut { &[8] } else { &[0] }, None)
            }
            // a gap is a broken connection
            "manager: rp.value of rp.call" => (words(&format!("call {HONEST} web.steps"), None), &[8], None),
            "operator: rp.credit of rp.call" => (call(MUCH), if cut { &[8] } else { &[0, 6] }, Some(much)),
            "operator: rp.cancel of rp.call" => return self.interrupted().await,
            "manager: rp.value of rp.events.follow" => (words(EVENTS, None), &[0], None),
            "operator: rp.events.follow" => (words(EVENTS, None), if cut { &[0] } else { &[6] }, None),
            "manager: rp.value of rp.jobs.follow" => {
                let script = self.noting("seq 3 && sleep 0.3 && seq 3");
                let printed = format!("{0}{0}", numbers(3));
                (words(&format!("run {HONEST} exec.run"), Some(&script)), &[0], Some(printed))
            }
            "operator: rp.credit of rp.jobs.follow" => {
                let job = self.world().operator.submit(&self.oracle.job(HONEST, MUCH)).await.unwrap();
                self.world().operator.job_ended(&job).await;
                let codes: &[i32] = if cut { &[0] } else { &[0, 6] };
                (words(&format!("jobs follow {job}"), None), codes, Some(much))
            }
            other => panic!("how does {other} come about?"),
        };
        let output = self.run(&words).await;
        self.middle.lost().await;
        let printed = text(&output.stdout);
        let told = format!("{:?} {words:?}: {} bytes, {}", self.plan, printed.len(), text(&output.stderr));
        assert!(output.status.code().is_some_and(|code| codes.contains(&code)), "{}, {told}", output.status);
        if let Some(whole) = whole {
            assert!(whole.starts_with(&printed), "{told}");
            assert!(printed == whole || !output.status.success(), "{told}");
        }
        assert!(self.starts() <= 1, "{told}: started twice");
    }

    /// Interrupts a call, which has to end although nobody hears that it shall.
    async fn interrupted(&self) {
        let (sleeper, argv) = Sleeper::new(self.world().directory(), &self.id);
        let words = ["call", HONEST, "exec.run", "--"].into_iter().map(str::to_owned);
        let rpctl = self.rpctl(&words.chain(argv).collect::<Vec<_>>());
        sleeper.running().await;
        let pid = Pid::from_raw(i32::try_from(rpctl.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let output = within(Duration::from_secs(10), "rpctl ends", rpctl.wait_with_output()).await.unwrap();
        self.middle.lost().await;
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
        sleeper.ended().await;
    }
}

/// Loses each of `names` once, with and without its connection.
async fn lose_each(names: Vec<String>) {
    let stage = Stage::new().await;
    let plans = names.into_iter().flat_map(|name| [false, true].map(|cut| Plan { name: name.clone(), cut }));
    let cases = futures_util::stream::iter(plans.enumerate().collect::<Vec<_>>());
    cases
        .for_each_concurrent(AT_ONCE, async |(number, plan)| {
            let case = Case::new(stage.clone(), number, plan.clone()).await;
            let method = plan.name.rsplit(' ').next().unwrap_or_default().to_owned();
            match ASKED_BY_RPCTL.contains(&method.as_str()) && !plan.name.contains(" of ") {
                true => Box::pin(case.question(&method)).await,
                false => Box::pin(case.beside()).await,
            }
        })
        .await;
    stage.end().await;
}

#[tokio::test]
async fn what_rpctl_asks_and_what_it_is_answered_may_be_lost() {
    lose_each(questions("operator", "manager", ASKED_BY_RPCTL)).await;
}

#[tokio::test]
async fn what_is_said_beside_questions_may_be_lost() {
    lose_each(BESIDE_OPERATORS.iter().map(|&name| name.to_owned()).collect()).await;
}

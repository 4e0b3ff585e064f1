//! `rpctl run`: submits a job, and follows it.

use redpoll_common::api::method;
use redpoll_common::api::submit::{ALL_AGENTS, Preview, PreviewArguments, SubmitAnswer, SubmitArguments};
use redpoll_common::job::JobId;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use rmpv::Value;

use super::follow::{Wanted, follow};
use super::{Patient, agents, decoded, dry_run, encoded, interrupted, silent, submit, told};
use crate::Ended;
use crate::Stop;
use crate::cli::{RunArgs, StartArgs};
use crate::exit::Exit;
use crate::follow::Plan;
use crate::interrupt::Interrupts;
use crate::output::{Format, Output};
use crate::report::{Report, Target};
use crate::selector::Selector;
use crate::steady::{NoAnswer, Steady};

/// A job to run, checked.
#[derive(Debug)]
pub(super) struct RunQuestion {
    selector: Selector,
    selector_text: String,
    submit: SubmitArguments,
    /// The key was given, so that the job may be an older one.
    key_given: bool,
    program: Option<String>,
    follow: bool,
    dry_run: bool,
    allow_empty: bool,
    raw: bool,
}

impl RunQuestion {
    pub(super) fn read(args: &RunArgs) -> Result<Self, Stop> {
        Ok(Self {
            selector: Selector::parse(&args.selector)?,
            selector_text: args.selector.clone(),
            submit: submit::read(args)?,
            key_given: args.job.key.is_some(),
            program: submit::program(args),
            // what is held gives nothing until it is released
            follow: !args.detach && !args.job.hold,
            dry_run: args.dry_run,
            allow_empty: args.allow_empty,
            raw: args.raw,
        })
    }

    pub(super) async fn run(&self, patient: Patient<'_>) -> Ended {
        let Patient { settings, output, interrupts, deadline } = patient;
        let verbose = settings.verbose > 0;
        let mut steady = tokio::select! {
            biased;
            _ = interrupts.next() => return Err(interrupted("while connecting; nothing was sent").into()),
            steady = Steady::connect(settings, deadline) => steady?,
        };
        let chosen = tokio::select! {
            biased;
            _ = interrupts.next() => return Err(interrupted("before anything was submitted").into()),
            agents = self.agents(&mut steady, verbose, output) => agents?,
        };
        let Some(agents) = chosen else {
            if self.allow_empty {
                output.note(&format!("{} selects no agent; nothing was submitted", self.selector_text));
                steady.close().await;
                return self.nothing(output);
            }
            return Err(agents::nobody_matches(&self.selector_text).into());
        };
        let submit = SubmitArguments { agents, ..self.submit.clone() };
        if self.dry_run {
            let ended = tokio::select! {
                biased;
                _ = interrupts.next() => return Err(interrupted("before the answer came").into()),
                ended = dry_run::run(submit, &mut steady, output) => ended,
            };
            steady.close().await;
            return ended;
        }
        let answer = tokio::select! {
            biased;
            _ = interrupts.next() => return Err(self.unsure(Exit::Interrupted, "a signal came").into()),
            answer = self.submit(&submit, &mut steady, verbose) => answer?,
        };
        self.submitted(&answer, steady, output, interrupts).await
    }

    /// What scripts see of a job that has no agents: in place of the verdicts, of the id, of all that happens.
    fn nothing(&self, output: &mut Output) -> Ended {
        if self.dry_run && output.format() != Format::Table {
            output.list(&[], &[(); 0], |()| Vec::new())?;
            return Ok(Exit::Good);
        }
        silent::done(
            [("job", Value::Nil), ("runs", 0.into())],
            ("nothing was submitted", "no agent is selected"),
            output,
        )
    }

    /// The agents as they are submitted; `None` when there are none.
    async fn agents(
        &self,
        steady: &mut Steady<'_>,
        verbose: bool,
        output: &mut Output,
    ) -> Result<Option<Vec<String>>, Stop> {
        let agents = match &self.selector {
            Selector::Ids(ids) => ids.clone(),
            // which they are is decided where the job is stored; here only whether there are any
            Selector::All => {
                let all = vec![ALL_AGENTS.to_owned()];
                let found = preview_page(&all, None, Some(1), steady, verbose).await?;
                if found.total == 0 { Vec::new() } else { all }
            }
            Selector::Glob(glob) => {
                let target = Target::Manager { method: method::AGENTS_LIST };
                let ask = async |kwargs| {
                    let answer = question(steady, method::AGENTS_LIST, &kwargs).await;
                    answer.map_err(|no| no.report(&target, verbose))
                };
                let found = agents::list(ask, Some(glob)).await?;
                agents::not_revoked(found, (&self.selector_text, self.allow_empty), output)?
            }
        };
        Ok(Some(agents).filter(|agents| !agents.is_empty()))
    }

    /// Submits until it is known to be stored: the key makes repetition harmless.
    async fn submit(
        &self,
        submit: &SubmitArguments,
        steady: &mut Steady<'_>,
        verbose: bool,
    ) -> Result<SubmitAnswer, Stop> {
        match question(steady, method::JOBS_SUBMIT, &submit.write()).await {
            Ok(answer) => decoded(&answer, method::JOBS_SUBMIT),
            Err(no) if let Some(why) = no.doubt() => Err(self.unsure(Exit::Unknown, &why).into()),
            Err(NoAnswer::Fault { fault, .. })
                if fault.code == FaultCode::IdemConflict && matches!(self.selector, Selector::Glob(_)) =>
            {
                Err(self.other_fleet(&fault, verbose).into())
            }
            // of a call it would mean that something ran
            Err(NoAnswer::Fault { fault, .. }) if fault.code == FaultCode::TooLarge => {
                let help = "nothing was stored; name fewer agents, send less, or raise the limit that the reason names";
                Err(Report::new(Exit::Refused, "the job was not submitted", fault.message, help).into())
            }
            Err(NoAnswer::Late { why, .. }) => {
                let what = "the job was not submitted";
                Err(Report::new(Exit::Unreachable, what, why, "nothing was stored; try again").into())
            }
            Err(no) => Err(no.report(&Target::Manager { method: method::JOBS_SUBMIT }, verbose)),
        }
    }

    /// The key has a job: of the same words, perhaps, but not of the same agents.
    fn other_fleet(&self, fault: &Fault, verbose: bool) -> Report {
        let of_key = fault.message.split(|c: char| !c.is_ascii_alphanumeric());
        let of_key = of_key.filter_map(|word| JobId::parse(word).ok()).next();
        let job = of_key.map_or_else(|| "JOB".to_owned(), |job| job.to_string());
        let help = format!(
            "nothing was stored; {} may match other agents than it did then: rpctl jobs show {job} has those of then. \
             With another --key it would run again where it has run",
            self.selector_text
        );
        let target = Target::Manager { method: method::JOBS_SUBMIT };
        Report { help, ..Report::of_fault(fault, &target, verbose) }
    }

    /// The job may be stored or not.
    fn unsure(&self, exit: Exit, why: &str) -> Report {
        let key = self.submit.spec.key.as_deref().unwrap_or_default();
        let help = format!("submit exactly the same with --key {key}: if it was stored, that shows it");
        Report::new(exit, "whether the job was stored is not known", why, help)
    }

    async fn submitted(
        &self,
        answer: &SubmitAnswer,
        steady: Steady<'_>,
        output: &mut Output,
        interrupts: &mut Interrupts,
    ) -> Ended {
        let SubmitAnswer { job, existing, runs, deprecated } = answer;
        dry_run::warn(deprecated, *runs, output);
        // under a key of our own it was stored by a submit whose answer was lost: that is nobody's concern
        let existing = *existing && self.key_given;
        if existing {
            output.note(&format!("job {job} was there already, under the same key"));
        }
        if !self.follow {
            steady.close().await;
            if self.submit.spec.held {
                output.note(&format!("held: rpctl jobs release {job} starts it"));
            }
            return self.print_id(answer, existing, output);
        }
        let plan = Plan {
            job: job.clone(),
            procedure: self.submit.spec.procedure.clone(),
            program: self.program.clone(),
            runs: *runs,
            raw: self.raw,
            verbose: steady.settings().verbose > 0,
        };
        if output.look().live && !existing {
            output.note(&format!("job {job}"));
        }
        let wanted =
            Wanted { plan, agent: None, start: StartArgs::default(), known: None, existing, own: true };
        follow(&wanted, steady, output, interrupts).await
    }

    /// Prints the id of what was stored; a disk without room for that must not hide it.
    fn print_id(&self, answer: &SubmitAnswer, existing: bool, output: &mut Output) -> Ended {
        let job = crate::sanitize::line(&answer.job);
        let printed = if output.format() == Format::Table {
            output.bytes(format!("{job}\n").as_bytes())
        } else {
            output.document(&SubmitAnswer { existing, ..answer.clone() })
        };
        let done = format!("job {job} is stored and goes on");
        told(printed, Exit::Good, &done, &format!("see how it stands: rpctl jobs show {job}"))
    }
}

/// Until it is acknowledged a job is a question like others: each has the time of a call, or what is left of --timeout.
async fn question(steady: &mut Steady<'_>, method: &'static str, kwargs: &Raw) -> Result<Raw, NoAnswer> {
    let until = steady.answer_by();
    steady.ask(method, kwargs, steady.settings().config.call.timeout, Some(until)).await
}

async fn preview_page(
    agents: &[String],
    after: Option<String>,
    limit: Option<u32>,
    steady: &mut Steady<'_>,
    verbose: bool,
) -> Result<Preview, Stop> {
    let kwargs = encoded(&PreviewArguments { agents: agents.to_vec(), after, limit })?;
    let target = Target::Manager { method: method::JOBS_PREVIEW };
    let answer = question(steady, method::JOBS_PREVIEW, &kwargs).await;
    decoded(&answer.map_err(|no| no.report(&target, verbose))?, method::JOBS_PREVIEW)
}

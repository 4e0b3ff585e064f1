use super::*;

fn target() -> Target {
    Target::Procedure { agent: "web-1".into(), procedure: "sys.echo".into() }
}

#[test]
fn every_fault_says_what_why_and_what_next() {
    let targets = [
        target(),
        Target::Agent { agent: "web-1".into(), method: "rp.x" },
        Target::Manager { method: "rp.x" },
    ];
    for target in &targets {
        for code in FaultCode::ALL.iter().chain([&FaultCode::Other("new".into())]) {
            let report = Report::of_fault(&Fault::new(code.clone(), "the reason"), target, false);
            assert!(report.why.contains("the reason"), "{report:?}");
            assert!(!report.what.is_empty() && !report.help.is_empty(), "{report:?}");
            assert_eq!(report.exit, Exit::of_fault(code));
        }
    }
}

#[test]
fn a_procedures_own_failure_shows_class_and_on_demand_its_trace() {
    let mut fault = Fault::new(FaultCode::Failed, "bad thing");
    fault.class = Some("ValueError".into());
    fault.trace = Some("line 1\nline 2".into());
    let report = Report::of_fault(&fault, &target(), false);
    assert_eq!(
        (report.what.as_str(), report.why.as_str()),
        ("web-1: sys.echo failed", "ValueError: bad thing")
    );
    assert!(report.help.contains("-v") && report.details.is_none());
    let report = Report::of_fault(&fault, &target(), true);
    assert_eq!(report.details.as_deref(), Some("line 1\nline 2"));
}

#[test]
fn a_long_reason_is_cut() {
    let fault = Fault::new(FaultCode::Internal, "ä".repeat(MAX_WHY * 2));
    assert_eq!(Report::of_fault(&fault, &target(), false).why.chars().count(), MAX_WHY + 1);
}

#[test]
fn causes_stand_in_one_line_and_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Middle);
    #[derive(Debug, thiserror::Error)]
    #[error("middle: inner")]
    struct Middle(#[source] std::fmt::Error);
    let error = Outer(Middle(std::fmt::Error));
    assert_eq!(chain(&error), format!("outer: middle: inner: {}", std::fmt::Error));
    let report = Report::of_error(Exit::Usage, &error, "h");
    assert_eq!(report.what, "outer");
    assert!(report.why.starts_with("middle"));
}

fn phrased(code: FaultCode, message: &str, target: &Target) -> (String, String) {
    let report = Report::of_fault(&Fault::new(code, message), target, false);
    (report.what, report.help)
}

#[test]
fn a_run_that_a_job_does_not_have_is_no_missing_job() {
    let message = "the job 00ab has no run on web-2";
    for method in ["rp.jobs.result", "rp.jobs.follow", "rp.jobs.read", "rp.jobs.cancel"] {
        let (what, help) = phrased(FaultCode::UnknownJob, message, &Target::Manager { method });
        assert_eq!(what, format!("{method}: the job has no run on web-2"));
        assert!(help.ends_with("rpctl jobs show 00ab"), "{help}");
    }
    let other =
        phrased(FaultCode::UnknownJob, "there is no job 00ab", &Target::Manager { method: "rp.jobs.read" });
    assert!(other.0.contains("no such job"), "{other:?}");
}

#[test]
fn every_help_leads_to_what_decides_or_can_be_typed() {
    let procedure =
        |agent: &str, procedure: &str| Target::Procedure { agent: agent.into(), procedure: procedure.into() };
    let (job, manager) = (procedure("web-1", "site.deploy"), |method| Target::Manager { method });
    let outside = "\"/etc/x\" is beneath no folder of files.write in the agent's configuration";
    for (code, message, target, expected) in [
        (FaultCode::Rejected, "rule \"a\" of the owner's policy", job.clone(), "policy.toml"),
        (
            FaultCode::Rejected,
            outside,
            procedure("web-1", "file.write"),
            "[files] of the configuration of web-1",
        ),
        (FaultCode::BadArguments, "no", job.clone(), "rpctl agents procedures web-1 site.deploy"),
        (FaultCode::BadArguments, "no", manager("rp.jobs.submit"), "rpctl agents procedures AGENT PROCEDURE"),
        (
            FaultCode::BadArguments,
            "no",
            manager("rp.jobs.read"),
            "--agent AGENT; which there are: rpctl jobs show JOB",
        ),
        (
            FaultCode::BadArguments,
            "no",
            manager("rp.jobs.follow"),
            "--agent AGENT; which there are: rpctl jobs show JOB",
        ),
        (FaultCode::BadArguments, "no", manager("rp.events.list"), "rpctl events --help"),
        (FaultCode::BadArguments, "no", manager("rp.queues.cancel"), "rpctl queues cancel --help"),
        (
            FaultCode::TimedOut,
            "site.deploy exceeded its time limit of 1 s",
            job.clone(),
            "run_timeout of its manifest",
        ),
        (
            FaultCode::TimedOut,
            "sh exceeded its time limit of 1 s",
            procedure("web-1", "exec.run"),
            "run_timeout_ms",
        ),
        (
            FaultCode::TimedOut,
            "longer than 1s, limits.run_timeout of the agent",
            job.clone(),
            "configuration of web-1",
        ),
        (
            FaultCode::TimedOut,
            "site.deploy gave nothing for 1 s, its idle_timeout",
            job.clone(),
            "idle_timeout of its",
        ),
        (FaultCode::TimedOut, "the caller's time limit passed", job.clone(), "--timeout DUR"),
        (FaultCode::Forbidden, "may not", procedure("@manager", "site.deploy"), "callers of its manifest"),
        (FaultCode::Forbidden, "may not", manager("rp.jobs.submit"), "an operator's certificate"),
        (
            FaultCode::UnknownProcedure,
            "p@1 is switched off by the manager",
            procedure("web-1", "p"),
            "rpctl agents enable web-1 p",
        ),
    ] {
        let (what, help) = phrased(code, message, &target);
        assert!(help.contains(expected), "{message}: {what} / {help}");
    }
    let (what, _) = phrased(FaultCode::Overloaded, "the worker of p ended 5 times in a row", &job);
    assert_eq!(what, "web-1 cannot take site.deploy now");
}

#[test]
fn a_worker_that_never_became_ready_has_not_run_the_call() {
    let data = crate::value::encode(
        &crate::value::from_json(r#"{"exit":1,"signal":null,"started":false}"#).unwrap(),
    );
    let mut fault = Fault::new(FaultCode::Failed, "the worker of p exited with 1 before it was ready")
        .with_data(data.unwrap());
    fault.class = Some("ExitStatus".into());
    let report = Report::of_fault(&fault, &target(), false);
    assert!(
        report.what.contains("could not be started") && report.help.contains("nothing ran"),
        "{report:?}"
    );
}

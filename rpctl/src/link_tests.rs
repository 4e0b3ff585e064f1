use super::*;

#[test]
fn every_goodbye_and_refusal_says_what_to_do() {
    for code in ByeCode::ALL {
        assert!(!help_on_refusal(&Bye::new(*code, "no")).is_empty());
    }
    let bye = Bye::new(ByeCode::Overloaded, "full").retry_after(Duration::from_millis(1500));
    assert_eq!(help_on_refusal(&bye), "try again in 2 s");
    let exit = |refusal| refused("web-1: p", &refusal).exit;
    assert_eq!(exit(Refusal::TooLarge { len: 2, limit: 1 }), Exit::Refused);
    assert_eq!(exit(Refusal::TextOnly), Exit::Refused);
    assert_eq!(exit(Refusal::TooMany { limit: 1 }), Exit::Unreachable);
    assert_eq!(exit(Refusal::Closed(CloseReason::Ended)), Exit::Unreachable);
}

#[test]
fn a_question_and_a_call_end_differently_when_the_manager_is_lost() {
    let target = Target::Manager { method: "rp.status" };
    let report = no_answer(&CallError::Closed(CloseReason::Ended), &target, false);
    assert_eq!(report.exit, Exit::Unreachable);
    assert_eq!(lost("web-1: p", &CloseReason::Ended).exit, Exit::Unknown);
    let report = not_heard(&CallError::Closed(CloseReason::Ended), &target, false);
    assert!(report.exit == Exit::Unknown && report.help.contains("may be done"), "{report:?}");
    for (method, look) in
        [(method::NOTIFY, "the agent's log"), (method::PROCEDURES_DISABLE, "agents procedures web-1")]
    {
        let target = Target::Agent { agent: "web-1".to_owned(), method };
        let report = not_heard(&CallError::Closed(CloseReason::Ended), &target, false);
        assert!(report.exit == Exit::Unknown && report.help.contains(look), "{report:?}");
    }
    let fault = || CallError::Fault(Fault::new(FaultCode::WrongState, "the job is not held"));
    let (change, question) = (not_heard(&fault(), &target, false), no_answer(&fault(), &target, false));
    assert_eq!((change.exit, change.what), (question.exit, question.what), "what was answered is known");
    let report = no_answer(&CallError::TimedOut(Duration::from_millis(29_996)), &target, false);
    assert_eq!((report.exit, report.why.as_str()), (Exit::TimedOut, "there was no answer within 30s"));
    assert!(report.help.starts_with("nothing was changed"), "{report:?}");
    let report = not_heard(&CallError::TimedOut(Duration::from_secs(1)), &target, false);
    assert!(report.help.contains("may have run"), "{report:?}");
}

#[test]
fn what_had_no_time_left_was_not_sent() {
    let target = Target::Manager { method: "rp.jobs.cancel" };
    let report = not_heard(&CallError::TimedOut(Duration::ZERO), &target, false);
    assert!(report.exit == Exit::TimedOut && report.what.contains("was not sent"), "{report:?}");
    assert!(!report.help.contains("may have run"), "{report:?}");
}

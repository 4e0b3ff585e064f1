use super::*;

fn fault(role: Role, method: &str) -> Fault {
    decide(role, method).unwrap_err().into()
}

#[test]
fn every_method_answers_every_role_as_written_here() {
    // Written out on purpose: a right that is added or lost shows up as a change of this table.
    let expected = [
        // method, agent, operator, manager
        ("rp.agents.list", [false, true, false]),
        ("rp.agents.ping", [false, true, false]),
        ("rp.agents.procedures", [false, true, false]),
        ("rp.agents.reload", [false, true, false]),
        ("rp.agents.restore", [false, true, false]),
        ("rp.agents.revoke", [false, true, false]),
        ("rp.agents.revoked", [false, true, false]),
        ("rp.agents.show", [false, true, false]),
        ("rp.call", [false, true, false]),
        ("rp.events.emit", [true, false, false]),
        ("rp.events.follow", [false, true, false]),
        ("rp.events.list", [false, true, false]),
        ("rp.events.verify", [false, true, false]),
        ("rp.job.report", [true, false, false]),
        ("rp.job.resume", [true, false, false]),
        ("rp.jobs.cancel", [true, true, false]),
        ("rp.jobs.delete", [false, true, false]),
        ("rp.jobs.follow", [true, true, false]),
        ("rp.jobs.list", [false, true, false]),
        ("rp.jobs.preview", [false, true, false]),
        ("rp.jobs.read", [true, true, false]),
        ("rp.jobs.record", [true, false, false]),
        ("rp.jobs.release", [false, true, false]),
        ("rp.jobs.result", [true, true, false]),
        ("rp.jobs.show", [true, true, false]),
        ("rp.jobs.submit", [true, true, false]),
        ("rp.manager.echo", [true, true, false]),
        ("rp.manager.methods", [false, true, false]),
        ("rp.manager.time", [true, true, false]),
        ("rp.notify", [false, true, false]),
        ("rp.operators.list", [false, true, false]),
        ("rp.operators.restore", [false, true, false]),
        ("rp.operators.revoke", [false, true, false]),
        ("rp.operators.revoked", [false, true, false]),
        ("rp.procedures.disable", [false, true, false]),
        ("rp.procedures.enable", [false, true, false]),
        ("rp.queues.cancel", [false, true, false]),
        ("rp.queues.list", [false, true, false]),
        ("rp.queues.show", [false, true, false]),
        ("rp.status", [false, true, false]),
    ];
    assert_eq!(METHODS.len(), expected.len());
    for (name, rights) in expected {
        for (role, right) in Role::ALL.into_iter().zip(rights) {
            match decide(role, name) {
                Ok(allowed) => assert!(right && allowed.method().name == name, "{role} got {name}"),
                Err(denied) => {
                    let fault = Fault::from(denied);
                    assert!(!right, "{role} was refused {name}");
                    assert_eq!(fault.code, FaultCode::Forbidden);
                    assert_eq!(fault.message, format!("the role {role} may not use the method {name}"));
                }
            }
            assert_eq!(methods_of(role).any(|method| method.name == name), right);
        }
    }
}

#[test]
fn names_that_are_not_in_the_table_are_unknown_to_every_role() {
    for role in Role::ALL {
        for name in ["rp.", "rp.calls", "rp.call ", "rp.Call", "rp.agents", "rp.value", "rp.agent.draining"] {
            assert_eq!(fault(role, name).code, FaultCode::UnknownMethod, "{role} {name}");
        }
        for name in ["", "sys.echo", "rp", "RP.call", " rp.call", "exec.run"] {
            assert_eq!(fault(role, name).code, FaultCode::UnknownProcedure, "{role} {name}");
        }
    }
}

#[test]
fn a_procedure_sent_to_the_manager_is_answered_with_where_to_send_it() {
    let text = "the manager has no procedure \"sys.echo\"; those of an agent are called there: rpctl call AGENT PROCEDURE";
    assert_eq!(fault(Role::Operator, "sys.echo").message, text);
    // Advice that its reader may not follow is no advice.
    let fault = fault(Role::Agent, "sys.\u{1b}[31mecho");
    assert_eq!(fault.message, "the manager has no procedure \"sys.\\u{1b}[31mecho\"");
}

#[test]
fn every_type_of_notification_is_taken_from_agents_alone() {
    let expected = [
        ("rp.agent.draining", [true, false, false]),
        ("rp.agent.procedures", [true, false, false]),
        ("rp.manager.note", [true, false, false]),
    ];
    assert_eq!(NOTIFICATIONS.len(), expected.len());
    for (name, rights) in expected {
        for (role, right) in Role::ALL.into_iter().zip(rights) {
            let expected = if right { Ok(name) } else { Err(Ignored::Forbidden) };
            assert_eq!(decide_notification(role, name).map(|accepted| accepted.kind().name), expected);
        }
    }
    for role in Role::ALL {
        assert_eq!(decide_notification(role, "rp.call"), Err(Ignored::Unknown));
        assert_eq!(decide_notification(role, "disk.full"), Err(Ignored::Unknown));
    }
}

#[test]
fn the_tables_are_in_order_and_have_reserved_names_roles_and_summaries() {
    let methods = METHODS.iter().map(|entry| (entry.name, entry.roles, entry.summary));
    let notifications = NOTIFICATIONS.iter().map(|entry| (entry.name, entry.roles, entry.summary));
    assert!(METHODS.is_sorted_by(|one, next| one.name < next.name));
    assert!(NOTIFICATIONS.is_sorted_by(|one, next| one.name < next.name));
    for (name, roles, summary) in methods.chain(notifications) {
        assert!(name.starts_with(RESERVED_PREFIX) && !roles.is_empty() && !summary.is_empty(), "{name}");
    }
}

#[test]
fn routes_must_be_the_table_exactly() {
    let names = || METHODS.iter().map(|entry| entry.name);
    assert_eq!(check_routes(names()), Ok(()));
    let mismatch = check_routes(names().skip(1).chain(["rp.secret", "rp.call"])).unwrap_err();
    assert_eq!(mismatch.unlisted, ["rp.secret"]);
    assert_eq!(mismatch.unrouted, ["rp.agents.list"]);
    assert_eq!(mismatch.repeated, ["rp.call"]);
}

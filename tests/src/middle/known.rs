//! Which messages are lost by which test. Together they are all that `docs/protocol.md` lists: a test below compares.
//!
//! A method in a list stands for its request and its answer.

/// Everything that an agent says in a session with jobs and calls; lost by `lost_messages.rs`.
pub const SESSION_OF_AGENTS: &[&str] = &[
    "agent: answer to exec.run",
    "agent: answer to rp.job.cancel",
    "agent: answer to rp.job.offer",
    "agent: bye",
    "agent: hello",
    "agent: ping",
    "agent: pong",
    "agent: rp.agent.draining",
    "agent: rp.agent.procedures",
    "agent: rp.job.report",
    "agent: rp.job.report with a start",
    "agent: rp.job.report with an end",
    "agent: rp.job.report with items",
    "agent: rp.job.resume",
    "agent: rp.value",
];

/// Everything that a manager says in it.
pub const SESSION_OF_MANAGERS: &[&str] = &[
    "manager: answer to rp.job.report",
    "manager: answer to rp.job.report with an end",
    "manager: answer to rp.job.resume",
    "manager: bye",
    "manager: exec.run",
    "manager: hello",
    "manager: ping",
    "manager: pong",
    "manager: rp.cancel",
    "manager: rp.credit",
    "manager: rp.job.cancel",
    "manager: rp.job.offer",
];

/// What an agent asks the manager; this and the next three are lost by `lost_questions.rs`.
pub const ASKED_BY_AGENTS: &[&str] = &[
    "rp.events.emit",
    "rp.jobs.cancel",
    "rp.jobs.follow",
    "rp.jobs.read",
    "rp.jobs.result",
    "rp.jobs.show",
    "rp.jobs.submit",
    "rp.manager.echo",
    "rp.manager.time",
    "site.ask",
];

/// What an agent tells of runs that it made by itself.
pub const RECORDED: &[&str] = &["rp.jobs.record"];

/// What a manager has an agent do.
pub const ORDERS: &[&str] = &[
    "rp.agent.procedures",
    "rp.agent.reload",
    "rp.policy.test",
    "rp.procedures.disable",
    "rp.procedures.enable",
];

/// What belongs to questions, or stands alone.
pub const BESIDE_QUESTIONS: &[&str] = &[
    "agent: rp.cancel of site.slow",
    "agent: rp.credit of rp.jobs.follow",
    "agent: rp.job.report with progress",
    "agent: rp.progress of test.steps",
    "manager: rp.progress of site.ask",
    "manager: rp.value of rp.jobs.follow",
    "manager: rp.value of site.ask",
    "manager: sys.log",
];

/// What operators ask with `rpctl`; this and the next two are lost by `lost_operators.rs`.
pub const ASKED_BY_RPCTL: &[&str] = &[
    "rp.agents.list",
    "rp.agents.ping",
    "rp.agents.procedures",
    "rp.agents.reload",
    "rp.agents.restore",
    "rp.agents.revoke",
    "rp.agents.revoked",
    "rp.agents.show",
    "rp.call",
    "rp.events.list",
    "rp.events.verify",
    "rp.jobs.cancel",
    "rp.jobs.delete",
    "rp.jobs.follow",
    "rp.jobs.list",
    "rp.jobs.preview",
    "rp.jobs.read",
    "rp.jobs.release",
    "rp.jobs.result",
    "rp.jobs.show",
    "rp.jobs.submit",
    "rp.notify",
    "rp.operators.list",
    "rp.operators.restore",
    "rp.operators.revoke",
    "rp.operators.revoked",
    "rp.procedures.disable",
    "rp.procedures.enable",
    "rp.queues.cancel",
    "rp.queues.list",
    "rp.queues.show",
    "rp.status",
    "site.ask",
];

/// What `rpctl` has no word for; a program asks it.
pub const ASKED_BY_PROGRAMS: &[&str] = &["rp.manager.echo", "rp.manager.methods", "rp.manager.time"];

/// What belongs to the questions of operators, or stands alone.
pub const BESIDE_OPERATORS: &[&str] = &[
    "manager: hello",
    "manager: ping",
    "manager: pong",
    "manager: rp.progress of rp.call",
    "manager: rp.value of rp.call",
    "manager: rp.value of rp.events.follow",
    "manager: rp.value of rp.jobs.follow",
    "operator: bye",
    "operator: hello",
    "operator: ping",
    "operator: pong",
    "operator: rp.cancel of rp.call",
    "operator: rp.credit of rp.call",
    "operator: rp.credit of rp.jobs.follow",
    "operator: rp.events.follow",
];

/// What is lost by no test, and why.
pub const NEVER_LOST: &[(&str, &str)] = &[
    ("agent: rp.manager.note", "a text for a log: our agent sends none, nobody waits, nothing is promised"),
    ("operators' manager: answer to rp.events.follow", "there is none: the history goes on without end"),
    ("operators' manager: bye", "a connection that ends without it is cut everywhere else in these tests"),
];

/// The names of requests and answers of methods that `who` asks, and `whom`.
pub fn questions(who: &str, whom: &str, methods: &[&str]) -> Vec<String> {
    let both = |method: &&str| [format!("{who}: {method}"), format!("{whom}: answer to {method}")];
    methods.iter().flat_map(both).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PROTOCOL: &str = include_str!("../../../docs/protocol.md");
    const API: &str = include_str!("../../../common/src/api.rs");

    type Names = BTreeSet<String>;

    fn section(heading: &str) -> &'static str {
        let (_, body) = PROTOCOL.split_once(&format!("\n{heading}\n")).expect("a section");
        body.split("\n## ").next().unwrap_or(body).split("\n### ").next().unwrap_or(body)
    }

    /// The cells of the rows of a section, and the names in the first one.
    fn rows(heading: &str) -> Vec<(Vec<&'static str>, Vec<&'static str>)> {
        let rows = section(heading).lines().filter(|line| line.starts_with("| `"));
        let cells = rows.map(|line| line.split('|').skip(1).map(str::trim).collect::<Vec<_>>());
        cells.map(|cells| (cells.clone(), quoted(cells.first().copied().unwrap_or_default()))).collect()
    }

    fn quoted(text: &'static str) -> Vec<&'static str> {
        text.split('`').skip(1).step_by(2).collect()
    }

    fn asked(names: &mut Names, who: &str, whom: &str, methods: &[&str]) {
        names.extend(questions(who, whom, methods));
    }

    /// Everything that goes between the manager and `below`, as the document has it.
    fn documented(below: &str) -> Names {
        let mut names = Names::new();
        for kind in ["hello", "ping", "pong", "bye"] {
            names.extend([format!("{below}: {kind}"), format!("manager: {kind}")]);
        }
        for (cells, methods) in rows("## Methods of the manager") {
            let roles: Vec<&str> = cells.get(1).copied().unwrap_or_default().split(", ").collect();
            if roles.contains(&below) {
                asked(&mut names, below, "manager", &methods);
            }
        }
        asked(&mut names, below, "manager", &["a procedure"]);
        let is_agent = below == "agent";
        for (cells, kinds) in rows("## Values, progress, cancel, credit") {
            // operators serve nobody: they are callers alone
            let callee = match cells.get(1).copied() {
                Some("callee") => true,
                Some("caller") => false,
                // the table of violations
                _ => continue,
            };
            for kind in kinds {
                names.extend((is_agent || callee).then(|| format!("manager: {kind}")));
                names.extend((is_agent || !callee).then(|| format!("{below}: {kind}")));
            }
        }
        if !is_agent {
            return names;
        }
        for (cells, kinds) in rows("## Notification types") {
            let direction = cells.get(1).copied().unwrap_or_default();
            for kind in kinds {
                names.extend(direction.starts_with("agent →").then(|| format!("agent: {kind}")));
                names.extend(direction.starts_with("manager →").then(|| format!("manager: {kind}")));
            }
        }
        for (_cells, methods) in rows("## Methods of agents") {
            asked(&mut names, "manager", "agent", &methods);
        }
        // "come with jobs": they have no row
        asked(&mut names, "manager", "agent", &["rp.job.offer", "rp.job.cancel", "a procedure"]);
        names
    }

    /// Without what makes it more precise than the document.
    fn plain(name: &str) -> String {
        let name = name.split(" of ").next().unwrap_or(name).split(" with ").next().unwrap_or(name);
        let (who, what) = name.split_once(": ").expect("who says it");
        let (answer, what) = what.strip_prefix("answer to ").map_or(("", what), |what| ("answer to ", what));
        let is_procedure = what.contains('.') && !what.starts_with("rp.") && what != "sys.log";
        format!("{who}: {answer}{}", if is_procedure { "a procedure" } else { what })
    }

    fn compare(below: &str, lost: &[String], never: &[&str]) {
        let lost: Names = lost.iter().map(|name| plain(name)).collect();
        let never: Names = never.iter().map(|&name| name.to_owned()).collect();
        assert!(lost.is_disjoint(&never), "what is lost is no exception");
        let known: Names = lost.union(&never).cloned().collect();
        let all = documented(below);
        let left_out: Vec<_> = all.difference(&known).collect();
        assert!(left_out.is_empty(), "no test loses what the document has: {left_out:?}");
        let unheard_of: Vec<_> = known.difference(&all).collect();
        assert!(unheard_of.is_empty(), "the document does not have {unheard_of:?}");
    }

    fn exceptions(of_operators: bool) -> Vec<&'static str> {
        let names = NEVER_LOST.iter().map(|(name, _why)| *name);
        let mine = names.filter(|name| name.starts_with("operators' ") == of_operators);
        mine.map(|name| name.trim_start_matches("operators' ")).collect()
    }

    #[test]
    fn every_message_between_an_agent_and_the_manager_is_lost_by_a_test() {
        let mut lost: Vec<String> = [SESSION_OF_AGENTS, SESSION_OF_MANAGERS, BESIDE_QUESTIONS]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        lost.extend(questions("agent", "manager", ASKED_BY_AGENTS));
        lost.extend(questions("agent", "manager", RECORDED));
        lost.extend(questions("manager", "agent", ORDERS));
        compare("agent", &lost, &exceptions(false));
    }

    #[test]
    fn every_message_between_an_operator_and_the_manager_is_lost_by_a_test() {
        let mut lost: Vec<String> = BESIDE_OPERATORS.iter().map(|&name| name.to_owned()).collect();
        lost.extend(questions("operator", "manager", &[ASKED_BY_RPCTL, ASKED_BY_PROGRAMS].concat()));
        compare("operator", &lost, &exceptions(true));
    }

    #[test]
    fn every_name_in_the_code_is_one_of_these_messages() {
        let all: Names = documented("agent").union(&documented("operator")).cloned().collect();
        let names = API.split('"').skip(1).step_by(2).filter(|text| text.starts_with("rp."));
        let names: Vec<&str> = names.collect();
        assert!(names.len() > 30, "{names:?}");
        for name in names {
            assert!(all.iter().any(|message| message.ends_with(&format!(": {name}"))), "{name}");
        }
    }
}

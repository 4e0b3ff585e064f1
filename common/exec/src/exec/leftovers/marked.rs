//! What the environment of a process says of the run that it was started for.

use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::RunRef;
use redpoll_common::wire::MAX_METHOD_LEN;

use super::RUN_VARIABLE;

/// The mark that its agent gave to the tree of a process.
pub(super) fn run_mark(environment: &[u8]) -> Option<&str> {
    let mut entries = environment.split(|byte| *byte == 0);
    let value = entries.find_map(|entry| entry.strip_prefix(RUN_VARIABLE.as_bytes())?.strip_prefix(b"="))?;
    std::str::from_utf8(value).ok()
}

/// What tells the run of a process, in the words of its environment.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    agent: String,
    job: String,
    attempt: String,
    dno: String,
}

impl Mark {
    pub(super) fn of(agent: &PeerId, RunRef { job, attempt, dno }: RunRef) -> Self {
        Self {
            agent: agent.to_string(),
            job: job.to_string(),
            attempt: attempt.to_string(),
            dno: dno.to_string(),
        }
    }

    /// The mark of an environment that has all of it, and the procedure that it names.
    pub(super) fn read(environment: &[u8]) -> Option<(Self, String)> {
        let value = |name: &str| {
            let mut entries = environment.split(|byte| *byte == 0);
            let value = entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
            std::str::from_utf8(value).ok()
        };
        let mark = Self {
            job: value("REDPOLL_JOB")?.to_owned(),
            agent: value("REDPOLL_AGENT")?.to_owned(),
            attempt: value("REDPOLL_ATTEMPT")?.to_owned(),
            dno: value("REDPOLL_DNO")?.to_owned(),
        };
        let procedure = value("REDPOLL_PROCEDURE").filter(|name| name.len() <= MAX_METHOD_LEN);
        Some((mark, procedure.unwrap_or_default().escape_debug().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVIRONMENT: &[u8] = b"PATH=/bin\0REDPOLL_AGENT=web-1\0REDPOLL_ATTEMPT=2\0REDPOLL_DNO=7\0\
        REDPOLL_JOB=05050505050505050505050505050505\0REDPOLL_PROCEDURE=web.deploy@1\0";

    #[test]
    fn a_mark_is_the_run_of_one_agent_and_of_no_other() {
        let (mark, procedure) = Mark::read(ENVIRONMENT).unwrap();
        let run = RunRef {
            job: redpoll_common::job::JobId::from_bytes([5; 16]),
            attempt: redpoll_common::job::Attempt(2),
            dno: redpoll_common::job::Dno(7),
        };
        let of = |name: &str, run| Mark::of(&PeerId::parse(name).unwrap(), run);
        assert_eq!((&mark, procedure.as_str()), (&of("web-1", run), "web.deploy@1"));
        for other in [
            of("web-2", run),
            of("web-1", RunRef { attempt: redpoll_common::job::Attempt(1), ..run }),
            of("web-1", RunRef { dno: redpoll_common::job::Dno(8), ..run }),
            of("web-1", RunRef { job: redpoll_common::job::JobId::from_bytes([6; 16]), ..run }),
        ] {
            assert_ne!(mark, other);
        }
    }

    #[test]
    fn an_environment_without_all_of_it_marks_nothing() {
        for name in ["REDPOLL_AGENT", "REDPOLL_ATTEMPT", "REDPOLL_DNO", "REDPOLL_JOB"] {
            let text = String::from_utf8(ENVIRONMENT.to_vec()).unwrap();
            assert_eq!(Mark::read(text.replace(name, &format!("X{name}")).as_bytes()), None, "{name}");
            assert_eq!(Mark::read(text.replace(name, &format!("{name}_2")).as_bytes()), None, "{name}");
        }
        assert_eq!(Mark::read(b""), None);
    }
}

//! Which agents: the part of the selector language that this version knows, which selects by id.

use redpoll_common::ids::PeerId;
use redpoll_common::job::spec::MAX_AGENTS;

use crate::Stop;
use crate::report::Report;

const HELP: &str = "write *, an id such as web-1, a list such as web-1,web-2, or id:GLOB such as 'id:web-*'";

/// Which agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// `*`: all that the manager knows.
    All,
    /// `web-1`, `web-1,web-2`, `id in (web-1, web-2)`: these, in the order given, doubles once.
    Ids(Vec<String>),
    /// `id:web-*`: those whose id matches, with `*` and `?`.
    Glob(String),
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// [`Stop`] with exit code 2 for what is empty, wrong, or known to later versions only.
    pub fn parse(text: &str) -> Result<Self, Stop> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            let why = "an empty selector never means everybody";
            return Err(Report::usage("the selector is empty", why, HELP).into());
        }
        if trimmed == "*" {
            return Ok(Self::All);
        }
        if let Some(glob) = trimmed.strip_prefix("id:") {
            let good =
                !glob.is_empty() && glob.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-*?".contains(&b));
            return if good { Ok(Self::Glob(glob.to_owned())) } else { Err(cannot(text)) };
        }
        Self::ids(list(trimmed).unwrap_or(trimmed), text)
    }

    fn ids(list: &str, text: &str) -> Result<Self, Stop> {
        let mut ids: Vec<String> = Vec::new();
        let mut known = std::collections::HashSet::new();
        for id in list.split(',') {
            let id = PeerId::parse(id.trim()).map_err(|_| cannot(text))?.to_string();
            if known.insert(id.clone()) {
                ids.push(id);
            }
        }
        if ids.len() > MAX_AGENTS {
            let why = format!("it has {} ids, and a job runs on at most {MAX_AGENTS} agents", ids.len());
            return Err(
                Report::usage("the list of agents is too long", why, "make several jobs of it").into()
            );
        }
        Ok(Self::Ids(ids))
    }
}

/// What stands in the brackets of `id in (…)`.
fn list(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("id")?;
    let rest = rest.strip_prefix(char::is_whitespace)?.trim_start().strip_prefix("in")?;
    rest.trim_start().strip_prefix('(')?.strip_suffix(')')
}

fn cannot(text: &str) -> Stop {
    let why =
        "this version selects by id only: it knows no labels, facts and groups, and no words and, or, not";
    Report::usage(format!("cannot select by {text:?}"), why, HELP).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn selectors_by_id_are_read_and_others_refused() {
        let ids = |ids: &[&str]| Selector::Ids(ids.iter().map(|id| (*id).to_owned()).collect());
        for (text, selector) in [
            ("*", Selector::All),
            (" * ", Selector::All),
            ("web-1", ids(&["web-1"])),
            ("web-2,web-1, web-2", ids(&["web-2", "web-1"])),
            ("id in (a, b)", ids(&["a", "b"])),
            ("id in(a)", ids(&["a"])),
            ("id", ids(&["id"])),
            ("id:web-*", Selector::Glob("web-*".into())),
            ("id:*", Selector::Glob("*".into())),
        ] {
            assert_eq!(Selector::parse(text).ok(), Some(selector), "{text:?}");
        }
        for text in [
            "",
            "  ",
            "id:",
            "label.role=db",
            "not web-1",
            "a and b",
            "web-*",
            "id:a b",
            "group:x",
            "a,",
            ",",
            "a,,b",
            "id in ()",
            "id in (a",
            "id in (a and b)",
            "a,*",
        ] {
            let Err(Stop::Failed(report)) = Selector::parse(text) else { panic!("{text:?} was accepted") };
            assert_eq!(report.exit, Exit::Usage, "{text:?}");
        }
    }
}

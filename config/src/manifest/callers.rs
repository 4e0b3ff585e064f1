//! Who may call a procedure of the manager: `callers = ["agent:web-*", "operator:*"]`.

use redpoll_common::identity::Role;
use redpoll_schema::policy::{MAX_PATTERN, Pattern};

/// The most entries of one list.
pub(super) const MAX_CALLERS: usize = 256;

/// Patterns over who calls. None of them: nobody may.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Callers(Vec<(Role, Pattern)>);

impl Callers {
    /// Reads the entries of a list: `agent:` or `operator:`, then a name in which `*` stands for any characters.
    ///
    /// # Errors
    /// What is wrong with the first that is wrong, for a person.
    pub fn parse(entries: &[String]) -> Result<Self, String> {
        entries.iter().map(|entry| parse(entry)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the list is empty: nobody may.
    pub fn is_nobody(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether somebody may call.
    pub fn admit(&self, role: Role, id: &str) -> bool {
        self.0.iter().any(|(of, pattern)| *of == role && pattern.fits_text(id))
    }
}

fn parse(entry: &str) -> Result<(Role, Pattern), String> {
    let wrong = || {
        format!(
            "{entry:?} is nobody; write agent:NAME or operator:NAME, with * for any characters, such as \"agent:web-*\", \
             at most {MAX_PATTERN} bytes of name"
        )
    };
    let (role, pattern) = entry.split_once(':').ok_or_else(wrong)?;
    let role = match role {
        "agent" => Role::Agent,
        "operator" => Role::Operator,
        _ => return Err(wrong()),
    };
    // what no name can have would never fit, and whoever wrote it would wait for a caller in vain
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*');
    let pattern = Pattern::new(pattern).ok().filter(|_| pattern.chars().all(good)).ok_or_else(wrong)?;
    Ok((role, pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callers(entries: &[&str]) -> Result<Callers, String> {
        Callers::parse(&entries.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_caller_is_admitted_by_role_and_name_and_by_default_nobody_is() {
        let some = callers(&["agent:web-*", "operator:ada"]).unwrap();
        for (role, id, expected) in [
            (Role::Agent, "web-1", true),
            (Role::Agent, "db-1", false),
            (Role::Agent, "ada", false),
            (Role::Operator, "ada", true),
            (Role::Operator, "web-1", false),
            (Role::Operator, "adam", false),
            (Role::Manager, "ada", false),
        ] {
            assert_eq!(some.admit(role, id), expected, "{role} {id}");
            assert!(!Callers::default().admit(role, id));
        }
        assert!(callers(&["operator:*"]).unwrap().admit(Role::Operator, "x"));
    }

    #[test]
    fn what_could_be_no_caller_is_refused() {
        for wrong in ["", "*", "web-1", "agent:", "manager:m-1", "agent:web 1", "agent:web@2", "agent:web-?"]
        {
            assert!(callers(&[wrong]).unwrap_err().contains("agent:NAME"), "{wrong}");
        }
    }
}

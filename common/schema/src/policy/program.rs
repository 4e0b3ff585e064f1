//! What an allow rule that says which program `exec.run` runs leaves to the caller beside: nothing that makes another one of it.

use serde_json::Value;

use super::{Effect, Request, Rule};

/// What runs any program.
const EXEC: &str = "exec.run";

/// An argument of a call of which a rule says nothing, and has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsaid {
    /// Variables: `PATH` says which program a name is, `LD_PRELOAD` and `BASH_ENV` what else runs in it.
    Variables,
    /// The working directory: a path of the program that is not absolute begins there, and programs read files of it.
    Directory,
}

impl Unsaid {
    const ALL: [Self; 2] = [Self::Variables, Self::Directory];

    fn name(self) -> &'static str {
        match self {
            Self::Variables => "env",
            Self::Directory => "cwd",
        }
    }

    /// The argument and what to do, for a refusal.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Variables => {
                "args.env (the rule is about argv and does not name these variables: leave them out, or have the rule name \
                 them, such as args.env = {only = [\"LANG\"]})"
            }
            Self::Directory => {
                "args.cwd (the rule is about argv and says nothing of a working directory: leave it out, or have the rule \
                 name it, such as args.cwd = \"/srv\")"
            }
        }
    }
}

impl Rule {
    /// What a call of `exec.run` gives, and this rule would have to speak of: it allows by `argv`, and that holds nobody to a
    /// program who may give it any variables.
    pub(super) fn unsaid<'r>(&'r self, request: &'r Request<'_>) -> impl Iterator<Item = Unsaid> + 'r {
        let is_about_argv = || self.args.keys().any(|path| path == "argv" || path.starts_with("argv."));
        let matters = self.effect == Effect::Allow && request.name == EXEC && is_about_argv();
        let gives =
            move |what: &Unsaid| matters && self.lacks(what.name(), request.args.text.get(what.name()));
        Unsaid::ALL.into_iter().filter(gives)
    }

    /// Whether it says nothing of an argument that is given, nor of each part of it.
    fn lacks(&self, name: &str, given: Option<&Value>) -> bool {
        let says_nothing = |path: &str| !self.args.contains_key(path);
        match given {
            // nil is absent
            None | Some(Value::Null) => false,
            Some(Value::Object(entries)) => {
                says_nothing(name) && entries.keys().any(|key| says_nothing(&format!("{name}.{key}")))
            }
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                says_nothing(name)
            }
        }
    }
}

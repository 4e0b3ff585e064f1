//! The file of the agent's local policy, `policy.toml`. What its rules mean is in `redpoll_schema::policy`.

mod rule;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redpoll_schema::policy::{MAX_RULES, Policy, Switching};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::file::{lines_of, syntax_at};
use crate::manifest::ManifestProblem;
use crate::manifest::files;
use crate::manifest::table::{Fields, Notes, to_object};
use crate::values::choice::choice;

/// `[policy]`: what may run here, whatever a manager says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// The file with the rules. One that is not there is the default policy, see [`load_policy`].
    pub file: PathBuf,
    /// To whom the file and the folders above it have to belong.
    pub owner: PolicyOwner,
}

choice! {
    /// To whom a policy has to belong.
    PolicyOwner, "agent or root", {
        /// To root, or to the user the agent runs as: what runs as the agent could change it then.
        Agent = "agent",
        /// To root alone.
        Root = "root",
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self { file: PathBuf::from("/etc/redpoll/policy.toml"), owner: PolicyOwner::Agent }
    }
}

/// Bytes of a policy.
const MAX_POLICY_FILE: u64 = 256 * 1024;

/// A policy that was read.
#[derive(Debug, Clone)]
pub struct LoadedPolicy {
    /// The rules.
    pub policy: Policy,
    /// What the file says, as JSON with sorted keys and without comments: equal for equal policies, for a digest.
    pub canonical: String,
    /// Why somebody other than root may put another file in its place; `None`: nobody may.
    pub replaceable: Option<String>,
}

/// Reads a policy that belongs to whom it has to. A file that is not there is the default policy, which has no rules.
///
/// # Errors
/// Everything that is wrong, with lines. Nothing of a file with a mistake is used: a rule that is left out could be the
/// one that denies. A file that others may change, or that is in a folder that others may change, is refused.
pub fn load_policy(file: &Path, owner: PolicyOwner) -> Result<LoadedPolicy, Vec<ManifestProblem>> {
    let whole = |what: String| vec![ManifestProblem { access: true, ..ManifestProblem::whole(file, what) }];
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let replaceable = files::replaceable_beside_root(file);
    if let (PolicyOwner::Root, Some(why)) = (owner, &replaceable) {
        let remedy = "have root own it, for the configuration says that only root may";
        return Err(whole(format!("{why}; {remedy}")));
    }
    // what is not there may only have been put aside, by whom a folder above belongs to
    if rustix::process::geteuid().is_root() {
        files::refuse_replaceable(file).map_err(|error| whole(error.to_string()))?;
    }
    let parse = |text: &str| Ok(LoadedPolicy { replaceable, ..parse(file, text)? });
    // a link that leads nowhere is not a file that is not there: somebody meant to have a policy
    if fs::symlink_metadata(file).as_ref().is_err_and(missing) {
        return parse("");
    }
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        files::refuse_foreign(folder).map_err(|error| whole(error.to_string()))?;
    }
    let text = files::read(file, MAX_POLICY_FILE).map_err(|unread| whole(unread.what))?;
    parse(&text)
}

fn parse(file: &Path, text: &str) -> Result<LoadedPolicy, Vec<ManifestProblem>> {
    let table: Table = toml::from_str(text).map_err(|error| {
        let (line, what) = syntax_at(text, &error);
        vec![ManifestProblem { line: Some(line), ..ManifestProblem::whole(file, what) }]
    })?;
    let canonical = serde_json::Value::Object(to_object(table.clone())).to_string();
    let starts = rule_lines(text);
    let mut notes = Notes::new(file.to_owned(), lines_of(text));
    let mut fields = Fields::new("", table, &mut notes);
    let tables = match fields.take("rule") {
        None => Vec::new(),
        Some(value) => tables(value).unwrap_or_else(|| {
            fields.wrong("rule", "each rule is a table of its own, headed [[rule]]");
            Vec::new()
        }),
    };
    if tables.len() > MAX_RULES {
        fields.wrong("rule", format!("{} rules, more than {MAX_RULES}", tables.len()));
    }
    let switching = match fields.text("switches").as_deref() {
        None | Some("manager") => Switching::Manager,
        Some("nobody") => Switching::Nobody,
        Some(_) => {
            fields.wrong("switches", "who may disable and enable procedures: \"manager\" or \"nobody\"");
            Switching::Nobody
        }
    };
    fields.finish();
    let (mut rules, mut names) = (Vec::new(), BTreeSet::new());
    for (index, table) in tables.into_iter().enumerate().take(MAX_RULES) {
        let at = format!("rule.{}", index + 1);
        if let Some(line) = starts.get(index) {
            notes.place(&at, *line);
        }
        notes.refuse_not_finite(&at, &table);
        let Some(rule) = rule::read(&at, table, &mut notes) else { continue };
        if !names.insert(rule.name.clone()) {
            notes.add(&format!("{at}.name"), format!("{:?} is the name of another rule already", rule.name));
        }
        rules.push(rule);
    }
    if notes.problems.is_empty() {
        Ok(LoadedPolicy {
            policy: Policy::new(rules).with_switching(switching),
            canonical,
            replaceable: None,
        })
    } else {
        Err(notes.problems)
    }
}

fn tables(value: Value) -> Option<Vec<Table>> {
    let Value::Array(items) = value else { return None };
    items.into_iter().map(|item| item.as_table().cloned()).collect()
}

/// The lines of the headings of rules. A heading within a text of several lines would be counted too: lines are a courtesy.
fn rule_lines(text: &str) -> Vec<usize> {
    let headings = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("[[rule]]"));
    headings.map(|(index, _)| index + 1).collect()
}

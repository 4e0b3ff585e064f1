//! One rule of a policy.

use std::collections::BTreeMap;
use std::time::Duration;

use redpoll_common::roles::{MAX_ROLE_LEN, is_role};
use redpoll_schema::policy::{Constraint, Effect, Hours, MAX_PATTERN, Pattern, Rate, Rule, Weekday};
use toml::{Table, Value};

use crate::manifest::table::{Fields, Notes, to_json};
use crate::values::duration::parse_duration;

/// The most entries of a list.
const MAX_LIST: usize = 256;
/// The longest name of a rule, in bytes.
const MAX_NAME: usize = 100;
/// What a constraint may be, for a person.
const CONSTRAINT: &str = "expected a value, a list of values, {min = …, max = …}, {match = \"GLOB\"}, {regex = \"…\"} or, of a \
    map, {only = [\"NAME\", …]}; a path of several words stands in quotes: args.\"user.name\"";

/// Reads a rule; `None` when it has no name or effect. Other problems are noted, and the policy is refused for them.
pub(super) fn read(at: &str, table: Table, notes: &mut Notes) -> Option<Rule> {
    let mut fields = Fields::new(at, table, notes);
    let name = name(&mut fields);
    let effect = effect(&mut fields);
    // of a rule without an effect nothing is used
    let kind = effect.as_ref().map_or(Effect::Deny, |(effect, _)| *effect);
    let args = args(&mut fields, kind);
    let operators = fields.texts("operators", MAX_LIST);
    if kind == Effect::Deny {
        refuse_empty(&mut fields, "operators", operators.as_deref(), "ada");
    }
    let operators = operators.map(|texts| patterns(&mut fields, "operators", &texts));
    let roles = roles(&mut fields);
    let hours = hours(&mut fields);
    let users = fields.texts("users", MAX_LIST);
    let run_as = fields.text("run_as");
    if run_as.as_ref().is_some_and(String::is_empty) {
        fields.wrong("run_as", "the name of a user is missing");
    }
    let rate = rate(&mut fields);
    if matches!(effect, Some((Effect::Deny, _))) {
        for (field, given) in
            [("users", users.is_some()), ("run_as", run_as.is_some()), ("rate", rate.is_some())]
        {
            if given {
                fields.wrong(field, "this is for rules that allow; one that denies, denies");
            }
        }
    }
    fields.finish();
    let (effect, procedures) = effect?;
    Some(Rule { name: name?, effect, procedures, args, operators, roles, hours, users, run_as, rate })
}

fn name(fields: &mut Fields<'_>) -> Option<String> {
    let name = fields.text("name").unwrap_or_default();
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        fields.wrong("name", format!("each rule has a name of 1 to {MAX_NAME} bytes; refusals tell it"));
        return None;
    }
    Some(name)
}

fn effect(fields: &mut Fields<'_>) -> Option<(Effect, Vec<Pattern>)> {
    let (allow, deny) = (fields.texts("allow", MAX_LIST), fields.texts("deny", MAX_LIST));
    let (effect, field, texts) = match (allow, deny) {
        (Some(texts), None) => (Effect::Allow, "allow", texts),
        (None, Some(texts)) => (Effect::Deny, "deny", texts),
        (Some(_), Some(_)) | (None, None) => {
            fields.wrong("allow", "a rule has one of allow and deny, a list such as allow = [\"web.*\"]");
            return None;
        }
    };
    if texts.is_empty() {
        fields.wrong(field, "the list is empty, so the rule would never fit");
    }
    Some((effect, patterns(fields, field, &texts)))
}

fn patterns(fields: &mut Fields<'_>, name: &str, texts: &[String]) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for text in texts {
        match Pattern::new(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => fields.wrong(name, error.to_string()),
        }
    }
    patterns
}

/// A condition that nothing meets: a rule that denies by it would deny nothing. What it says must not open a rule that allows.
fn refuse_empty(fields: &mut Fields<'_>, name: &str, texts: Option<&[String]>, example: &str) {
    if texts.is_some_and(<[String]>::is_empty) {
        let what =
            format!("the list is empty; name {name}, such as {name} = [{example:?}], or delete the rule");
        fields.wrong(name, what);
    }
}

/// What could be no role would fit nobody, either.
fn roles(fields: &mut Fields<'_>) -> Option<Vec<String>> {
    let roles = fields.texts("roles", MAX_LIST)?;
    refuse_empty(fields, "roles", Some(&roles), "deploy");
    for role in roles.iter().filter(|role| !is_role(role)) {
        let what = format!(
            "{role:?} is no role: 1 to {MAX_ROLE_LEN} letters, digits, '.', '_', '-', as the manager names it"
        );
        fields.wrong("roles", what);
    }
    Some(roles)
}

fn args(fields: &mut Fields<'_>, effect: Effect) -> BTreeMap<String, Constraint> {
    let table = fields.table("args").unwrap_or_default();
    let mut args = BTreeMap::new();
    for (path, value) in table {
        match constraint(value, effect) {
            Ok(constraint) => {
                args.insert(path, constraint);
            }
            Err(what) => fields.wrong(&format!("args.{path}"), what),
        }
    }
    args
}

fn constraint(value: Value, effect: Effect) -> Result<Constraint, String> {
    let mut table = match value {
        Value::Table(table) => table,
        Value::Array(items) if items.is_empty() && effect == Effect::Deny => {
            let what = "the list is empty, and no argument is in it; list values, or delete the rule";
            return Err(what.to_owned());
        }
        Value::Array(items) => return Ok(Constraint::OneOf(items.into_iter().map(to_json).collect())),
        one @ (Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)) => return Ok(Constraint::OneOf(vec![to_json(one)])),
    };
    let mut number = |name: &str| {
        let value = table.remove(name).map(to_json);
        value.map(|value| value.as_number().cloned().ok_or_else(|| format!("{name} is not a number")))
    };
    let (min, max) = (number("min").transpose()?, number("max").transpose()?);
    let (glob, regex, only) = (table.remove("match"), table.remove("regex"), table.remove("only"));
    if !table.is_empty() {
        return Err(CONSTRAINT.to_owned());
    }
    if let Some(names) = only {
        let is_alone = min.is_none() && max.is_none() && glob.is_none() && regex.is_none();
        return if is_alone { only_these(&names, effect) } else { Err(CONSTRAINT.to_owned()) };
    }
    match (min.is_some() || max.is_some(), glob, regex) {
        (true, None, None) => Ok(Constraint::Range { min, max }),
        (false, Some(Value::String(glob)), None) if glob.len() <= MAX_PATTERN => Ok(Constraint::Glob(glob)),
        (false, None, Some(Value::String(regex))) => Constraint::regex(&regex, effect),
        (true | false, _, _) => Err(CONSTRAINT.to_owned()),
    }
}

/// The names that a map may have, with `*`; without any: none.
fn only_these(names: &Value, effect: Effect) -> Result<Constraint, String> {
    if effect == Effect::Deny {
        // it would deny who gives nothing, and let pass who gives something else beside
        let what = "only is for rules that allow; to deny what has a name, name it: args.\"env.PATH\" = {match = \"*\"}";
        return Err(what.to_owned());
    }
    let one = |name: &Value| name.as_str().filter(|name| name.len() <= MAX_PATTERN).map(str::to_owned);
    let names = names.as_array().filter(|names| names.len() <= MAX_LIST);
    let names = names.and_then(|names| names.iter().map(one).collect());
    names.map(Constraint::Only).ok_or_else(|| {
        format!("only is a list of at most {MAX_LIST} names of at most {MAX_PATTERN} bytes, such as only = [\"LANG\", \"LC_*\"]")
    })
}

fn hours(fields: &mut Fields<'_>) -> Option<Hours> {
    let table = fields.table("hours")?;
    let before = fields.notes.problems.len();
    let words = fields.inner("hours", table, |inner| {
        let days = inner.texts("days", 7);
        let (from, to) = (inner.text("from"), inner.text("to"));
        (days, from, to, inner.text("zone"))
    });
    let (days, from, to, zone) = words;
    let days = days.map_or_else(
        || Some(Weekday::ALL.to_vec()),
        |days| days.iter().map(|day| Weekday::parse(day)).collect(),
    );
    let (from, to) = (minute(from.as_deref().unwrap_or("00:00")), minute(to.as_deref().unwrap_or("24:00")));
    let utc = match zone.as_deref() {
        Some("utc") => Some(true),
        Some("local") | None => Some(false),
        Some(_) => None,
    };
    match (days, from, to, utc) {
        (Some(days), Some(from), Some(to), Some(utc)) if from < 1440 && !days.is_empty() => {
            Some(Hours { days, from, to, utc })
        }
        (_, _, _, _) => {
            if fields.notes.problems.len() == before {
                let what = "expected {days = [\"mon\", …, \"sun\"], from = \"09:00\", to = \"17:00\", zone = \"local\" or \"utc\"}";
                fields.wrong("hours", what);
            }
            None
        }
    }
}

/// `09:30` as the minute of the day; `24:00` is its end.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |text: &str| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u16>().ok())
    };
    let (hour, minute) = (two(hour)??, two(minute)??);
    let sum = hour * 60 + minute;
    (minute < 60 && sum <= 1440).then_some(sum)
}

fn rate(fields: &mut Fields<'_>) -> Option<Rate> {
    let text = fields.text("rate")?;
    let read = || {
        let (count, per) = text.split_once('/')?;
        let count = count.trim().parse().ok().filter(|count| (1..=1_000_000).contains(count))?;
        let per = parse_duration(per).ok().filter(|per| *per >= Duration::from_millis(100))?;
        Some(Rate { count, per })
    };
    let rate = read();
    if rate.is_none() {
        fields.wrong("rate", "expected so many per so long, such as \"10/1m\"");
    }
    rate
}

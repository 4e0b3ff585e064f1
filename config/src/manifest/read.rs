//! From the text of a manifest to a [`Manifest`], or to everything that is wrong with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redpoll_schema::{MAX_REDACT_PATHS, Redaction, Schema};
use toml::{Table, Value};

use super::callers::{Callers, MAX_CALLERS};
use super::files::{self, MAX_SCHEMA_FILE, Unread};
use super::folder::Side;
use super::manager;
use super::name;
use super::problem::ManifestProblem;
use super::table::{Fields, Notes, kind, to_object};
use super::{Manifest, ProcedureLimits, ProcedureMode, ProcedureOutput, ProcedureSchedule};
use crate::file::{lines_of, syntax_at};
use crate::values::duration::format_duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const TIB: u64 = MIB * MIB;

/// The longest description or deprecation note, in bytes.
const MAX_NOTE: usize = 4096;
/// The most words of a command.
const MAX_COMMAND: usize = 256;
/// The most variables of an environment.
const MAX_ENV: usize = 256;
/// How long a worker may take to say that it is ready, unless told.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle worker is kept, unless told.
const IDLE_SHUTDOWN: Duration = Duration::from_secs(600);
/// Bytes of a line, unless told.
const LINE: u64 = MIB;

/// Reads the text of `file`.
///
/// # Errors
/// Every problem of the file.
pub(super) fn manifest(file: &Path, text: &str, side: Side) -> Result<Manifest, Vec<ManifestProblem>> {
    let table: Table = toml::from_str(text).map_err(|error| {
        let (line, what) = syntax_at(text, &error);
        vec![ManifestProblem { line: Some(line), ..ManifestProblem::whole(file, what) }]
    })?;
    let mut notes = Notes::new(file.to_owned(), lines_of(text));
    notes.refuse_not_finite("", &table);
    let read = fields(file, Fields::new("", table, &mut notes), side);
    match read {
        Some(manifest) if notes.problems.is_empty() => Ok(manifest),
        Some(_) | None => Err(notes.problems),
    }
}

fn fields(file: &Path, mut fields: Fields<'_>, side: Side) -> Option<Manifest> {
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let name = name::read(&mut fields);
    let version = fields.number("version", 1..=u32::MAX).unwrap_or(1);
    let description = note(&mut fields, "description").unwrap_or_default();
    let deprecated = note(&mut fields, "deprecated");
    let command = command(&mut fields, folder);
    let mode = fields.parsed("mode").unwrap_or(ProcedureMode::Once);
    let output = fields.parsed("output").unwrap_or(ProcedureOutput::Json);
    if mode == ProcedureMode::Worker && output == ProcedureOutput::Text {
        fields.wrong(
            "output",
            "a worker has to say where a run ends: use output = \"json\", or mode = \"once\"",
        );
    }
    let (args, schema) = args(&mut fields, folder);
    let user = user(&mut fields);
    let group = account(&mut fields, "group", "group");
    let cwd = cwd(&mut fields);
    let env = env(&mut fields);
    let run_timeout = fields.duration("run_timeout", SECOND..=YEAR);
    let idle_timeout = fields.duration("idle_timeout", SECOND..=YEAR);
    let grace = fields.duration("grace", Duration::ZERO..=HOUR);
    let concurrency = fields.number("concurrency", 1..=4096);
    let idempotent = fields.flag("idempotent").unwrap_or(false);
    let limits = limits(&mut fields);
    let redact = redact(&mut fields);
    let enabled = fields.flag("enabled").unwrap_or(true);
    let admin = fields.flag("admin").unwrap_or(false);
    let (callers, callback) = called_by(&mut fields, side);
    let manager = manager::rights(&mut fields, side, (mode, output));
    let schedule = schedule(&mut fields, schema.as_ref());
    if side == Side::Manager && schedule.is_some() {
        fields.wrong("schedule", "the manager runs nothing by itself; have an agent do it");
    }
    let ready_timeout = fields.duration("ready_timeout", SECOND..=HOUR).unwrap_or(READY_TIMEOUT);
    let idle_shutdown = fields.duration("idle_shutdown", Duration::ZERO..=DAY * 30).unwrap_or(IDLE_SHUTDOWN);
    let health_interval = fields.duration("health_interval", SECOND..=DAY);
    if health_interval.is_some() && mode == ProcedureMode::Once {
        fields.wrong(
            "health_interval",
            "only a process that stays is asked: use mode = \"worker\", or leave it out",
        );
    }
    let cancel_line = cancel_line(&mut fields, (mode, output));
    fields.finish();
    Some(Manifest {
        file: file.to_owned(),
        name: name?,
        version,
        description,
        deprecated,
        command: command?,
        mode,
        output,
        args: args?,
        user,
        group,
        cwd,
        env,
        run_timeout,
        idle_timeout,
        grace,
        concurrency,
        idempotent,
        limits,
        redact,
        enabled,
        admin,
        callers,
        callback,
        manager,
        schedule,
        ready_timeout,
        idle_shutdown,
        health_interval,
        cancel_line,
    })
}

fn note(fields: &mut Fields<'_>, name: &'static str) -> Option<String> {
    let text = fields.text(name)?;
    if text.len() > MAX_NOTE {
        fields.wrong(name, format!("{} bytes, more than {MAX_NOTE}", text.len()));
    }
    Some(text)
}

fn command(fields: &mut Fields<'_>, folder: &Path) -> Option<Vec<String>> {
    match fields.take("command") {
        None => {
            fields.wrong(
                "command",
                "it is missing; name the program and its arguments, such as [\"/usr/bin/uname\", \"-a\"]",
            );
            None
        }
        Some(Value::String(text)) => {
            let words =
                text.split_whitespace().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
            let what = "there is no shell, so nothing splits or expands a text and nobody can smuggle a second command in";
            fields.wrong("command", format!("{what}; write a list: command = [{words}]"));
            None
        }
        Some(Value::Array(items)) => {
            let words: Option<Vec<String>> =
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            let Some(mut words) = words else {
                fields.wrong("command", "every entry of the list has to be a text in quotes");
                return None;
            };
            let what = match words.first() {
                None => "the list is empty; its first entry is the program".to_owned(),
                Some(program) if program.is_empty() => "the program's name is empty".to_owned(),
                Some(_) if words.len() > MAX_COMMAND => format!("more than {MAX_COMMAND} words"),
                Some(_) if words.iter().any(|word| word.contains('\0')) => "a word holds a NUL".to_owned(),
                Some(_) => return program(fields, folder, &mut words).then_some(words),
            };
            fields.wrong("command", what);
            None
        }
        Some(
            other @ (Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Table(_)),
        ) => {
            fields.wrong("command", format!("found {}, expected a list of texts", kind(&other)));
            None
        }
    }
}

/// A program with a slash is a path, from the manifest's folder on; it must be nobody's to replace.
fn program(fields: &mut Fields<'_>, folder: &Path, words: &mut [String]) -> bool {
    let Some(program) = words.first_mut().filter(|program| program.contains('/')) else { return true };
    let path = folder.join(&*program);
    // it is started in another folder than this process; where that is not known, the path stays as it is, and its runs say so
    let path = std::path::absolute(&path).unwrap_or(path);
    match path.to_str() {
        Some(text) => text.clone_into(program),
        None => {
            fields.wrong(
                "command",
                "the path of the folder is not UTF-8; name the program by its absolute path",
            );
            return false;
        }
    }
    // one that is not there may come later; its runs say so
    match files::refuse_replaceable(&path) {
        Ok(()) => true,
        Err(error) => {
            fields.wrong("command", error.to_string());
            false
        }
    }
}

fn args(fields: &mut Fields<'_>, folder: &Path) -> (Option<serde_json::Value>, Option<Schema>) {
    let schema = match fields.take("args") {
        None => serde_json::json!({}),
        Some(Value::Table(table)) => serde_json::Value::Object(to_object(table)),
        Some(Value::String(path)) => match schema_file(&folder.join(path)) {
            Ok(schema) => schema,
            Err(unread) => {
                fields.notes.unread("args", unread);
                return (None, None);
            }
        },
        Some(
            other @ (Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)),
        ) => {
            let what = "a JSON Schema as a table, or the path of a JSON file that holds it";
            fields.wrong("args", format!("found {}, expected {what}", kind(&other)));
            return (None, None);
        }
    };
    match Schema::compile(&schema) {
        Ok(compiled) => (Some(schema), Some(compiled)),
        Err(error) => {
            fields.wrong("args", format!("it is not a usable JSON Schema: {error}"));
            (None, None)
        }
    }
}

fn schema_file(path: &Path) -> Result<serde_json::Value, Unread> {
    let text = files::read(path, MAX_SCHEMA_FILE)?;
    serde_json::from_str(&text).map_err(|error| format!("{} is not JSON: {error}", path.display()).into())
}

/// As whom it runs: `user` in any case, `demote` where this process is root and could be anybody.
fn user(fields: &mut Fields<'_>) -> Option<String> {
    let (user, demote) = (account(fields, "user", "user"), account(fields, "demote", "user"));
    if user.is_some() && demote.is_some() {
        fields.wrong("demote", "user says already as whom it runs; keep one of the two");
    }
    user.or_else(|| demote.filter(|_| rustix::process::geteuid().is_root()))
}

fn account(fields: &mut Fields<'_>, name: &'static str, what: &str) -> Option<String> {
    let text = fields.text(name)?;
    let good = !text.is_empty()
        && text.len() <= 64
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || c == ':');
    if !good {
        fields.wrong(name, format!("{text:?} is not the name of a {what}"));
    }
    good.then_some(text)
}

fn cwd(fields: &mut Fields<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(fields.text("cwd")?);
    if !path.is_absolute() {
        fields.wrong("cwd", "the path is not absolute; begin it with /");
        return None;
    }
    Some(path)
}

fn env(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let table = fields.table("env").unwrap_or_default();
    if table.len() > MAX_ENV {
        fields.wrong("env", format!("{} variables, more than {MAX_ENV}", table.len()));
    }
    let mut env = BTreeMap::new();
    for (name, value) in table {
        let field = format!("env.{name}");
        if name.is_empty() || name.contains(['=', '\0']) {
            fields.wrong(&field, "this cannot be the name of a variable");
        } else if name.starts_with("REDPOLL_") {
            fields.wrong(&field, "names that begin with REDPOLL_ are set by the agent");
        } else if let Value::String(text) = value
            && !text.contains('\0')
        {
            env.insert(name, text);
        } else {
            fields.wrong(&field, "expected a text in quotes, without NUL");
        }
    }
    env
}

fn limits(fields: &mut Fields<'_>) -> ProcedureLimits {
    let table = fields.table("limits").unwrap_or_default();
    let mut inner = Fields::new("limits", table, fields.notes);
    let limits = ProcedureLimits {
        memory: inner.size("memory", MIB..=64 * TIB),
        cpu: inner.number("cpu", 1..=100_000),
        processes: inner.number("processes", 1..=1_000_000),
        output: inner.size("output", KIB..=TIB),
        line: Some(inner.size("line", KIB..=64 * MIB).unwrap_or(LINE)),
    };
    inner.finish();
    limits
}

fn redact(fields: &mut Fields<'_>) -> Vec<String> {
    let paths = fields.texts("redact", MAX_REDACT_PATHS).unwrap_or_default();
    for path in &paths {
        if let Err(error) = Redaction::new(std::slice::from_ref(path)) {
            fields.wrong("redact", error.to_string());
        }
    }
    paths
}

/// Who may call it and whether it is a callback, which only the manager asks its manifests.
fn called_by(fields: &mut Fields<'_>, side: Side) -> (Callers, bool) {
    let before = fields.notes.problems.len();
    let (callers, callback) = (fields.texts("callers", MAX_CALLERS), fields.flag("callback"));
    let given = [("callers", callers.is_some()), ("callback", callback.is_some())];
    for (name, _) in given.into_iter().filter(|(_, is_given)| *is_given && side == Side::Agent) {
        fields.wrong(name, "this is for procedures of the manager; who may call here is said by policy.toml");
    }
    if side == Side::Agent || fields.notes.problems.len() > before {
        return (Callers::default(), false);
    }
    let callers = Callers::parse(&callers.unwrap_or_default()).unwrap_or_else(|what| {
        fields.wrong("callers", what);
        Callers::default()
    });
    (callers, callback.unwrap_or(false))
}

fn cancel_line(fields: &mut Fields<'_>, of: (ProcedureMode, ProcedureOutput)) -> bool {
    let cancel_line = fields.flag("cancel_line").unwrap_or(false);
    if cancel_line && of != (ProcedureMode::Once, ProcedureOutput::Json) {
        let what = "it is for mode = \"once\" with output = \"json\"; a worker has the line without it";
        fields.wrong("cancel_line", what);
    }
    cancel_line
}

fn schedule(fields: &mut Fields<'_>, schema: Option<&Schema>) -> Option<ProcedureSchedule> {
    let table = fields.table("schedule")?;
    let mut inner = Fields::new("schedule", table, fields.notes);
    let before = inner.notes.problems.len();
    let every = inner.duration("every", SECOND..=YEAR);
    if every.is_none() && inner.notes.problems.len() == before {
        inner.wrong("every", "it is missing; say how often, such as every = \"1h\"");
    }
    let jitter = inner.duration("jitter", Duration::ZERO..=YEAR).unwrap_or_default();
    let at_start = inner.flag("at_start").unwrap_or(false);
    let kwargs = inner.table("kwargs").map(to_object).unwrap_or_default();
    if let Some(every) = every.filter(|every| jitter >= *every) {
        let text =
            format!("{} is not shorter than every, {}", format_duration(jitter), format_duration(every));
        inner.wrong("jitter", text);
    }
    if let Some(Err(error)) = schema.map(|schema| schema.check_json(&kwargs.clone().into())) {
        inner.wrong("kwargs", format!("they do not fit args: {error}"));
    }
    inner.finish();
    Some(ProcedureSchedule { every: every?, jitter, at_start, kwargs })
}

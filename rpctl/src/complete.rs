//! `rpctl __complete`: what may come next on a command line, as the manager knows it: agents, procedures, arguments and their values.
//!
//! The scripts of `rpctl completions` ask it. It answers within half a second or says nothing: whoever presses Tab must not wait
//! for a manager that is not there, and errors have no place between the words.

use std::time::Duration;

use redpoll_common::api::{AgentList, AgentListArguments, method};
use redpoll_common::typed::{is_key, stands_for_itself};
use redpoll_common::wire::Raw;
use redpoll_net::peer::Call;
use rmpv::Value;
use tokio::time::{Instant, timeout};

use crate::cli::Global;
use crate::commands::{MANAGER, SYS_PROCEDURES, criteria_candidates, known, listed, meant, read_list};
use crate::link::Link;
use crate::schema_help::arguments;
use crate::settings::{Settings, Terminals};
use crate::value::decode;

/// How long everything may take together.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long the runtime may take to end what it still does.
const RUNTIME_END: Duration = Duration::from_millis(10);
/// Agents that are offered.
const AGENTS: u32 = 500;
/// How data may be printed.
const FORMATS: [&str; 4] = ["table", "json", "jsonl", "yaml"];
/// Verbs whose `--agent` is one agent.
const OF_AGENT: [&str; 5] = ["list", "read", "result", "follow", "cancel"];
/// Options that take a value as the next word.
const VALUED: [&str; 39] = [
    "--manager",
    "--config",
    "-c",
    "-o",
    "--output",
    "--timeout",
    "--color",
    "--args",
    "--kwargs",
    "--stdin",
    "--env",
    "--cwd",
    "--queue",
    "--concurrency",
    "--offline",
    "--start-within",
    "--run-timeout",
    "--idle-timeout",
    "--grace",
    "--output-limit",
    "--overflow",
    "--retry",
    "--key",
    "--info",
    "--callback",
    "--count",
    "--since",
    "--recent",
    "--state",
    "--agent",
    "--submitter",
    "--type",
    "--limit",
    "--jobs",
    "--wait",
    "--certificate",
    "--reason",
    "--where",
    "--attempt",
];

/// Whose words they are put between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shell<'s> {
    /// Splits words at these characters as well, and wants what follows the last of them; with it, where that is an `@`.
    Bash { breaks: &'s str },
    /// Takes whole words.
    Other,
}

/// What is to be completed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// `manager`: or the manager itself, where its procedures are meant as well.
    Agent {
        manager: bool,
    },
    Procedure {
        agent: String,
    },
    Argument {
        agent: String,
        procedure: String,
    },
    /// Of `jobs cancel --where`.
    Criteria,
    /// Of `cp`, as `AGENT:`; the other side is a file here.
    Target,
    /// Of `-o`. Some shells do not know what follows an option before the verb.
    Format,
}

/// Gives the candidates, one a line. `words` are the shell (`bash` or `words`), the command line up to the cursor, and of bash what ends a
/// word there.
pub fn run(words: &[String]) -> String {
    let (shell, typed, breaks) = match words {
        [shell, typed] => (shell, typed, "=:"), // a script of before
        [shell, typed, breaks] => (shell, typed, breaks.as_str()),
        _ => return String::new(),
    };
    let shell = if shell == "bash" { Shell::Bash { breaks } } else { Shell::Other };
    let (before, current) = split(typed);
    let Some(wanted) = wanted(&before) else { return String::new() };
    // what rpctl knows itself needs no manager
    let known = match wanted {
        Wanted::Criteria => criteria_candidates(&current),
        Wanted::Format => Some(FORMATS.map(str::to_owned).into()),
        Wanted::Agent { .. } | Wanted::Procedure { .. } | Wanted::Argument { .. } | Wanted::Target => None,
    };
    let found = match known {
        Some(known) => fitting(known, &current),
        None => ask(&global(&before), &wanted, &current).unwrap_or_default(),
    };
    found.iter().map(|word| format!("{}\n", cut(shell, &current, word))).collect()
}

/// The words that are complete, without the program's name, and the one that is not.
fn split(typed: &str) -> (Vec<String>, String) {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    let mut characters = typed.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => (quote, begun) = (Some(c), true),
            ('\\', None | Some('"')) => {
                word.extend(characters.next());
                begun = true;
            }
            (c, None) if c.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (c, _) => {
                word.push(c);
                begun = true;
            }
        }
    }
    (words.into_iter().skip(1).collect(), word)
}

/// Words that are no options and no values of options.
fn plain_words(before: &[String]) -> Option<Vec<&str>> {
    let (mut plain, mut words) = (Vec::new(), before.iter());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--" => return None, // what follows is nobody's business here
            option if option.starts_with('-') => {
                if VALUED.contains(&option) {
                    words.next()?; // without one, the value itself is being typed
                }
            }
            other => plain.push(other),
        }
    }
    Some(plain)
}

fn wanted(before: &[String]) -> Option<Wanted> {
    if let [before @ .., last] = before {
        let words = || plain_words(before);
        match last.as_str() {
            "--where" => return (words()?.as_slice() == ["jobs", "cancel"]).then_some(Wanted::Criteria),
            "--agent" => {
                let is_of_job = matches!(words()?.as_slice(), ["jobs", verb, ..] if OF_AGENT.contains(verb));
                return is_of_job.then_some(Wanted::Agent { manager: false });
            }
            "-o" | "--output" => return words().map(|_| Wanted::Format),
            _ => {}
        }
    }
    match plain_words(before)?.as_slice() {
        ["call"] | ["agents", "procedures"] => Some(Wanted::Agent { manager: true }),
        ["run" | "notify"]
        | ["agents", "show" | "ping" | "reload" | "enable" | "disable" | "revoke" | "restore"]
        | ["agents", "revoke", ..] => Some(Wanted::Agent { manager: false }),
        ["call" | "run", agent] | ["agents", "procedures" | "enable" | "disable", agent] => {
            Some(Wanted::Procedure { agent: first_of(agent)? })
        }
        ["call" | "run", agent, procedure, ..] => {
            Some(Wanted::Argument { agent: first_of(agent)?, procedure: (*procedure).to_owned() })
        }
        ["cp"] => Some(Wanted::Target),
        ["cp", source] if !source.contains(":/") => Some(Wanted::Target),
        _ => None,
    }
}

/// The first agent of a selector that names some.
fn first_of(selector: &str) -> Option<String> {
    let first = selector.split(',').next()?.trim();
    if first == MANAGER {
        return Some(first.to_owned());
    }
    redpoll_common::ids::PeerId::parse(first).ok().map(|id| id.to_string())
}

/// The options that say whom to ask.
fn global(before: &[String]) -> Global {
    // the last one holds, as where they are read
    let value = |name: &str| {
        let words = before.iter().enumerate().rev();
        words.into_iter().find_map(|(at, word)| match word.strip_prefix(name)? {
            "" => before.get(at + 1).cloned(),
            value => value.strip_prefix('=').map(str::to_owned),
        })
    };
    Global {
        manager: value("--manager"),
        config: value("--config").map(Into::into),
        output: None,
        timeout: None,
        color: None,
        verbose: 0,
        check_config: false,
    }
}

fn ask(global: &Global, wanted: &Wanted, current: &str) -> Option<Vec<String>> {
    let settings = Settings::load(global, Terminals::of_process()).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let answer = async {
        let link = Link::connect(&settings, Some(Instant::now() + PATIENCE)).await.ok()?;
        candidates(&link, wanted, current).await
    };
    let found = runtime.block_on(async { timeout(PATIENCE, answer).await });
    runtime.shutdown_timeout(RUNTIME_END);
    found.ok().flatten()
}

async fn candidates(link: &Link, wanted: &Wanted, current: &str) -> Option<Vec<String>> {
    let found: Vec<String> = match wanted {
        Wanted::Agent { manager } => {
            let mut found = agents(link, current).await?;
            found.extend(manager.then(|| MANAGER.to_owned()));
            found
        }
        Wanted::Procedure { agent } => procedures(&offered(link, agent, None).await?, current),
        Wanted::Argument { agent, procedure } => {
            let name = procedure.split_once('@').map_or(procedure.as_str(), |(name, _)| name);
            let list = offered(link, agent, Some(name)).await?;
            let infos = read_list(&list);
            from_schema(&meant(&infos, procedure)?.args, current)
        }
        // a file here has a slash before anything else, and a path on an agent is known there
        Wanted::Target if current.contains(['/', ':']) => return None,
        Wanted::Target => agents(link, current).await?.into_iter().map(|agent| format!("{agent}:")).collect(),
        Wanted::Format => return None,
        Wanted::Criteria => {
            let (start, name) = current.rsplit_once("agent=")?;
            let found = agents(link, name).await?;
            found.into_iter().map(|agent| format!("{start}agent={agent}")).collect()
        }
    };
    Some(fitting(found, current))
}

fn fitting(mut found: Vec<String>, current: &str) -> Vec<String> {
    // what stands on a command line is text of this machine's shell: nothing of another machine may mean something to it
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.=:/@,+".contains(c);
    // nor be an option of this program
    found.retain(|word| word.starts_with(current) && !word.starts_with('-') && word.chars().all(is_plain));
    found.sort();
    found.dedup();
    found
}

/// What an agent offers, as the manager knows it, or what the manager itself offers to whoever asks.
async fn offered(link: &Link, agent: &str, name: Option<&str>) -> Option<Vec<Value>> {
    if agent == MANAGER {
        let answer = link.peer().call(Call::new(SYS_PROCEDURES, PATIENCE)).await.ok()?;
        return listed(&decode(&answer)).cloned();
    }
    let request = |kwargs: Raw| Call::new(method::AGENTS_PROCEDURES, PATIENCE).with_kwargs(kwargs);
    known(link.peer(), request, agent, name).await.ok()?
}

async fn agents(link: &Link, current: &str) -> Option<Vec<String>> {
    // of a list `a,b` the last one is completed
    let (list, last) = current.rsplit_once(',').map_or(("", current), |(list, last)| (list, last));
    let is_name = last.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let arguments =
        AgentListArguments { id: is_name.then(|| format!("{last}*")), after: None, limit: Some(AGENTS) };
    let kwargs = Raw::encode(&arguments).ok()?;
    let answer = link.peer().call(Call::new(method::AGENTS_LIST, PATIENCE).with_kwargs(kwargs)).await.ok()?;
    let answer: AgentList = answer.decode().ok()?;
    let before = if list.is_empty() { String::new() } else { format!("{list},") };
    let is_new = |id: &String| !list.split(',').any(|one| one.trim() == *id);
    let ids = answer.agents.into_iter().map(|agent| agent.id).filter(is_new);
    Some(ids.map(|id| format!("{before}{id}")).collect())
}

/// Names; with their versions once an `@` is typed.
fn procedures(list: &[Value], current: &str) -> Vec<String> {
    let offered = read_list(list).into_iter().filter(|info| info.disabled.is_none());
    let word = |info: redpoll_net::ProcedureInfo| {
        if current.contains('@') { format!("{}@{}", info.name, info.version) } else { info.name }
    };
    offered.map(word).collect()
}

/// `name=` or `name:=`, and after it the values where there are few. All of it was chosen by another machine: offered is only what is sent as
/// it stands, never what names a file of this one.
fn from_schema(schema: &serde_json::Value, current: &str) -> Vec<String> {
    let mut found = Vec::new();
    for argument in arguments(schema).into_iter().filter(|argument| is_key(&argument.name)) {
        let equals = if argument.is_text { "=" } else { ":=" };
        let start = format!("{}{equals}", argument.name);
        if current.starts_with(&start) {
            let value = |value: &serde_json::Value| match value.as_str() {
                Some(text) if argument.is_text => stands_for_itself(text).then(|| format!("{start}{text}")),
                // of another type than it is typed as
                None if argument.is_text => None,
                Some(_) | None => Some(format!("{start}{value}")),
            };
            return argument.values.iter().filter_map(value).collect();
        }
        found.push(start);
    }
    found
}

/// What the shell puts in place of its own word.
fn cut<'w>(shell: Shell<'_>, current: &str, word: &'w str) -> &'w str {
    let at = match shell {
        Shell::Bash { breaks } => {
            let ends = |c: char| "=:@".contains(c) && breaks.contains(c);
            // readline leaves an `@` to the word that it begins
            current
                .char_indices()
                .rfind(|(_, c)| ends(*c))
                .map_or(0, |(at, c)| if c == '@' { at } else { at + 1 })
        }
        Shell::Other => 0,
    };
    word.get(at..).unwrap_or(word)
}

#[cfg(test)]
#[path = "complete_tests.rs"]
mod tests;

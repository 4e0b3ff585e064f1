//! `docs/configuration.md` has every key, with the default and the limits that the code has.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use redpoll_config::{
    AgentConfig, Config, ConfigError, ManagerConfig, Override, RpctlConfig, Sources, format_duration, load,
    parse_duration, parse_size,
};

/// One row of a table of keys.
struct Row {
    kind: String,
    default: String,
    limits: String,
}

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md")).unwrap()
}

/// The rows of the tables of keys below the given headings.
fn rows(headings: &[&str]) -> BTreeMap<String, Row> {
    let text = document();
    let parts = text.split("\n## ").filter(|part| headings.iter().any(|heading| part.starts_with(heading)));
    let mut rows = BTreeMap::new();
    for line in parts.flat_map(str::lines) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let ["", key, kind, default, limits, meaning, ""] = *cells
            && key.contains('.')
        {
            assert!(!meaning.is_empty(), "{key} has no meaning");
            let [kind, default, limits] = [kind, default, limits].map(str::to_owned);
            let earlier = rows.insert(key.trim_matches('`').to_owned(), Row { kind, default, limits });
            assert!(earlier.is_none(), "{key} is there twice");
        }
    }
    rows
}

fn load_with<C: Config>(settings: &[(&str, &str)]) -> Result<redpoll_config::Loaded<C>, ConfigError> {
    let overrides = settings.iter().map(|(key, value)| Override::flag("--set", key, value)).collect();
    // Without the home folder of whoever runs this, and so that `~/` shows as itself.
    let environment = vec![("HOME".into(), "~".into())];
    load::<C>(&Sources { file: Some("/dev/null".into()), environment, overrides })
}

fn reference_agrees<C: Config>(headings: &[&str], required: &[(&str, &str)]) {
    let mut rows = rows(headings);
    let effective = load_with::<C>(required).unwrap().effective;
    assert!(!effective.is_empty());
    for found in &effective {
        let row = rows.remove(&found.key).unwrap_or_else(|| panic!("{} is not in the reference", found.key));
        if required.iter().all(|(key, _)| *key != found.key) {
            let written = row.default.replace('`', "");
            assert_eq!(written, found.value.trim_matches(['(', ')']), "default of {}", found.key);
        }
        if let Some((low, high)) = limits(&row.limits) {
            limits_agree::<C>(&found.key, &row.kind, &low, &high, required);
        } else if ["number", "size", "duration"].contains(&row.kind.as_str()) {
            panic!("{} has no limits", found.key);
        }
    }
    assert!(rows.is_empty(), "no such keys: {:?}", rows.keys());
}

/// "`1` to `4096`, at least …" as `1` and `4096`.
fn limits(cell: &str) -> Option<(String, String)> {
    let (low, rest) = cell.strip_prefix('`')?.split_once("` to `")?;
    Some((low.to_owned(), rest.split_once('`')?.0.to_owned()))
}

/// The limits themselves are accepted, and what lies beyond them is not.
fn limits_agree<C: Config>(key: &str, kind: &str, low: &str, high: &str, required: &[(&str, &str)]) {
    // Zero switches off or is the lower limit: nothing lies below it.
    let (below, above) = match kind {
        "duration" => {
            let (low, high) = (parse_duration(low).unwrap(), parse_duration(high).unwrap());
            let step = std::time::Duration::from_millis(1);
            (low.checked_sub(step).map(format_duration), format_duration(high + step))
        }
        "size" => {
            (Some((parse_size(low).unwrap() - 1).to_string()), (parse_size(high).unwrap() + 1).to_string())
        }
        "number" => {
            let (low, high): (u64, u64) = (low.parse().unwrap(), high.parse().unwrap());
            (low.checked_sub(1).map(|n| n.to_string()), (high + 1).to_string())
        }
        other => panic!("{key}: limits of a {other}"),
    };
    let refused = |value: &str| -> bool {
        let mut settings = required.to_vec();
        settings.push((key, value));
        match load_with::<C>(&settings) {
            Err(ConfigError::Problems { problems }) => {
                problems.iter().any(|problem| problem.key == key && problem.what.contains(" is outside "))
            }
            Err(error) => panic!("{key} = {value}: {error}"),
            Ok(_) => false,
        }
    };
    assert!(!refused(low) && !refused(high), "{key}: {low} or {high} is refused");
    assert!(below.is_none_or(|below| refused(&below)), "{key}: less than {low} is accepted");
    assert!(refused(&above), "{key}: {above} is accepted");
}

#[test]
fn the_reference_of_the_manager_agrees_with_the_code() {
    reference_agrees::<ManagerConfig>(&["manager.toml", "Session"], &[]);
}

#[test]
fn the_reference_of_the_agent_agrees_with_the_code() {
    reference_agrees::<AgentConfig>(&["agent.toml", "Session"], &[("manager.addresses", "m")]);
}

#[test]
fn the_reference_of_rpctl_agrees_with_the_code() {
    reference_agrees::<RpctlConfig>(&["rpctl.toml"], &[]);
}

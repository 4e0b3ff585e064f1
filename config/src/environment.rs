//! Settings from environment variables: a prefix, then the key in capitals, with `__` between its levels.

use std::ffi::OsString;

use figment::value::Value;
use redpoll_common::nearest::nearest;

use crate::error::Origin;
use crate::known::Known;
use crate::setting::{Collector, Setting};

/// What follows the prefix in the variable that names the configuration file.
pub(crate) const FILE_VARIABLE: &str = "CONFIG";

/// Collects the settings of all variables that begin with `prefix`, in the order of their names.
///
/// Values stay text; what they mean is decided by the key.
pub(crate) fn settings(prefix: &str, environment: &[(OsString, OsString)], collector: &mut Collector<'_>) {
    let mut ours: Vec<_> =
        environment.iter().filter_map(|(name, value)| Some((name.to_str()?, value))).collect();
    ours.sort_unstable();
    for (variable, value) in ours {
        let Some(rest) = variable.strip_prefix(prefix).filter(|rest| *rest != FILE_VARIABLE) else {
            continue;
        };
        let origin = Origin::Environment { variable: variable.to_owned() };
        let key = key_of(rest);
        let text = value.to_str();
        if collector.resolve(&key).is_none() {
            if !is_kubernetes(rest, text.unwrap_or_default()) {
                let what = unknown(prefix, rest, collector.known());
                collector.problem(key, origin, what);
            }
        } else if let Some(text) = text {
            collector.add(Setting { key, value: Value::from(text), origin });
        } else {
            collector.problem(key, origin, "the value is not UTF-8".to_owned());
        }
    }
}

fn key_of(rest: &str) -> String {
    rest.to_ascii_lowercase().replace("__", ".")
}

/// The variable that sets a key.
pub(crate) fn variable(prefix: &str, key: &str) -> String {
    format!("{prefix}{}", rest_of(key))
}

fn rest_of(key: &str) -> String {
    key.replace('.', "__").to_ascii_uppercase()
}

fn unknown(prefix: &str, rest: &str, known: &Known) -> String {
    let names: Vec<_> = known.keys().map(rest_of).collect();
    match nearest(rest, names.iter().map(String::as_str)) {
        Some(nearest) => format!("unknown variable; did you mean {prefix}{nearest}?"),
        None => "unknown variable".to_owned(),
    }
}

/// Whether a variable is one that Kubernetes makes for every service in the namespace.
///
/// A service called `redpoll-manager` puts `REDPOLL_MANAGER_SERVICE_HOST` and seven more into every container.
fn is_kubernetes(rest: &str, value: &str) -> bool {
    let service =
        rest.ends_with("SERVICE_HOST") || rest.ends_with("SERVICE_PORT") || rest.contains("SERVICE_PORT_");
    service || is_port_variable(rest) || (rest.ends_with("PORT") && value.contains("://"))
}

/// Whether a name has the form `…PORT_7051_TCP`, alone or followed by `_PROTO`, `_PORT` or `_ADDR`.
fn is_port_variable(rest: &str) -> bool {
    let words: Vec<_> = rest.split('_').collect();
    words.windows(3).any(|window| match window {
        ["PORT", number, "TCP" | "UDP" | "SCTP"] => number.parse::<u16>().is_ok(),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_kubernetes_services_are_recognised() {
        for (rest, value) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "7051"),
            ("SERVICE_PORT_PEERS", "7051"),
            ("PORT", "tcp://10.0.0.1:7051"),
            ("PORT_7051_TCP", "tcp://10.0.0.1:7051"),
            ("PORT_7051_TCP_ADDR", "10.0.0.1"),
            ("METRICS_SERVICE_HOST", "10.0.0.2"),
            ("METRICS_PORT_9000_UDP_PROTO", "udp"),
        ] {
            assert!(is_kubernetes(rest, value), "{rest}");
        }
        for (rest, value) in [("PORT", "7051"), ("TLS_CERT", "a"), ("PORT_X_TCP", ""), ("SERVICE", "")] {
            assert!(!is_kubernetes(rest, value), "{rest}");
        }
    }

    #[test]
    fn keys_and_variables_translate_into_each_other() {
        assert_eq!(key_of("SESSION__PING_INTERVAL"), "session.ping_interval");
        assert_eq!(rest_of("call.timeout"), "CALL__TIMEOUT");
    }
}

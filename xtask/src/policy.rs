//! What may be in the tree of dependencies: reads `deny.toml`, which cargo-deny reads too, and applies it.
//!
//! cargo-deny takes minutes to install, so the rules that matter most are enforced here for everybody: licences,
//! banned packages, sources, and one cryptographic provider only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use toml::Value;

use crate::graph::{Graph, Package};

/// The one provider of cryptography.
const PROVIDER: &str = "aws-lc-rs";

/// Packages that provide cryptography to TLS. Two at once are two sets of bugs, and a question at every start.
const PROVIDERS: [&str; 9] = [
    PROVIDER,
    "ring",
    "openssl",
    "boring",
    "rustls-graviola",
    "rustls-mbedtls-provider-utils",
    "rustls-openssl",
    "rustls-rustcrypto",
    "rustls-symcrypt",
];

/// The rules of `deny.toml` that are enforced without cargo-deny.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Licences, as SPDX writes them.
    pub(crate) licences: BTreeSet<String>,
    /// Banned packages, each with the reason.
    banned: BTreeMap<String, String>,
    /// Registries that packages may come from.
    registries: BTreeSet<String>,
}

impl Policy {
    /// Reads the workspace's `deny.toml`.
    ///
    /// # Errors
    /// When it cannot be read or lacks a part.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not as expected", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let rules: Value = toml::from_str(text)?;
        let list = |section: &str, key: &str| {
            let list = rules.get(section).and_then(|section| section.get(key)).and_then(Value::as_array);
            list.with_context(|| format!("it has no list `{key}` in [{section}]"))
        };
        let words = |list: &Vec<Value>| list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let mut banned = BTreeMap::new();
        for entry in list("bans", "deny")? {
            let name = entry.get("crate").and_then(Value::as_str).context("a ban without `crate`")?;
            let reason = entry.get("reason").and_then(Value::as_str).context("a ban without `reason`")?;
            banned.insert(name.to_owned(), reason.to_owned());
        }
        Ok(Self {
            licences: words(list("licenses", "allow")?),
            banned,
            registries: words(list("sources", "allow-registry")?),
        })
    }

    /// Every banned package in the tree; one line each.
    pub(crate) fn banned_in(&self, graph: &Graph) -> Vec<String> {
        let banned = |name: &str| self.banned.get(name);
        graph
            .packages()
            .filter_map(|package| Some((package, banned(&package.name)?)))
            .map(|(package, reason)| {
                let Package { name, version, .. } = package;
                format!("{name} {version} is banned: {reason}\nhelp: cargo tree --target all -i {name}")
            })
            .collect()
    }

    /// Every package that comes from elsewhere than an allowed registry; one line each.
    pub(crate) fn strange_sources(&self, graph: &Graph) -> Vec<String> {
        let allowed = |source: &str| {
            source
                .strip_prefix("registry+")
                .or_else(|| source.strip_prefix("sparse+"))
                .is_some_and(|address| self.registries.contains(address))
        };
        graph
            .packages()
            .filter_map(|package| Some((package, package.source.as_deref()?)))
            .filter(|(_, source)| !allowed(source))
            .map(|(package, source)| format!("{} {} comes from {source}", package.name, package.version))
            .collect()
    }
}

/// What is wrong with the providers of cryptography in the tree; one line each.
pub(crate) fn wrong_providers(graph: &Graph) -> Vec<String> {
    let found: BTreeSet<&str> = graph
        .packages()
        .map(|package| package.name.as_str())
        .filter(|name| PROVIDERS.contains(name))
        .collect();
    let mut problems: Vec<String> = found
        .iter()
        .filter(|name| **name != PROVIDER)
        .map(|name| format!("{name} is in the tree, but {PROVIDER} is the one provider of cryptography"))
        .collect();
    if !found.contains(PROVIDER) {
        problems.push(format!("{PROVIDER} is not in the tree: who provides cryptography?"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, made_up};

    const RULES: &str = r#"
        [licenses]
        allow = ["MIT"]
        [bans]
        deny = [{ crate = "ring", reason = "one provider" }]
        [sources]
        allow-registry = ["https://github.com/rust-lang/crates.io-index"]
    "#;

    fn rules() -> Policy {
        Policy::parse(RULES).unwrap()
    }

    #[test]
    fn a_banned_package_is_found_however_deep_and_the_reason_is_told() {
        let deep = [("ours", &["a:dev"] as &[&str]), ("a", &["ring"]), ("ring", &[])];
        let problems = rules().banned_in(&made_up::graph(&["ours"], &deep));
        assert!(problems.len() == 1 && problems[0].contains("one provider"), "{problems:?}");
        let clean = made_up::graph(&["ours"], &[("ours", &["a"]), ("a", &[])]);
        assert_eq!(rules().banned_in(&clean), Vec::<String>::new());
    }

    #[test]
    fn a_package_from_git_or_another_registry_is_found() {
        let mut metadata = made_up::metadata(&["ours"], &[("ours", &["a"]), ("a", &[])]);
        assert_eq!(rules().strange_sources(&Graph::parse(&metadata).unwrap()), Vec::<String>::new());
        for source in ["git+https://example.org/a?rev=1", "registry+https://example.org/index"] {
            metadata["packages"][1]["source"] = source.into();
            let problems = rules().strange_sources(&Graph::parse(&metadata).unwrap());
            assert!(problems.len() == 1 && problems[0].contains(source), "{problems:?}");
        }
    }

    #[test]
    fn exactly_one_provider_of_cryptography_is_right() {
        let with = |names: &[&'static str]| {
            let mut packages: Vec<(&str, &[&str])> = vec![("ours", names)];
            packages.extend(names.iter().map(|name| (*name, &[] as &[&str])));
            wrong_providers(&made_up::graph(&["ours"], &packages)).len()
        };
        assert_eq!(with(&["aws-lc-rs"]), 0);
        assert_eq!(with(&["aws-lc-rs", "ring"]), 1);
        assert_eq!(with(&["ring"]), 2);
        assert_eq!(with(&[]), 1);
    }

    #[test]
    fn the_rules_must_be_whole() {
        for missing in ["allow = [\"MIT\"]", "reason = \"one provider\"", "allow-registry"] {
            assert!(Policy::parse(&RULES.replace(missing, "x = 1")).is_err(), "without {missing}");
        }
        assert!(Policy::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../deny.toml")).is_ok());
    }
}

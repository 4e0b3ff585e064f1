//! Keeps the crates of rules free of I/O, clocks and randomness.
//!
//! Two checks: what the crates may depend on is a list of names, so that a new dependency fails until somebody
//! has thought about it; and what they take from `std` is read from their source, see [`source`].

mod source;
mod tokens;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::graph::Graph;

/// A crate of rules, where it is, and everything that it may need when it runs, through others too.
struct Pure {
    package: &'static str,
    folder: &'static str,
    may_need: &'static [&'static str],
}

/// Before adding a name: it does no I/O, reads no clock, makes no random numbers, starts no thread, and the
/// same holds for everything it brings along, on every platform.
const PURE: [Pure; 2] = [
    Pure {
        package: "redpoll-common",
        folder: "common/src",
        may_need: &[
            "bytes",
            "data-encoding",
            "itoa",
            "memchr",
            "num-traits",
            "rmp",
            "rmp-serde",
            "serde",
            "serde_core",
            "serde_derive",
            "serde_json",
            "thiserror",
            "thiserror-impl",
            "zmij",
        ],
    },
    Pure {
        package: "redpoll-manager-core",
        folder: "manager/core/src",
        may_need: &[
            "redpoll-common",
            // what redpoll-common may need
            "bytes",
            "data-encoding",
            "itoa",
            "memchr",
            "num-traits",
            "rmp",
            "rmp-serde",
            "serde",
            "serde_core",
            "serde_derive",
            "serde_json",
            "thiserror",
            "thiserror-impl",
            "zmij",
        ],
    },
];

/// Every dependency of a crate of rules that is not on its list; one line each.
///
/// # Errors
/// When one of these crates is not in the workspace.
pub(crate) fn strange_dependencies(graph: &Graph) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for pure in &PURE {
        let needs = graph.needs(pure.package)?;
        let is_strange = |name: &str| name != pure.package && !pure.may_need.contains(&name);
        // of a way only the first strange one: what that brings along goes with it
        let first = |way: &str| way.split(" → ").filter(|name| is_strange(name)).count() == 1;
        let strange = needs.iter().filter(|(name, way)| is_strange(name) && first(way));
        problems.extend(strange.map(|(name, way)| format!("{} may not need {name}: {way}", pure.package)));
    }
    if !problems.is_empty() {
        problems.push(
            "help: rules take time, randomness and bytes as arguments; move the effect to the crate beside, or, if the \
             dependency has no effects at all, add it to the list in xtask/src/purity.rs"
                .to_owned(),
        );
    }
    Ok(problems)
}

/// Every use of an effect of `std` in the crates of rules, tests left out; one line each, with file and line.
///
/// # Errors
/// When a folder or file cannot be read.
pub(crate) fn effects_in_source(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for pure in &PURE {
        let files = crate::sizes::rust_files(&root.join(pure.folder))?;
        let mut tests: Vec<PathBuf> = Vec::new();
        let mut found = Vec::new();
        for path in files {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let code = source::Code::read(&text);
            tests.extend(code.test_modules.iter().map(|name| folder_of_children(&path).join(name)));
            found.push((path, code.effects()));
        }
        for (path, effects) in found {
            // `tests.rs` and everything in `tests/` belong to `#[cfg(test)] mod tests;`
            if tests.iter().any(|test| path.with_extension("").starts_with(test)) {
                continue;
            }
            let shown = path.strip_prefix(root).unwrap_or(&path).display();
            problems.extend(effects.iter().map(|(line, what)| format!("{shown}:{line}: {what}")));
        }
    }
    Ok(problems)
}

/// Where the modules declared in this file are.
fn folder_of_children(path: &Path) -> PathBuf {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("lib.rs" | "main.rs" | "mod.rs") => path.parent().unwrap_or(path).to_owned(),
        _ => path.with_extension(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::made_up::graph;

    const OURS: [&str; 2] = ["redpoll-common", "redpoll-manager-core"];
    const PURE_TREE: [(&str, &[&str]); 5] = [
        ("redpoll-common", &["bytes", "rmp", "serde", "proptest:dev"]),
        ("redpoll-manager-core", &["redpoll-common", "serde"]),
        ("rmp", &["num-traits", "autocfg:build"]),
        ("serde", &["serde_derive"]),
        ("serde_derive", &["syn"]),
    ];

    /// The tree of today with leaves added, and one more dependency of the first of `more`.
    fn tree_with(more: &[(&'static str, &'static [&'static str])]) -> Vec<String> {
        let mut packages: Vec<(&str, &[&str])> = PURE_TREE.to_vec();
        for (name, needs) in more {
            match packages.iter_mut().find(|(known, _)| known == name) {
                Some(package) => package.1 = needs,
                None => packages.push((name, needs)),
            }
        }
        for leaf in ["bytes", "num-traits", "autocfg", "syn", "proptest", "tokio", "rand", "jiff", "mio"] {
            packages.push((leaf, &[]));
        }
        strange_dependencies(&graph(&OURS, &packages)).unwrap()
    }

    #[test]
    fn the_tree_of_today_passes() {
        assert_eq!(tree_with(&[]), Vec::<String>::new());
    }

    #[test]
    fn a_runtime_a_clock_or_randomness_is_refused() {
        for needs in [&["tokio"] as &[&str], &["rand"], &["jiff"], &["mio"]] {
            for ours in OURS {
                let problems = tree_with(&[(ours, needs)]);
                assert!(problems.iter().any(|problem| problem.contains(needs[0])), "{problems:?}");
            }
        }
    }

    #[test]
    fn what_comes_through_another_package_is_refused_with_the_way_there() {
        let problems = tree_with(&[("rmp", &["rand"])]);
        assert!(problems.iter().any(|p| p.contains("redpoll-common → rmp → rand")), "{problems:?}");
        assert!(problems.iter().any(|p| p.contains("redpoll-manager-core → redpoll-common → rmp → rand")));
    }

    #[test]
    fn the_same_for_tests_only_is_fine() {
        assert_eq!(
            tree_with(&[("redpoll-manager-core", &["redpoll-common", "tokio:dev"])]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_effect_in_the_source_is_found_and_test_files_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("common/src/lib.rs", "mod roster;\n#[cfg(test)]\nmod world;\n");
        write("common/src/world.rs", "use std::fs;\nmod deep;\n");
        write("common/src/world/deep.rs", "use std::net::TcpStream;\n");
        write("common/src/roster.rs", "#[cfg(test)]\nmod tests;\n");
        write("common/src/roster/tests.rs", "use std::env;\n");
        write("manager/core/src/lib.rs", "use std::time::Duration;\n");
        assert_eq!(effects_in_source(root.path()).unwrap(), Vec::<String>::new());
        write("manager/core/src/lib.rs", "\nuse std::fs;\n");
        let problems = effects_in_source(root.path()).unwrap();
        assert!(
            problems.len() == 1 && problems[0].starts_with("manager/core/src/lib.rs:2: "),
            "{problems:?}"
        );
    }
}

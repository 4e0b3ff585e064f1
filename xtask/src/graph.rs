//! The graph of dependencies, from `cargo metadata`.
//!
//! `cargo metadata` lists more edges than a build follows: when a feature says `ring?/std`, the optional `ring`
//! appears although nobody asked for it. Such edges are left out here, otherwise a ban would see what is not there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::Context as _;
use serde_json::Value;

/// The part of a package that the checks look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// As in its manifest; `None` when it names none.
    pub(crate) licence: Option<String>,
    /// Where it comes from; `None` for a folder of this workspace.
    pub(crate) source: Option<String>,
    /// Whether it is compiled into the compiler's plug-in rather than into our programs.
    pub(crate) proc_macro: bool,
    /// What it needs when it runs, by id.
    pub(crate) normal: BTreeSet<String>,
    /// What only its build script or its tests need, by id.
    pub(crate) other: BTreeSet<String>,
}

/// All packages that a build of the workspace on any platform may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Graph {
    packages: BTreeMap<String, Package>,
}

impl Graph {
    /// Reads what `cargo metadata --format-version 1` wrote.
    ///
    /// # Errors
    /// When a part that should be there is not.
    pub(crate) fn parse(metadata: &Value) -> anyhow::Result<Self> {
        let declared: BTreeMap<&str, &Value> = list(metadata, "packages")?
            .iter()
            .filter_map(|package| Some((text(package, "id")?, package)))
            .collect();
        let nodes = list(metadata.get("resolve").context("cargo metadata resolved nothing")?, "nodes")?;
        let mut packages = BTreeMap::new();
        for node in nodes {
            let id = text(node, "id").context("a node without id")?;
            let package = declared.get(id).with_context(|| format!("{id} is not among the packages"))?;
            packages.insert(id.to_owned(), read_package(package, node, &declared)?);
        }
        let members = list(metadata, "workspace_members")?;
        let reached = reach(&packages, members.iter().filter_map(Value::as_str), |package| {
            package.normal.iter().chain(&package.other).map(String::as_str).collect()
        });
        let reached: BTreeSet<String> = reached.keys().map(|id| (*id).to_owned()).collect();
        packages.retain(|id, _| reached.contains(id));
        Ok(Self { packages })
    }

    /// Every package, ours included, in a fixed order.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// What `name` needs when it runs, on any platform: each package's name with the way that leads there.
    ///
    /// A procedural macro is listed, what it needs itself is not: that runs in the compiler.
    ///
    /// # Errors
    /// When there is no such package.
    pub(crate) fn needs(&self, name: &str) -> anyhow::Result<BTreeMap<&str, String>> {
        let start =
            self.packages.iter().find(|(_, package)| package.name == name && package.source.is_none());
        let (start, _) = start.with_context(|| format!("the workspace has no package {name}"))?;
        let came_from = reach(&self.packages, [start.as_str()], |package| {
            if package.proc_macro { Vec::new() } else { package.normal.iter().map(String::as_str).collect() }
        });
        let mut needs = BTreeMap::new();
        for id in came_from.keys().filter(|id| **id != start.as_str()) {
            let mut way = Vec::new();
            let mut at = Some(*id);
            while let Some(step) = at {
                way.extend(self.packages.get(step).map(|package| package.name.as_str()));
                at = came_from.get(step).copied().flatten();
            }
            let Some(name) = way.first().copied() else { continue };
            way.reverse();
            needs.insert(name, way.join(" → "));
        }
        Ok(needs)
    }
}

/// Follows edges breadth first. Each id reached, with the one it was reached from first.
fn reach<'g>(
    packages: &'g BTreeMap<String, Package>,
    from: impl IntoIterator<Item = &'g str>,
    edges: impl Fn(&'g Package) -> Vec<&'g str>,
) -> BTreeMap<&'g str, Option<&'g str>> {
    let mut came_from = BTreeMap::new();
    let mut waiting: VecDeque<(&str, Option<&str>)> = from.into_iter().map(|id| (id, None)).collect();
    while let Some((id, previous)) = waiting.pop_front() {
        let Some(package) = packages.get(id) else { continue };
        if came_from.contains_key(id) {
            continue;
        }
        came_from.insert(id, previous);
        waiting.extend(edges(package).into_iter().map(|next| (next, Some(id))));
    }
    came_from
}

fn read_package(package: &Value, node: &Value, declared: &BTreeMap<&str, &Value>) -> anyhow::Result<Package> {
    let name = text(package, "name").context("a package without name")?;
    let active = activated(package, node)?;
    let (mut normal, mut other) = (BTreeSet::new(), BTreeSet::new());
    for edge in list(node, "deps")? {
        let to = text(edge, "pkg").with_context(|| format!("{name} has a dependency without id"))?;
        let to_name = declared.get(to).and_then(|package| text(package, "name")).unwrap_or_default();
        for kind in list(edge, "dep_kinds")? {
            let kind = text(kind, "kind");
            if !is_followed(package, to_name, kind, &active)? {
                continue;
            }
            if kind.is_none() { &mut normal } else { &mut other }.insert(to.to_owned());
        }
    }
    let targets = list(package, "targets")?;
    Ok(Package {
        name: name.to_owned(),
        version: text(package, "version").unwrap_or_default().to_owned(),
        licence: text(package, "license").map(str::to_owned),
        source: text(package, "source").map(str::to_owned),
        proc_macro: targets.iter().any(|target| {
            target
                .get("kind")
                .and_then(Value::as_array)
                .is_some_and(|kinds| kinds.iter().any(|kind| kind.as_str() == Some("proc-macro")))
        }),
        normal,
        other,
    })
}

/// The optional dependencies that the package's enabled features switch on, by their names in its manifest.
fn activated<'g>(package: &'g Value, node: &Value) -> anyhow::Result<BTreeSet<&'g str>> {
    let mut active = BTreeSet::new();
    for feature in list(node, "features")?.iter().filter_map(Value::as_str) {
        let implied = package.get("features").and_then(|features| features.get(feature));
        for entry in implied.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            match entry.split_once('/') {
                Some((dependency, _)) if !dependency.ends_with('?') => {
                    active.insert(dependency);
                }
                Some(_) => {}
                None => active.extend(entry.strip_prefix("dep:")),
            }
        }
    }
    Ok(active)
}

/// Whether one of the package's declarations of `to_name` is required, or optional and switched on.
fn is_followed(
    package: &Value,
    to_name: &str,
    kind: Option<&str>,
    active: &BTreeSet<&str>,
) -> anyhow::Result<bool> {
    let same = |declaration: &&Value| {
        text(declaration, "name") == Some(to_name) && text(declaration, "kind") == kind
    };
    let mut declarations = list(package, "dependencies")?.iter().filter(same).peekable();
    // an edge nobody declared is one we do not understand: follow it rather than overlook it
    Ok(declarations.peek().is_none()
        || declarations.any(|declaration| {
            let optional = declaration.get("optional").and_then(Value::as_bool).unwrap_or(false);
            let known_as = text(declaration, "rename").unwrap_or(to_name);
            !optional || active.contains(known_as)
        }))
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn list<'v>(value: &'v Value, key: &str) -> anyhow::Result<&'v Vec<Value>> {
    value.get(key).and_then(Value::as_array).with_context(|| format!("cargo metadata has no list {key:?}"))
}

#[cfg(test)]
pub(crate) mod made_up {
    //! Metadata as cargo would write it, made up for tests.

    use super::*;
    use serde_json::json;

    /// One dependency in a made-up manifest: `"name"`, `"name?"` (optional), `"name:dev"`, `"name:build"`.
    fn dependency(word: &str) -> (String, bool, Option<&str>) {
        let (name, kind) = word.split_once(':').map_or((word, None), |(name, kind)| (name, Some(kind)));
        (name.trim_end_matches('?').to_owned(), name.ends_with('?'), kind)
    }

    /// A workspace in which `members` are ours, and each package needs what stands beside it.
    ///
    /// Optional dependencies are listed by cargo although no feature switches them on.
    pub(crate) fn metadata(members: &[&str], packages: &[(&str, &[&str])]) -> Value {
        let mut declared = Vec::new();
        let mut nodes = Vec::new();
        for (name, needs) in packages {
            let registry = "registry+https://github.com/rust-lang/crates.io-index";
            let needs: Vec<_> = needs.iter().map(|word| dependency(word)).collect();
            declared.push(json!({
                "id": name, "name": name, "version": "1.0.0", "license": "MIT",
                "source": if members.contains(name) { Value::Null } else { json!(registry) },
                "targets": [{"kind": [if name.ends_with("derive") { "proc-macro" } else { "lib" }]}],
                "features": {"default": ["std"], "std": ["ghost?/std"], "on": ["dep:switched"]},
                "dependencies": needs.iter().map(|(to, optional, kind)| json!({
                    "name": to, "kind": kind, "rename": null, "optional": optional,
                })).collect::<Vec<_>>(),
            }));
            nodes.push(json!({
                "id": name, "features": ["default", "std", "on"],
                "deps": needs.iter().map(|(to, _, kind)| json!({
                    "name": to, "pkg": to, "dep_kinds": [{"kind": kind, "target": null}],
                })).collect::<Vec<_>>(),
            }));
        }
        json!({"packages": declared, "resolve": {"nodes": nodes}, "workspace_members": members})
    }

    /// The graph of [`metadata`].
    pub(crate) fn graph(members: &[&str], packages: &[(&str, &[&str])]) -> Graph {
        Graph::parse(&metadata(members, packages)).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::made_up::graph;

    #[test]
    fn what_is_needed_is_found_through_others_with_the_way_there() {
        let graph = graph(&["ours"], &[("ours", &["a"]), ("a", &["b"]), ("b", &[])]);
        let needs = graph.needs("ours").unwrap();
        assert_eq!(
            needs.into_iter().collect::<Vec<_>>(),
            [("a", "ours → a".to_owned()), ("b", "ours → a → b".to_owned())]
        );
    }

    #[test]
    fn tests_build_scripts_and_the_insides_of_macros_are_not_needed_to_run() {
        let graph = graph(
            &["ours"],
            &[
                ("ours", &["my-derive", "quick:dev", "cc:build"]),
                ("my-derive", &["syn"]),
                ("syn", &[]),
                ("quick", &[]),
                ("cc", &[]),
            ],
        );
        assert_eq!(graph.needs("ours").unwrap().into_keys().collect::<Vec<_>>(), ["my-derive"]);
        assert_eq!(graph.packages().count(), 5);
    }

    #[test]
    fn an_optional_dependency_counts_only_when_a_feature_switches_it_on() {
        let graph =
            graph(&["ours"], &[("ours", &["ghost?", "switched?"]), ("ghost", &[]), ("switched", &[])]);
        assert_eq!(graph.needs("ours").unwrap().into_keys().collect::<Vec<_>>(), ["switched"]);
        assert!(graph.packages().all(|package| package.name != "ghost"));
    }

    #[test]
    fn a_package_that_is_not_ours_has_no_answer() {
        assert!(graph(&["ours"], &[("ours", &["a"]), ("a", &[])]).needs("a").is_err());
    }
}

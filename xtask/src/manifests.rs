//! What every manifest of ours must say: `lints.workspace = true`, and the workspace's licence.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use toml::Value;

/// Every member of the workspace at `root` whose manifest lacks something; one line each.
///
/// # Errors
/// When a manifest cannot be read.
pub(crate) fn problems(root: &Path) -> anyhow::Result<Vec<String>> {
    let workspace = read(root.join("Cargo.toml"))?;
    let members = workspace.get("workspace").and_then(|workspace| workspace.get("members"));
    let members = members.and_then(Value::as_array).context("the root manifest lists no members")?;
    let mut problems = Vec::new();
    for member in members.iter().filter_map(Value::as_str) {
        let manifest = read(root.join(member).join("Cargo.toml"))?;
        problems.extend(missing(&manifest).into_iter().map(|what| format!("{member}/Cargo.toml {what}")));
    }
    Ok(problems)
}

fn read(path: PathBuf) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
}

fn missing(manifest: &Value) -> Vec<&'static str> {
    let inherits = |path: &[&str]| {
        let found = path.iter().try_fold(manifest, |value, key| value.get(key));
        found.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
    };
    let mut missing = Vec::new();
    if !inherits(&["lints"]) {
        missing.push("does not say `lints.workspace = true`");
    }
    if !inherits(&["package", "license"]) {
        missing.push("does not say `license.workspace = true`");
    }
    if !inherits(&["package", "publish"]) {
        missing.push("does not say `publish.workspace = true`");
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_without_the_workspaces_lints_is_found() {
        let whole =
            "[package]\nlicense.workspace = true\npublish.workspace = true\n[lints]\nworkspace = true\n";
        let missing_in = |text: &str| missing(&toml::from_str(text).unwrap()).len();
        assert_eq!(missing_in(whole), 0);
        assert_eq!(missing_in(&whole.replace("[lints]", "[other]")), 1);
        assert_eq!(missing_in(&whole.replace("[lints]\nworkspace = true", "[lints]\nworkspace = false")), 1);
        assert_eq!(missing_in("[package]\nname = \"x\""), 3);
    }
}

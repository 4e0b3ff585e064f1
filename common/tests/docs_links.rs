//! Links between the documents lead somewhere, and the files that they name exist.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every document with its text, code blocks left out.
fn documents() -> Vec<(PathBuf, String)> {
    let root = root();
    let listed = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        listed.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    paths.extend(["README.md", "CHANGELOG.md"].map(|name| root.join(name)));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), prose(&std::fs::read_to_string(&path).unwrap()))).collect()
}

fn prose(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The anchors of a text's headings, as the places that show Markdown make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let kept = line.trim_start_matches('#').trim().chars().filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
                _ => None,
            });
            kept.collect()
        })
        .collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let documents = documents();
    let mut broken = Vec::new();
    let mut count = 0;
    for (path, text) in &documents {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link)) {
            if link.contains("://") {
                continue;
            }
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file).to_owned() };
            // made by a program that measures, so it may not be there yet
            let known = target.exists() || file.ends_with("benchmarks.md");
            let found = anchor.is_empty()
                || std::fs::read_to_string(&target).is_ok_and(|text| anchors(&prose(&text)).contains(anchor));
            if !known || !found {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(count > 50, "only {count} links were found");
}

#[test]
fn every_file_that_a_document_names_exists() {
    let root = root();
    let folders = [
        "agent/", "certs/", "common/", "config/", "docs/", "fuzz/", "manager/", "rpctl/", "tests/", "xtask/",
    ];
    let mut missing = Vec::new();
    let mut count = 0;
    for (path, text) in documents() {
        // what stands between backquotes
        for name in text.split('`').skip(1).step_by(2) {
            let is_path = folders.iter().any(|folder| name.starts_with(folder));
            if !is_path || name.contains(['{', '*', ' ', '<', '\n']) {
                continue;
            }
            count += 1;
            if !root.join(name).exists() {
                missing.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(count > 50, "only {count} names were found");
}

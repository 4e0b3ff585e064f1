//! Names that several manifests of a folder have: the first file stays.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use redpoll_config::{Side, load_folder, load_folder_of};
use tempfile::TempDir;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

fn named(name: &str, more: &str) -> String {
    format!("name = \"{name}\"\ncommand = [\"true\"]\n{more}")
}

#[test]
fn a_name_and_version_that_stand_twice_are_refused_and_the_first_stays() {
    let small = named("a.b", "");
    let second = named("a.b", "version = 2\n");
    let folder = folder(&[("a.toml", &small), ("b.toml", &small), ("c.toml", &second)]);
    let loaded = load_folder(folder.path());
    assert_eq!(loaded.manifests.iter().map(|m| m.version).collect::<Vec<_>>(), [1, 2]);
    assert!(loaded.problems[0].to_string().contains("b.toml: name: a.b@1 is in"));
}

#[test]
fn names_that_differ_by_case_alone_are_refused_and_the_first_file_stays() {
    let folder = folder(&[
        ("a.toml", &named("Dog.bark", "")),
        ("b.toml", &named("dog.bark", "")),
        // in another version, and where it is not enabled: both could be offered together later
        ("c.toml", &named("DOG.bark", "version = 2\nenabled = false\n")),
        ("d.toml", &named("Dog.bark", "version = 2\n")),
        ("e.toml", &named("Dog.bark2", "")),
    ]);
    for side in [Side::Agent, Side::Manager] {
        let loaded = load_folder_of(folder.path(), side);
        let names: Vec<_> = loaded.manifests.iter().map(|one| (one.name.as_str(), one.version)).collect();
        assert_eq!(names, [("Dog.bark", 1), ("Dog.bark", 2), ("Dog.bark2", 1)]);
        let first = folder.path().join("a.toml").display().to_string();
        for (problem, (file, name)) in
            loaded.problems.iter().zip([("b.toml", "dog.bark"), ("c.toml", "DOG.bark")])
        {
            let said = problem.to_string();
            let both = format!("{file}: name: {name} differs from Dog.bark of {first} by case alone");
            assert!(said.contains(&both) && said.contains("give one of the two another name"), "{said}");
        }
        assert_eq!(loaded.problems.len(), 2);
    }
}

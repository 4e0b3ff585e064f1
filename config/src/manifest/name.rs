//! What a procedure may be called: words with dots between, such as `web.deploy` or `Dog.bark`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use redpoll_common::wire::MAX_METHOD_LEN;

use super::Manifest;
use super::table::Fields;

/// Families that are the program's own, in whatever case: nobody must take `Exec.run` for `exec.run`.
const RESERVED: [&str; 4] = ["rp", "sys", "exec", "file"];

/// Reads the field.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<String> {
    let Some(name) = fields.text("name") else {
        if fields.notes.problems.is_empty() {
            fields.wrong("name", "it is missing; name the procedure, such as name = \"web.deploy\"");
        }
        return None;
    };
    match procedure_name(&name) {
        Ok(()) => Some(name),
        Err(what) => {
            fields.wrong("name", what);
            None
        }
    }
}

/// Whether a procedure of one's own can have this name, whatever offers it.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn procedure_name(name: &str) -> Result<(), String> {
    // room for "@" and a version
    let max = MAX_METHOD_LEN - 11;
    let family = name.split('.').next().unwrap_or_default();
    if !is_name(name) {
        Err(format!(
            "{name:?} is not of words with dots between, such as \"web.deploy\" or \"Dog.bark\"; a word has letters of ASCII, digits, '_' \
             and '-'"
        ))
    } else if name.len() > max {
        Err(format!("{} bytes, more than {max}", name.len()))
    } else if let Some(own) = RESERVED.into_iter().find(|own| own.eq_ignore_ascii_case(family)) {
        Err(format!("{own}.* is the agent's own, in whatever case; choose another first word"))
    } else {
        Ok(())
    }
}

/// Whether it is made of words with dots between, as names of procedures are.
pub(crate) fn is_name(name: &str) -> bool {
    let good_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    name.split('.').all(good_word)
}

/// The names that manifests have taken.
#[derive(Debug, Default)]
pub(super) struct Taken(BTreeMap<String, Name>);

/// A name as its first file writes it.
#[derive(Debug)]
struct Name {
    name: String,
    file: PathBuf,
    versions: BTreeMap<u32, PathBuf>,
}

impl Taken {
    /// Takes the name and version of a manifest.
    ///
    /// # Errors
    /// What is wrong with it: they are taken, or the name is and is written there in another case.
    pub(super) fn take(&mut self, manifest: &Manifest) -> Result<(), String> {
        let Manifest { name, version, file, .. } = manifest;
        let taken = self.0.entry(name.to_ascii_lowercase()).or_insert_with(|| Name {
            name: name.clone(),
            file: file.clone(),
            versions: BTreeMap::new(),
        });
        if taken.name != *name {
            return Err(other_case(name, &taken.name, &format!("of {}", taken.file.display())));
        }
        if let Some(first) = taken.versions.get(version) {
            let first = first.display();
            return Err(format!("{name}@{version} is in {first} already; give this one another version"));
        }
        taken.versions.insert(*version, file.clone());
        Ok(())
    }
}

/// What is to be said of a name that differs by case alone from one that is taken; `whose` says who has that.
pub fn other_case(name: &str, taken: &str, whose: &str) -> String {
    format!(
        "{name} differs from {taken} {whose} by case alone, and one would be taken for the other; write it as there, or give one of the two \
         another name"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_words_in_any_case_and_of_no_family_of_ours_in_any_case() {
        for good in
            ["web.deploy", "Dog.bark", "dog.newTricks", "WEB", "a.b-c_d.E9", "rpm.build", "executor.run"]
        {
            assert_eq!(procedure_name(good), Ok(()), "{good}");
        }
        for (bad, part) in [
            ("", "not of words"),
            (".", "not of words"),
            ("Dog.", "not of words"),
            ("Dog bark", "not of words"),
            ("Dög.bark", "not of words"),
            ("Dog.bark@1", "not of words"),
            ("Rp.jobs.list", "rp.* is the agent's own"),
            ("SYS.ping", "sys.* is the agent's own"),
            ("Exec.run", "exec.* is the agent's own"),
            ("EXEC", "exec.* is the agent's own"),
            ("File.Read", "file.* is the agent's own"),
        ] {
            let said = procedure_name(bad).unwrap_err();
            assert!(said.contains(part), "{bad}: {said}");
        }
        assert!(procedure_name(&"D".repeat(118)).unwrap_err().contains("more than 117"));
    }
}

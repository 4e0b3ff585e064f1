//! Commands by name: a TOML table `NAME = ["/program", "argument", …]`, or such a table as text, which is how the
//! environment writes it: `{ notify = ["/usr/bin/notify"] }`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) type Commands = BTreeMap<String, Vec<String>>;

// As text, because a table among the defaults would be a section whose keys are known.
pub(crate) fn serialize<S: Serializer>(commands: &Commands, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&write(commands))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Commands, D::Error> {
    read(deserializer, "a table of lists of texts, such as { notify = [\"/usr/bin/notify\", \"--quiet\"] }")
}

/// Reads lists of texts by name, of whatever; `expected` says what, for a person.
pub(crate) fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
) -> Result<Commands, D::Error> {
    deserializer.deserialize_any(CommandsVisitor(expected))
}

fn write(commands: &Commands) -> String {
    let entries: Vec<_> =
        commands.iter().map(|(name, argv)| format!("{} = {}", toml_text(name), toml_list(argv))).collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

fn toml_list(argv: &[String]) -> String {
    let argv: Vec<_> = argv.iter().map(|argument| toml_text(argument)).collect();
    format!("[{}]", argv.join(", "))
}

fn toml_text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[derive(Deserialize)]
struct Document {
    commands: Commands,
}

struct CommandsVisitor(&'static str);

impl<'de> Visitor<'de> for CommandsVisitor {
    type Value = Commands;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Commands, E> {
        // The parser's own message would show lines of a document that nobody wrote.
        let document = format!("commands = {}", text.trim());
        match toml::from_str::<Document>(&document) {
            Ok(document) if !text.contains('\n') => Ok(document.commands),
            Ok(_) | Err(_) => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Commands, A::Error> {
        let mut commands = Commands::new();
        while let Some((name, argv)) = map.next_entry()? {
            commands.insert(name, argv);
        }
        Ok(commands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_written_as_they_are_read() {
        let read = |text: &str| CommandsVisitor("").visit_str::<figment::Error>(text);
        let text = "{ \"a\" = [\"/a b\", \"c,\\\"d\\\"\"], \"b\" = [\"/b\"] }";
        let commands = read(text).unwrap();
        assert_eq!(commands["a"], ["/a b", "c,\"d\""]);
        assert_eq!(read(&write(&commands)).unwrap(), commands);
        assert_eq!(read(" {} ").unwrap(), Commands::new());
        assert_eq!(write(&Commands::new()), "{}");
        for bad in ["", "a", "[]", "{ a = \"/a\" }", "{ a = [1] }", "{}\ncommands = {}", "{}\nb = 1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}

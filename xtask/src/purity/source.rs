//! Finds effects of `std` in source code: files, sockets, clocks, threads, the environment, processes, randomness.
//!
//! It reads paths, `use std::{fs, net::TcpStream}` included. It is no proof: a macro of another crate could
//! hide an effect. That is what the list of allowed dependencies is for.

use super::tokens::{Token, tokens};

/// Types in `std::net` that are plain values.
const NET_VALUES: [&str; 7] =
    ["AddrParseError", "IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6"];

/// One file of code, tests left out.
#[derive(Debug)]
pub(super) struct Code {
    tokens: Vec<Token>,
    /// Modules in other files that are compiled for tests only: `#[cfg(test)] mod name;`.
    pub(super) test_modules: Vec<String>,
}

impl Code {
    pub(super) fn read(source: &str) -> Self {
        let mut code = Self { tokens: Vec::new(), test_modules: Vec::new() };
        let all = tokens(source);
        let mut at = 0;
        while let Some(token) = all.get(at) {
            let Some(after) = end_of_test_attribute(&all, at) else {
                code.tokens.push(token.clone());
                at += 1;
                continue;
            };
            if is(&all, at + 1, "!") {
                // the whole file is for tests
                code.tokens.clear();
                return code;
            }
            at = code.skip_item(&all, after);
        }
        code
    }

    /// Skips the item at `at`, further attributes included; where it ends.
    fn skip_item(&mut self, all: &[Token], mut at: usize) -> usize {
        let mut depth = 0usize;
        let mut in_attribute = false;
        while let Some(token) = all.get(at) {
            match token.text.as_str() {
                "#" if depth == 0 => in_attribute = true,
                "mod" if depth == 0 && is(all, at + 2, ";") => {
                    self.test_modules.extend(all.get(at + 1).map(|name| name.text.clone()));
                }
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 && token.text == "}" {
                        return at + 1;
                    }
                    in_attribute &= depth > 0;
                }
                ";" if depth == 0 && !in_attribute => return at + 1,
                _ => {}
            }
            at += 1;
        }
        at
    }

    /// Each effect with its line, in order.
    pub(super) fn effects(&self) -> Vec<(usize, String)> {
        let mut effects = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            let next = |ahead: usize, text: &str| is(&self.tokens, at + ahead, text);
            match token.text.as_str() {
                "std" if next(1, "as") => effects.push((token.line, "std under another name".to_owned())),
                "std" | "alloc" | "core" if next(1, "::") => {
                    let mut paths = Vec::new();
                    paths_from(&self.tokens, at, &[], &mut paths);
                    let found = paths.iter().filter_map(|(line, path)| Some((*line, effect(path)?)));
                    effects.extend(found);
                }
                "Instant" if next(1, "as") => {
                    effects.push((token.line, "Instant under another name".to_owned()))
                }
                "Instant" if next(1, "::") && next(2, "now") => {
                    effects.push((
                        token.line,
                        "Instant::now reads a clock; time is an argument here".to_owned(),
                    ));
                }
                "." if next(1, "elapsed") && next(2, "(") && next(3, ")") => {
                    effects
                        .push((token.line, "elapsed() reads a clock; time is an argument here".to_owned()));
                }
                "SystemTime" => {
                    effects.push((token.line, "SystemTime is a clock; time is an argument here".to_owned()))
                }
                "RandomState" => effects.push((token.line, "RandomState is randomness".to_owned())),
                _ => {}
            }
        }
        effects.dedup();
        effects
    }
}

/// Why this path is an effect; `None` when it is none.
fn effect(path: &[&str]) -> Option<String> {
    let why = match path {
        ["core" | "alloc", ..] => return None,
        ["std", "fs", ..] => "files",
        ["std", "net", value, ..] if NET_VALUES.contains(value) => return None,
        ["std", "net", ..] => "sockets (name the plain values: std::net::IpAddr)",
        ["std", "thread", ..] => "threads",
        ["std", "env", ..] => "the environment",
        ["std", "process", ..] => "processes",
        ["std", "os", ..] => "the operating system",
        ["std", "io", "stdin" | "stdout" | "stderr", ..] => "input and output",
        ["std", "time", "UNIX_EPOCH" | "*", ..] => "a clock",
        ["std", "*"] | ["std"] => "everything; name what is needed",
        _ => return None,
    };
    Some(format!("{} is {why}; crates of rules have no effects", path.join("::")))
}

/// All paths of the tree that begins at `at`: `std::{a, b::{self, c}}`. Returns where the tree ends.
fn paths_from<'t>(
    all: &'t [Token],
    mut at: usize,
    prefix: &[&'t str],
    found: &mut Vec<(usize, Vec<&'t str>)>,
) -> usize {
    let mut path = prefix.to_vec();
    let mut line = all.get(at).map_or(0, |token| token.line);
    while let Some(token) = all.get(at) {
        match token.text.as_str() {
            "{" => {
                at += 1;
                while all.get(at).is_some_and(|token| token.text != "}") {
                    at = paths_from(all, at, &path, found).max(at + 1);
                    if is(all, at, ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "self" => {}
            word => {
                path.push(word);
                line = token.line;
            }
        }
        at += 1;
        if !is(all, at, "::") {
            break;
        }
        at += 1;
    }
    if is(all, at, "as") {
        at += 2;
    }
    found.push((line, path));
    at
}

/// When `#[cfg(test)]`, `#[cfg(all(test, …))]` or their inner forms stand at `at`: where they end.
fn end_of_test_attribute(all: &[Token], at: usize) -> Option<usize> {
    let open = if is(all, at + 1, "!") { at + 2 } else { at + 1 };
    if !(is(all, at, "#") && is(all, open, "[") && is(all, open + 1, "cfg")) {
        return None;
    }
    let inside = all.get(open + 2..)?.iter().take_while(|token| token.text != "]");
    let (mut test, mut not, mut length) = (false, false, 0);
    for token in inside {
        test |= token.text == "test";
        not |= matches!(token.text.as_str(), "not" | "any");
        length += 1;
    }
    (test && !not).then_some(open + 3 + length)
}

fn is(all: &[Token], at: usize, text: &str) -> bool {
    all.get(at).is_some_and(|token| token.text == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(source: &str) -> Vec<(usize, String)> {
        Code::read(source).effects()
    }

    #[test]
    fn every_way_to_name_an_effect_is_seen() {
        for source in [
            "use std::fs;",
            "use std::fs::File;",
            "use std::{fmt, fs};",
            "use std::{collections::{BTreeMap, HashMap}, net::{IpAddr, TcpStream}};",
            "use ::std::net;",
            "use std::net::*;",
            "use std::*;",
            "use std as s;",
            "use std::{self as s};",
            "fn f() { std::thread::sleep(d); }",
            "fn f() -> Option<String> { std::env::var(\"HOME\").ok() }",
            "use std::process::Command;",
            "use std::os::fd::OwnedFd;",
            "use std::io::stdout;",
            "use std::time::{Duration, SystemTime};",
            "use std::time::UNIX_EPOCH;",
            "fn f() { let now = Instant::now(); }",
            "fn f() { let now = std::time::Instant::now(); }",
            "fn f() { let age = since.elapsed(); }",
            "use std::time::Instant as Clock;",
            "use std::hash::RandomState;",
            "use std::collections::hash_map::{self, RandomState};",
            "#[cfg(not(test))] use std::fs;",
            "#[cfg(any(test, unix))] use std::fs;",
            "#[cfg(test)] mod tests; use std::fs;",
            "#[cfg(test)] mod tests { fn f() { } } use std::fs;",
            "#[cfg(test)] #[derive(Debug)] struct A([u8; 3]); use std::fs;",
            "#[cfg(test)] use a::{b, c}; use std::fs;",
        ] {
            assert_eq!(effects(source).len(), 1, "{source}");
        }
    }

    #[test]
    fn values_tests_comments_and_texts_are_no_effects() {
        for source in [
            "use std::time::{Duration, Instant};",
            "use std::net::IpAddr; use core::net::SocketAddr;",
            "use std::io; fn f() -> io::ErrorKind {}",
            "// use std::fs;\n/// `std::env::var` is not used\nfn f() {}",
            "const HELP: &str = \"std::fs and Instant::now()\";",
            "#[cfg(test)] mod tests { use std::fs; fn f() { Instant::now(); } }",
            "#[cfg(all(test, unix))] mod tests { use std::fs; }",
            "#[cfg(test)] #[expect(x, reason = \"y\")] pub(crate) fn f() -> [u8; 2] { std::env::args(); }",
            "#![cfg(test)] use std::fs;",
            "fn elapsed(&self) {} struct S { elapsed: u8 }",
            "use crate::std_things::fs;",
        ] {
            assert_eq!(effects(source), [], "{source}");
        }
    }

    #[test]
    fn the_line_is_that_of_the_name() {
        let found = effects("use std::{\n    fmt,\n    fs,\n};\n");
        assert_eq!(found.first().map(|(line, _)| *line), Some(3));
    }

    #[test]
    fn modules_for_tests_in_other_files_are_listed() {
        let code = Code::read("mod a; #[cfg(test)] mod world; #[cfg(test)] pub(crate) mod deep; mod b;");
        assert_eq!(code.test_modules, ["world", "deep"]);
    }
}

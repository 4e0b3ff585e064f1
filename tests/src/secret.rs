//! Looks for words that must be nowhere.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Secrets of every kind that arguments have, all of them unlike anything else.
#[derive(Debug, Clone)]
pub struct Canaries {
    seed: u64,
}

impl Canaries {
    /// Of a seed, which a test prints.
    pub fn of(seed: u64) -> Self {
        Self { seed }
    }

    fn word(&self, name: &str) -> String {
        format!("canary{name}{:016x}", self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn number(&self) -> u64 {
        7_000_000_000_000 + self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) % 1_000_000_000_000
    }

    /// Text, number, map, array, lines, what JSON escapes, and a key.
    pub fn value(&self) -> Value {
        json!({
            "text": self.word("text"), "number": self.number(), "map": {"deep": {"er": self.word("deep")}},
            "list": [self.word("list"), [self.number() + 1]], "lines": format!("{}\nand {}", self.word("first"), self.word("second")),
            "quoted": format!("\"q\\uo'te {} \u{fc}\u{1f426}\ttab", self.word("quoted")), self.word("key"): true
        })
    }

    /// Bytes that are no text.
    pub fn bytes(&self) -> Vec<u8> {
        [&[0xff, 0, 0xfe], self.word("bytes").as_bytes(), &[0x80]].concat()
    }

    /// What must be nowhere: a part of each secret, as it is and as others write it.
    pub fn traces(&self) -> Vec<Vec<u8>> {
        let words =
            ["text", "deep", "list", "first", "second", "quoted", "key", "bytes"].map(|name| self.word(name));
        let numbers = [self.number(), self.number() + 1];
        let texts = words.iter().cloned().chain(numbers.iter().map(u64::to_string));
        let mut traces: Vec<Vec<u8>> = Vec::new();
        for text in texts {
            // what is left of base64 at its ends depends on what is around it
            traces
                .extend((0..3).map(|before| {
                    base64(&["xxx".get(..before).unwrap_or_default(), &text].concat(), before)
                }));
            traces.push(text.into_bytes());
        }
        // as MessagePack has them
        traces.extend(numbers.iter().map(|number| number.to_be_bytes().to_vec()));
        traces
    }
}

/// The middle of a text in base64 that has so many bytes of something else before it.
fn base64(text: &str, before: usize) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = text.as_bytes();
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| usize::from(byte >> (7 - at % 8) & 1));
    let character = |at: usize| (0..6).fold(0, |bits, offset| bits << 1 | bit(at * 6 + offset));
    let (from, to) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    (from..to).filter_map(|at| ALPHABET.get(character(at)).copied()).collect()
}

/// The first of some words that some bytes hold, with what is around it.
pub fn held(bytes: &[u8], words: &[Vec<u8>]) -> Option<String> {
    // once over the bytes, which may be many
    let mut by_first: Vec<Vec<&[u8]>> = vec![Vec::new(); 256];
    for word in words {
        if let Some(list) = word.first().and_then(|first| by_first.get_mut(usize::from(*first))) {
            list.push(word);
        }
    }
    let found = bytes.iter().enumerate().find_map(|(at, byte)| {
        let begin = by_first.get(usize::from(*byte)).filter(|list| !list.is_empty())?;
        let rest = bytes.get(at..)?;
        begin.iter().find(|word| rest.starts_with(word)).map(|word| (at, word.len()))
    });
    let (at, len) = found?;
    let around = bytes.get(at.saturating_sub(200)..bytes.len().min(at + len + 100)).unwrap_or_default();
    Some(String::from_utf8_lossy(around).into_owned())
}

/// The files below a folder that hold one of some words, each with what is around it.
pub fn files_with(folder: &Path, words: &[Vec<u8>]) -> Vec<String> {
    let mut found = Vec::new();
    each_file(folder, &mut |path, bytes| {
        // space that is set aside, in which nothing was ever written
        if path.ends_with("jobs.reserve") && bytes.iter().all(|byte| *byte == 0) {
            return;
        }
        found.extend(held(bytes, words).map(|around| format!("{}: …{around}…", path.display())));
    });
    found
}

/// The processes that have one of some words on their command lines or in their environments.
pub fn processes_with(words: &[Vec<u8>]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
            found.extend(held(&bytes, words).map(|around| format!("{}: {around}", entry.path().display())));
        }
    }
    found
}

fn each_file(folder: &Path, take: &mut impl FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            each_file(&path, take);
        } else if let Ok(bytes) = std::fs::read(&path) {
            take(&path, &bytes);
        }
    }
}

/// The files below a folder that hold a word. One that goes while it is looked at does not.
///
/// # Panics
/// When there is no such folder: nothing would be found in it whatever there was.
pub fn holders(folder: &Path, word: &str) -> Vec<PathBuf> {
    assert!(folder.is_dir(), "{} is no folder", folder.display());
    let mut found = Vec::new();
    each_file(folder, &mut |path, bytes| {
        if bytes.windows(word.len()).any(|window| window == word.as_bytes()) {
            found.push(path.to_owned());
        }
    });
    found
}

//! Words that nobody may see, wherever they stand in a text: the secrets of a call, by value.
//!
//! [`Words`] finds whole words, in bytes and in texts. [`Stream`] does so in a stream that comes in pieces: it holds back what may
//! be the begin of a word, and nothing else. A word is looked for as it is, and in the usual forms of it, see `forms`.

mod forms;

use data_encoding::BASE64;

/// What stands in place of a word.
const MASK: &[u8] = b"***";
/// Bytes of the shortest word that is looked for, and digits of the shortest number. Shorter ones stand in every text by chance: to
/// mask them would hide the text, and tell the word by what is missing.
pub const MIN_WORD: usize = 4;
/// Bytes of the longest word that is looked for. With a longer one everything is masked.
pub const MAX_WORD: usize = 16 * 1024;
/// How many words are looked for. With more of them everything is masked.
pub const MAX_WORDS: usize = 64;
/// What stands where a text was cut.
const CUT: char = '…';

/// Words that nobody may see.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Words {
    words: Vec<Word>,
    /// Too much to look for: nothing is shown.
    everything: bool,
}

impl std::fmt::Debug for Words {
    /// Shows how many they are.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Words({}, everything: {})", self.words.len(), self.everything)
    }
}

impl Words {
    /// Nothing is shown, whatever it is.
    pub fn everything() -> Self {
        Self { words: Vec::new(), everything: true }
    }

    /// Whether nothing is masked.
    pub fn is_empty(&self) -> bool {
        !self.everything && self.words.is_empty()
    }

    /// Whether everything is masked.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// Adds a word, without the white space around it. Too short a word is none.
    pub fn add(&mut self, word: &[u8]) {
        // a program drops the line end of what it was given, say, and tells the rest
        let word = word.trim_ascii();
        if word.len() < MIN_WORD || self.everything || self.words.iter().any(|known| known.bytes == word) {
            return;
        }
        if word.len() > MAX_WORD || self.words.len() >= MAX_WORDS {
            *self = Self::everything();
            return;
        }
        self.words.push(Word::new(word));
        if std::str::from_utf8(word).is_err() {
            // as it looks where a text was made of it; what its ends look like depends on what is around them
            let text = String::from_utf8_lossy(word);
            let text = text.trim_matches(char::REPLACEMENT_CHARACTER);
            if text.len() >= MIN_WORD {
                self.words.push(Word::new(text.as_bytes()));
            }
        }
    }

    /// Adds a number as it is written, without its sign. One of too few digits is none.
    pub fn add_number(&mut self, written: &str) {
        if written.bytes().filter(u8::is_ascii_digit).count() >= MIN_WORD {
            self.add(written.trim_start_matches('-').as_bytes());
        }
    }

    /// Adds what words that are base64 stand for: who takes bytes as such a text tells of the bytes. What is no text is as good as always
    /// a word that only looks like base64: it is added as long as all are still looked for then.
    pub fn add_decoded(&mut self) {
        let decoded = |word: &Word| BASE64.decode(&word.bytes).ok();
        let (texts, others): (Vec<_>, Vec<_>) =
            self.words.iter().filter_map(decoded).partition(|bytes| std::str::from_utf8(bytes).is_ok());
        texts.iter().for_each(|bytes| self.add(bytes));
        for bytes in others {
            let mut one = Self::default();
            one.add(&bytes);
            self.extend_within(&one);
        }
    }

    /// Adds the words of others.
    pub fn extend(&mut self, others: &Self) {
        if others.everything {
            *self = Self::everything();
        }
        others.words.iter().for_each(|word| self.add(&word.bytes));
    }

    /// Adds the words of others, if all of them are still looked for then.
    pub fn extend_within(&mut self, others: &Self) -> bool {
        let mut all = self.clone();
        all.extend(others);
        let fits = !all.everything || self.everything;
        if fits {
            *self = all;
        }
        fits
    }

    /// Whether one of the words is a number as such, so that numbers have to be looked at.
    pub fn has_numbers(&self) -> bool {
        self.words.iter().any(|word| word.bytes.iter().any(u8::is_ascii_digit))
    }

    /// More bytes than a [`Stream`] ever holds back: six for each byte of the longest word (`\u0061`), and the begin of one more character.
    pub fn most_held(&self) -> usize {
        self.words.iter().map(|word| word.bytes.len()).max().map_or(0, |longest| 6 * longest + 6)
    }

    /// Whether something in these bytes is masked.
    pub fn find(&self, data: &[u8]) -> bool {
        self.everything || !self.look(data).0.is_empty()
    }

    /// The bytes with the words masked.
    pub fn mask(&self, data: &[u8]) -> Vec<u8> {
        if self.everything {
            return if data.is_empty() { Vec::new() } else { MASK.to_vec() };
        }
        let mut stream = Stream::default();
        let mut out = stream.push(self, data);
        out.extend(stream.finish(self));
        out
    }

    /// The text with the words masked. Where an ellipsis says that it was cut, also what is left of a word there.
    pub fn text(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        if self.everything {
            return String::from_utf8_lossy(&self.mask(text.as_bytes())).into_owned();
        }
        let (begin, rest) = text.strip_prefix(CUT).map_or((None, text), |rest| (Some(CUT), rest));
        let (rest, end) = rest.strip_suffix(CUT).map_or((rest, None), |rest| (rest, Some(CUT)));
        let data = rest.as_bytes();
        let left_of = |word: &Word| word.left(data).max(forms::left(data, word));
        let left = begin.map_or(0, |_cut| self.words.iter().map(left_of).max().unwrap_or(0));
        let (mut spans, begun) = self.look(data);
        let held = end.map_or(data.len(), |_cut| begun);
        spans.extend([(0, left), (held, data.len())].into_iter().filter(|(from, to)| from < to));
        let (out, _) = write(data, &merged(spans), data.len(), 0);
        let cut = |cut: Option<char>| cut.map(String::from).unwrap_or_default();
        format!("{}{}{}", cut(begin), String::from_utf8_lossy(&out), cut(end))
    }

    /// Where words stand, in order and without overlaps; and from where on the data may be the begin of one.
    fn look(&self, data: &[u8]) -> (Vec<Span>, usize) {
        if self.words.is_empty() {
            return (Vec::new(), data.len());
        }
        let (mut spans, mut held) = (Vec::new(), data.len());
        for word in &self.words {
            let (found, begun) = word.run(data);
            spans.extend(found);
            held = held.min(data.len() - begun);
        }
        let least = self.words.iter().map(|word| word.bytes.len()).min().unwrap_or(0);
        forms::views(data, least, |view| {
            for (found, begun) in self.words.iter().map(|word| view.run(word)) {
                spans.extend(found);
                held = held.min(begun.unwrap_or(held));
            }
        });
        (merged(spans), held)
    }
}

/// From and to, in bytes.
type Span = (usize, usize);

fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut out: Vec<Span> = Vec::new();
    for (from, to) in spans {
        match out.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            Some(_) | None => out.push((from, to)),
        }
    }
    out
}

/// The bytes before `until`, of which the first `covered` were masked already. Gives how many of those behind are.
fn write(data: &[u8], spans: &[Span], until: usize, covered: usize) -> (Vec<u8>, usize) {
    let (mut out, mut at) = (Vec::with_capacity(until), covered);
    for &(from, to) in spans.iter().filter(|(from, _)| *from < until) {
        if from >= at {
            out.extend_from_slice(data.get(at..from).unwrap_or_default());
            out.extend_from_slice(MASK);
        }
        at = at.max(to);
    }
    out.extend_from_slice(data.get(at..until).unwrap_or_default());
    (out, at.max(until) - until)
}

/// One word, and how to go on looking for it where it did not go on.
#[derive(Clone, PartialEq, Eq)]
struct Word {
    bytes: Vec<u8>,
    /// Of as many bytes of it as the index says and one: how long the longest true end of them is that it also begins with.
    back: Vec<usize>,
    /// The same with spaces for plus signs, if it has any.
    spaced: Option<Box<Self>>,
}

impl Word {
    fn new(bytes: &[u8]) -> Self {
        let spaced = |byte: &u8| if *byte == b'+' { b' ' } else { *byte };
        let spaced = bytes.contains(&b'+').then(|| bytes.iter().map(spaced).collect::<Vec<u8>>());
        let spaced = spaced.map(|bytes| Box::new(Self::new(&bytes)));
        let mut word = Self { bytes: bytes.to_vec(), back: vec![0], spaced };
        let mut length = 0;
        for byte in bytes.iter().skip(1) {
            length = word.step(length, *byte);
            word.back.push(length);
        }
        word
    }

    /// How much of it the bytes end with, once another has followed. Never goes back in the bytes, whatever they are.
    fn step(&self, mut length: usize, byte: u8) -> usize {
        loop {
            if self.bytes.get(length) == Some(&byte) {
                return length + 1;
            }
            let Some(before) = length.checked_sub(1) else { return 0 };
            length = self.back.get(before).copied().unwrap_or(0);
        }
    }

    /// Where it stands, and how much of it the bytes end with, less than all.
    fn run(&self, data: &[u8]) -> (Vec<Span>, usize) {
        let (mut spans, mut length) = (Vec::<Span>::new(), 0);
        for (at, byte) in data.iter().enumerate() {
            length = self.step(length, *byte);
            if length == self.bytes.len() {
                let (from, to) = (at + 1 - length, at + 1);
                match spans.last_mut() {
                    Some(last) if from <= last.1 => last.1 = to,
                    Some(_) | None => spans.push((from, to)),
                }
                length = self.back.last().copied().unwrap_or(0);
            }
        }
        (spans, length)
    }

    /// How much of its end, less than all, the bytes begin with.
    fn left(&self, data: &[u8]) -> usize {
        let most = data.get(..data.len().min(self.bytes.len() - 1)).unwrap_or_default();
        if most.is_empty() { 0 } else { Self::new(most).longest_end(&self.bytes) }
    }

    /// How much of it, all included, the bytes end with.
    fn longest_end(&self, data: &[u8]) -> usize {
        let from = data.len().saturating_sub(self.bytes.len());
        let end = data.get(from..).unwrap_or_default();
        end.iter().fold(0, |length, byte| self.step(length, *byte))
    }
}

/// Masks words in a stream that comes in pieces. Holds back less than the longest word has in its longest form, see [`Words::most_held`].
#[derive(Clone, Default)]
pub struct Stream {
    held: Vec<u8>,
    /// How many of these belong to a word that was masked.
    covered: usize,
}

impl std::fmt::Debug for Stream {
    /// Shows the length only: it may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({} bytes)", self.held.len())
    }
}

impl Stream {
    /// A stream that goes on behind these bytes, which somebody else had: what of them may be the begin of a word is looked at with
    /// what follows, and never passed on.
    pub fn behind(words: &Words, before: &[u8]) -> Self {
        let mut stream = Self::default();
        let _not_for_this_one = stream.push(words, before);
        stream.covered = stream.held.len();
        stream
    }

    /// Whether it may be in the middle of a word.
    pub fn is_within(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes a piece; gives what can be passed on.
    pub fn push(&mut self, words: &Words, piece: &[u8]) -> Vec<u8> {
        if words.everything {
            return words.mask(piece);
        }
        self.held.extend_from_slice(piece);
        let (spans, begun) = words.look(&self.held);
        self.pass(&spans, begun)
    }

    /// The end came: gives what was held back.
    pub fn finish(&mut self, words: &Words) -> Vec<u8> {
        let (spans, _) = words.look(&self.held);
        self.pass(&spans, self.held.len())
    }

    /// The rest was thrown away: of what was held back nobody knows whether it was a word.
    pub fn cut(&mut self) -> Vec<u8> {
        let out = if self.held.len() > self.covered { MASK.to_vec() } else { Vec::new() };
        *self = Self::default();
        out
    }

    fn pass(&mut self, spans: &[Span], until: usize) -> Vec<u8> {
        let (out, covered) = write(&self.held, spans, until, self.covered);
        self.held.drain(..until.min(self.held.len()));
        self.covered = covered;
        out
    }
}

#[cfg(test)]
mod tests;

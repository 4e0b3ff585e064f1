//! The forms in which a word may stand in a text beside its own: percent-encoded as in a URL, with backslashes as in JSON or in a
//! program's text, and in base64, of either alphabet, in lines, in whatever it was encoded with.
//!
//! None of them is made of the word: the text is read as if it were in that form, and the word looked for in what that gives. So it is
//! found however much of it is escaped, and at every place in base64; and a text without a percent sign, a backslash or a long
//! run of letters and digits costs next to nothing.

use super::{Span, Word};

/// Characters of a line of base64, at least, that goes on in the next.
const MIN_LINE: usize = 16;
/// Line ends in a row, at most, behind which a line of base64 goes on: `\r\n` are two. More of them end it, or nothing ever would.
const MAX_ENDS: usize = 2;
/// Bits of a character of base64.
const BITS: usize = 6;
/// At which of the first bits of some base64 a byte can begin.
const BEGINS: [usize; 4] = [0, 2, 4, 6];

/// What a text stands for in one form, and where each byte of that is written.
#[derive(Debug, Default)]
pub(super) struct View {
    bytes: Vec<u8>,
    places: Places,
    /// Where something begins that goes on in what follows the text.
    rest: Option<usize>,
    /// The first bits of a byte that goes on there: how many, which, and where.
    open: Option<(usize, u8, usize)>,
    /// A plus sign is a space, or cannot be told from one.
    is_spaced: bool,
    /// Nothing of it goes on behind the text.
    is_over: bool,
}

#[derive(Debug)]
enum Places {
    /// Where each byte begins, several at one place if they are written as one; and where the last ends. No piece that is looked at has
    /// 4 GiB.
    Each(Vec<u32>, usize),
    /// Of the characters of base64, and the bit that the first byte begins with.
    Base64(Vec<usize>, usize),
}

impl Default for Places {
    fn default() -> Self {
        Self::Each(Vec::new(), 0)
    }
}

impl View {
    /// With room for what so many bytes stand for.
    fn with_capacity(capacity: usize) -> Self {
        let places = Places::Each(Vec::with_capacity(capacity), 0);
        Self { bytes: Vec::with_capacity(capacity), places, ..Self::default() }
    }

    /// Adds a byte that is written from the first of the places to the second.
    fn push(&mut self, byte: u8, (from, to): Span) {
        self.bytes.push(byte);
        if let Places::Each(begins, end) = &mut self.places {
            begins.push(u32::try_from(from).unwrap_or(u32::MAX));
            *end = to;
        }
    }

    /// Where a byte is written.
    fn place(&self, at: usize) -> Span {
        match &self.places {
            Places::Each(begins, end) => {
                let begin = begins.get(at).copied().unwrap_or_default();
                let next = begins.get(at..).unwrap_or_default().iter().find(|next| **next > begin);
                let place = |begin: u32| usize::try_from(begin).unwrap_or_default();
                (place(begin), next.map_or(*end, |next| place(*next)))
            }
            Places::Base64(places, begin) => {
                let of = |bit: usize| places.get(bit / BITS).copied().unwrap_or_default();
                (of(begin + 8 * at), of(begin + 8 * at + 7) + 1)
            }
        }
    }

    fn word<'w>(&self, word: &'w Word) -> &'w Word {
        word.spaced.as_deref().filter(|_| self.is_spaced).unwrap_or(word)
    }

    /// Where a word stands in the text, and where it may have begun that goes on behind the text.
    pub(super) fn run(&self, word: &Word) -> (Vec<Span>, Option<usize>) {
        let (found, begun) = self.word(word).run(&self.bytes);
        let spans = found.into_iter().map(|(from, to)| (self.place(from).0, self.place(to - 1).1)).collect();
        let begun = (begun > 0 && !self.is_over).then(|| self.place(self.bytes.len() - begun).0);
        let may_begin = |(count, bits, _): &(usize, u8, usize)| {
            self.word(word).bytes.first().is_some_and(|first| first >> (8 - count) == *bits)
        };
        let open = self.open.filter(may_begin).map(|(_, _, from)| from);
        (spans, [begun, open, self.rest].into_iter().flatten().min())
    }

    /// How many bytes of the text are the end of a word that was cut before it, less than all.
    fn left(&self, word: &Word, at_least: usize) -> usize {
        let left = self.word(word).left(&self.bytes);
        if left < at_least { 0 } else { self.place(left - 1).1 }
    }
}

/// Shows all readings of a text that may have a word of at least so many bytes.
pub(super) fn views(data: &[u8], least: usize, mut show: impl FnMut(&View)) {
    if data.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        show(&percent(data));
    }
    if data.contains(&b'\\') {
        show(&backslash(data));
    }
    base64(data, least, &mut show);
}

/// How many bytes the end of a word takes, less than all, in a text that was cut before its begin, maybe in the middle of a
/// character's form.
pub(super) fn left(data: &[u8], word: &Word) -> usize {
    // as long as the longest form of a character, but for its first
    let most = (0..6).filter_map(|skipped| {
        let after = data.get(skipped..)?;
        // a byte alone is found anywhere
        let at_least = if skipped == 0 { 1 } else { 2 };
        // the only character with a form may be the one that was cut
        let mut most = Some(word.left(after)).filter(|left| *left >= at_least).unwrap_or(0);
        views(after, 0, |view| {
            if !view.bytes.is_empty() && view.place(0).0 < BEGINS.len() {
                most = most.max(view.left(word, at_least));
            }
        });
        (most > 0).then_some(most + skipped)
    });
    most.max().unwrap_or(0)
}

fn hex(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u32::from_str_radix(text, 16).ok()
}

/// What a URL or a form stands for.
fn percent(data: &[u8]) -> View {
    let mut view = View { is_spaced: true, ..View::with_capacity(data.len()) };
    let spaced = |byte: u8| if byte == b'+' { b' ' } else { byte };
    let mut at = 0;
    while let Some(&byte) = data.get(at) {
        let digits = data.get(at + 1..data.len().min(at + 3)).unwrap_or_default();
        let (byte, len) = match hex(digits).and_then(|code| u8::try_from(code).ok()) {
            Some(code) if byte == b'%' && digits.len() == 2 => (code, 3),
            _ if byte == b'%' && digits.len() < 2 && digits.iter().all(u8::is_ascii_hexdigit) => {
                view.rest = Some(at);
                break;
            }
            _ => (byte, 1),
        };
        view.push(spaced(byte), (at, at + len));
        at += len;
    }
    view
}

/// A character behind a backslash, and the bytes that say it.
enum Escape {
    Char(char, usize),
    Byte(u8, usize),
    None,
    /// It goes on behind the text.
    Open,
}

/// What a string of JSON, or of a program, stands for.
fn backslash(data: &[u8]) -> View {
    let mut view = View::with_capacity(data.len());
    let mut at = 0;
    while let Some(&byte) = data.get(at) {
        let rest = data.get(at..).unwrap_or_default();
        let escape = if byte == b'\\' { escape(rest) } else { Escape::None };
        at += match escape {
            Escape::Char(char, len) => {
                char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| view.push(byte, (at, at + len)));
                len
            }
            Escape::Byte(byte, len) => {
                view.push(byte, (at, at + len));
                len
            }
            Escape::None => {
                view.push(byte, (at, at + 1));
                1
            }
            Escape::Open => {
                view.rest = Some(at);
                break;
            }
        };
    }
    view
}

/// What begins with a backslash.
fn escape(text: &[u8]) -> Escape {
    let plain = |char: char| Escape::Char(char, 2);
    match text.get(1) {
        None => Escape::Open,
        Some(b'n') => plain('\n'),
        Some(b't') => plain('\t'),
        Some(b'r') => plain('\r'),
        Some(b'b') => plain('\u{8}'),
        Some(b'f') => plain('\u{c}'),
        Some(same @ (b'"' | b'\'' | b'\\' | b'/')) => plain(char::from(*same)),
        Some(b'x') => match digits(text, 2, 2) {
            Ok(code) => code
                .and_then(|code| u8::try_from(code).ok())
                .map_or(Escape::None, |byte| Escape::Byte(byte, 4)),
            Err(Cut) => Escape::Open,
        },
        Some(b'u') => unicode(text),
        Some(_) => Escape::None,
    }
}

/// The text ends in the middle.
struct Cut;

fn digits(text: &[u8], from: usize, count: usize) -> Result<Option<u32>, Cut> {
    let found = text.get(from..text.len().min(from + count)).unwrap_or_default();
    match hex(found) {
        Some(code) if found.len() == count => Ok(Some(code)),
        None if !found.is_empty() => Ok(None),
        Some(_) | None => Err(Cut),
    }
}

fn unicode(text: &[u8]) -> Escape {
    let code = match digits(text, 2, 4) {
        Ok(Some(code)) => code,
        Ok(None) => return Escape::None,
        Err(Cut) => return Escape::Open,
    };
    if let Some(char) = char::from_u32(code) {
        return Escape::Char(char, 6);
    }
    // the first half of a pair
    match (text.get(6), text.get(7)) {
        (None, _) | (Some(b'\\'), None) => return Escape::Open,
        (Some(b'\\'), Some(b'u')) => {}
        (Some(_), _) => return Escape::None,
    }
    match digits(text, 8, 4) {
        Ok(Some(low @ 0xdc00..=0xdfff)) if code < 0xdc00 => {
            let code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            char::from_u32(code).map_or(Escape::None, |char| Escape::Char(char, 12))
        }
        Ok(_) => Escape::None,
        Err(Cut) => Escape::Open,
    }
}

/// The six bits of a character of base64, of either alphabet.
fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// Shows what the long runs of a text stand for in base64, from each bit on at which a byte may begin. The ends of lines in a run are
/// passed over, if the lines are as long as who makes them makes them.
fn base64(data: &[u8], least: usize, show: &mut impl FnMut(&View)) {
    let least = (least * 8).div_ceil(BITS);
    let (mut run, mut line, mut ends, mut view) = (Run::default(), 0, 0, View::default());
    for (at, &byte) in data.iter().enumerate() {
        match sextet(byte) {
            Some(bits) => {
                run.bits.push(bits);
                run.places.push(at);
                (line, ends) = (line + 1, 0);
            }
            // what begins the text may be the rest of a longer line
            None if matches!(byte, b'\n' | b'\r')
                && ends < MAX_ENDS
                && (line >= MIN_LINE || ends > 0 || run.places.first() == Some(&0)) =>
            {
                (line, ends) = (0, ends + 1);
            }
            None => {
                if run.bits.len() >= least {
                    run.show(false, &mut view, show);
                }
                run.bits.clear();
                run.places.clear();
                (line, ends) = (0, 0);
            }
        }
    }
    // the last one may go on, also in the next line
    run.show(true, &mut view, show);
}

/// Characters of base64: what they stand for, and where they are.
#[derive(Default)]
struct Run {
    bits: Vec<u8>,
    places: Vec<usize>,
}

impl Run {
    /// The eight bits from one on, with zeros behind the last.
    fn byte(&self, bit: usize) -> u8 {
        let sextet = |at: usize| self.bits.get(at).map_or(0, |bits| u32::from(*bits));
        let at = bit / BITS;
        let three = sextet(at) << (2 * BITS) | sextet(at + 1) << BITS | sextet(at + 2);
        u8::try_from(three >> (3 * BITS - 8 - bit % BITS) & 0xff).unwrap_or_default()
    }

    fn show(&mut self, goes_on: bool, view: &mut View, show: &mut impl FnMut(&View)) {
        view.is_over = !goes_on;
        let total = self.bits.len() * BITS;
        for begin in BEGINS {
            view.bytes.clear();
            let mut from = begin;
            while from + 8 <= total {
                view.bytes.push(self.byte(from));
                from += 8;
            }
            view.open = (goes_on && from < total).then(|| {
                let count = total - from;
                (
                    count,
                    self.byte(from) >> (8 - count),
                    self.places.get(from / BITS).copied().unwrap_or_default(),
                )
            });
            if view.bytes.is_empty() && view.open.is_none() {
                continue;
            }
            view.places = Places::Base64(std::mem::take(&mut self.places), begin);
            show(view);
            if let Places::Base64(places, _) = std::mem::take(&mut view.places) {
                self.places = places;
            }
        }
    }
}

#[cfg(test)]
mod tests;

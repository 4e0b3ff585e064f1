//! Output of several runs on two streams, so that no line holds words of two.
//!
//! One run is passed on as it comes, beginnings of lines too, as in a call. With more than one, each line is marked with its
//! agent, `web-1: text`, and is held until it is whole; what is held too long, or too much in all, is given out as a line.

use std::collections::BTreeMap;

use crate::sanitize::Sanitizer;
use crate::stream::Stream;

/// The longest beginning of a line that is held, in bytes.
const MAX_LINE: usize = 64 * 1024;
/// What is held in all, in bytes. Beyond, whatever gets more is given out.
const MAX_HELD: usize = 16 * 1024 * 1024;

/// Keeps lines together.
#[derive(Debug)]
pub struct Lines {
    marked: bool,
    raw: bool,
    streams: BTreeMap<(String, Stream), Held>,
    held: usize,
}

#[derive(Debug, Default)]
struct Held {
    sanitizer: Sanitizer,
    beginning: Vec<u8>,
}

impl Lines {
    /// `marked`: with the agent's name before each line. `raw`: control sequences are left in.
    pub fn new(marked: bool, raw: bool) -> Self {
        Self { marked, raw, streams: BTreeMap::new(), held: 0 }
    }

    /// Whether lines are marked.
    pub fn is_marked(&self) -> bool {
        self.marked
    }

    /// Takes a piece of a stream and gives what is to be written of it now.
    pub fn chunk(&mut self, agent: &str, stream: Stream, bytes: &[u8]) -> Vec<u8> {
        if self.raw && !self.marked {
            return bytes.to_vec();
        }
        let held = self.streams.entry((agent.to_owned(), stream)).or_default();
        let safe;
        let bytes = if self.raw {
            bytes
        } else {
            safe = held.sanitizer.chunk(bytes);
            safe.as_bytes()
        };
        if !self.marked {
            return bytes.to_vec();
        }
        let before = held.beginning.len();
        held.beginning.extend_from_slice(bytes);
        let room = MAX_HELD.saturating_sub(self.held.saturating_sub(before)).min(MAX_LINE);
        let whole = match held.beginning.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None => 0,
        };
        let mut lines: Vec<u8> = held.beginning.drain(..whole).collect();
        if held.beginning.len() > room {
            lines.append(&mut held.beginning);
        }
        self.held = self.held.saturating_sub(before).saturating_add(held.beginning.len());
        marked(agent, &lines)
    }

    /// Takes a text that is complete in itself, such as a value.
    pub fn text(&mut self, agent: &str, text: &[u8]) -> Vec<u8> {
        if !self.marked {
            return text.to_vec();
        }
        let mut out = self.finish(agent, Stream::Stdout);
        out.extend(marked(agent, text));
        out
    }

    /// The stream has ended: gives what was held of it.
    pub fn finish(&mut self, agent: &str, stream: Stream) -> Vec<u8> {
        let Some(mut held) = self.streams.remove(&(agent.to_owned(), stream)) else { return Vec::new() };
        self.held = self.held.saturating_sub(held.beginning.len());
        if !self.raw {
            held.beginning.extend_from_slice(held.sanitizer.finish().as_bytes());
        }
        if self.marked { marked(agent, &held.beginning) } else { held.beginning }
    }

    /// The agents of which something may be held.
    pub fn agents(&self) -> Vec<String> {
        let mut agents: Vec<_> = self.streams.keys().map(|(agent, _)| agent.clone()).collect();
        agents.dedup();
        agents
    }
}

/// Each line with its agent before it, and a line break after the last one.
fn marked(agent: &str, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + agent.len() + 3);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        out.extend_from_slice(agent.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_of_two_agents_are_never_mixed() {
        let mut lines = Lines::new(true, false);
        let mut out = String::new();
        for (agent, chunk) in
            [("a", "one"), ("b", "un"), ("a", " two\nthr"), ("b", "\n"), ("a", "ee\nfour\n")]
        {
            out.push_str(&text(lines.chunk(agent, Stream::Stdout, chunk.as_bytes())));
        }
        assert_eq!(out, "a: one two\nb: un\na: three\na: four\n");
        assert_eq!(lines.held, 0);
    }

    #[test]
    fn what_has_no_line_break_is_given_out_at_the_end() {
        let mut lines = Lines::new(true, false);
        assert_eq!(lines.chunk("a", Stream::Stdout, b"x"), b"");
        assert_eq!(lines.chunk("a", Stream::Stderr, b"y"), b"");
        assert_eq!(lines.agents(), ["a"]);
        assert_eq!(lines.finish("a", Stream::Stderr), b"a: y\n");
        // a value closes the line before it
        assert_eq!(text(lines.text("a", b"1\n2\n")), "a: x\na: 1\na: 2\n");
        assert_eq!(lines.finish("a", Stream::Stdout), b"");
    }

    #[test]
    fn one_run_is_passed_on_as_it_comes() {
        let mut lines = Lines::new(false, false);
        assert_eq!(lines.chunk("a", Stream::Stdout, b"half \x1b[3"), b"half ");
        assert_eq!(lines.chunk("a", Stream::Stdout, b"1ma\xc3"), b"a");
        assert_eq!(text(lines.finish("a", Stream::Stdout)), "\u{fffd}");
        let mut raw = Lines::new(false, true);
        assert_eq!(raw.chunk("a", Stream::Stdout, b"\x1b[31m\xff"), b"\x1b[31m\xff");
    }

    #[test]
    fn control_sequences_are_removed_although_they_come_in_pieces_of_two_agents() {
        let mut lines = Lines::new(true, false);
        lines.chunk("a", Stream::Stdout, b"\x1b[3");
        lines.chunk("b", Stream::Stdout, b"\x1b]0;ti");
        assert_eq!(lines.chunk("a", Stream::Stdout, b"1mred\n"), b"a: red\n");
        assert_eq!(lines.chunk("b", Stream::Stdout, b"tle\x07plain\n"), b"b: plain\n");
        let mut raw = Lines::new(true, true);
        assert_eq!(raw.chunk("a", Stream::Stdout, b"\x1b[1mx\n"), b"a: \x1b[1mx\n");
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut lines = Lines::new(true, false);
        assert_eq!(lines.chunk("a", Stream::Stdout, &vec![b'x'; MAX_LINE]), b"");
        assert_eq!(lines.chunk("a", Stream::Stdout, b"y").len(), MAX_LINE + "a: y\n".len());
        for n in 0..MAX_HELD / MAX_LINE {
            assert_eq!(lines.chunk(&format!("n{n}"), Stream::Stdout, &vec![b'x'; MAX_LINE]), b"", "{n}");
        }
        assert_eq!(text(lines.chunk("b", Stream::Stdout, b"z")), "b: z\n");
        assert_eq!(lines.held, MAX_HELD);
    }
}

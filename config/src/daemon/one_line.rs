//! What a line of the log is written as, whatever a peer chose of it.

use std::fmt::Write as _;
use std::io::{self, Write};

use redpoll_common::text::acts;

/// What the lines are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// A file or the journal.
    Plain,
    /// A terminal: our own colours are left in.
    Coloured,
    /// A program that reads JSON.
    Json,
}

/// Writes an event as one line without any character that acts: a peer's text cannot pass for another event, and does nothing to the
/// terminal that shows it.
#[derive(Debug)]
pub(super) struct OneLine<W>(pub(super) W, pub(super) Look);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
        if line.chars().any(acts) {
            let mut quiet = quiet(&line, self.1);
            if event.ends_with(b"\n") {
                quiet.push('\n');
            }
            self.0.write_all(quiet.as_bytes())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The line with what acts written out.
fn quiet(line: &str, look: Look) -> String {
    let mut quiet = String::with_capacity(line.len() + 16);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if look == Look::Coloured
            && c == '\u{1b}'
            && let Some((colour, after)) = colour(rest.as_str())
        {
            quiet.push(c);
            quiet.push_str(colour);
            rest = after.chars();
        } else if !acts(c) {
            quiet.push(c);
        } else if look == Look::Json {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // writing to a String cannot fail
                let _always = write!(quiet, "\\u{unit:04x}");
            }
        } else {
            quiet.extend(c.escape_default());
        }
    }
    quiet
}

/// Takes one of the sequences by which our lines are coloured. None of them moves a cursor or hides what follows.
fn colour(text: &str) -> Option<(&str, &str)> {
    const COLOURS: [&str; 10] = ["[0m", "[1m", "[2m", "[3m", "[31m", "[32m", "[33m", "[34m", "[35m", "[36m"];
    COLOURS.iter().find_map(|colour| text.starts_with(colour).then(|| text.split_at(colour.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(event: &str, look: Look) -> String {
        let mut written = Vec::new();
        OneLine(&mut written, look).write_all(event.as_bytes()).unwrap();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_a_peer_puts_into_it() {
        let plain = |event| written(event, Look::Plain);
        assert_eq!(plain("INFO bye\n2030 ERROR forged\r\n\n"), "INFO bye\\n2030 ERROR forged\\r\\n\n");
        assert_eq!(plain("INFO next – größe\n"), "INFO next – größe\n");
    }

    #[test]
    fn what_acts_on_a_terminal_is_written_out_and_our_colours_alone_are_left_there() {
        let event =
            "\u{1b}[32m INFO\u{1b}[0m v=1\u{1b}[2J\u{9b}31m\u{1b}]0;x\u{7}\u{1b}[8m\u{202e}\u{e0041}\n";
        let peer = "v=1\\u{1b}[2J\\u{9b}31m\\u{1b}]0;x\\u{7}\\u{1b}[8m\\u{202e}\\u{e0041}\n";
        assert_eq!(written(event, Look::Coloured), format!("\u{1b}[32m INFO\u{1b}[0m {peer}"));
        assert_eq!(written(event, Look::Plain), format!("\\u{{1b}}[32m INFO\\u{{1b}}[0m {peer}"));
    }

    #[test]
    fn json_stays_json() {
        let said = "a\u{9b}b\u{202e}\u{e0041}";
        let line = written(&format!("{{\"v\":\"{said}\"}}\n"), Look::Json);
        assert!(line.is_ascii() && line.ends_with("}\n"), "{line}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["v"], said);
    }
}

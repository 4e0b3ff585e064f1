//! Where a run is gone on with: the number of an item, and of which attempt it is.

use std::fmt;

/// The first item that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// The attempt it is of; of the one that is in force, unless given.
    pub attempt: Option<u16>,
    /// Its number.
    pub n: u64,
}

impl Since {
    /// Reads `N` or `ATTEMPT:N`.
    ///
    /// # Errors
    /// A text that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let since = match text.split_once(':') {
            None => text.parse().ok().map(|n| Self { attempt: None, n }),
            Some((attempt, n)) => {
                let attempt = attempt.parse().ok().filter(|attempt| *attempt > 0);
                attempt.zip(n.parse().ok()).map(|(attempt, n)| Self { attempt: Some(attempt), n })
            }
        };
        since.ok_or_else(|| "expected the number of an item, or ATTEMPT:N with attempts from 1".to_owned())
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempt {
            Some(attempt) => write!(f, "{attempt}:{}", self.n),
            None => self.n.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_number_with_or_without_its_attempt() {
        for (text, attempt, n) in
            [("0", None, 0), ("500", None, 500), ("2:0", Some(2), 0), ("1:500", Some(1), 500)]
        {
            let since = Since::parse(text).unwrap();
            assert_eq!((since, since.to_string().as_str()), (Since { attempt, n }, text));
        }
        for wrong in ["", ":", "1:", ":1", "0:1", "-1", "1:2:3", "65536:1", "one"] {
            assert!(Since::parse(wrong).is_err(), "{wrong}");
        }
    }
}

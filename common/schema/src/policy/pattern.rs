//! Names with `*` in them.

/// Bytes of a pattern.
pub const MAX_PATTERN: usize = 256;

/// A pattern is too long, empty, or its version is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a pattern such as \"web.*\" or \"web.deploy@2\" of at most {MAX_PATTERN} bytes")]
pub struct PatternError(pub String);

/// A text in which `*` stands for any characters, dots included; with `@version` it fits that version alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let version = text.split_once('@').map(|(_, version)| version);
        // one way to write a version: "@02" would never fit, and a deny rule that never fits is a trap
        let good = |version: &str| version.parse::<u32>().is_ok_and(|n| n > 0 && n.to_string() == version);
        let bad =
            text.is_empty() || text.starts_with('@') || text.len() > MAX_PATTERN || !version.is_none_or(good);
        if bad { Err(PatternError(text.to_owned())) } else { Ok(Self { text: text.to_owned() }) }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it fits every procedure in every version.
    pub fn is_everything(&self) -> bool {
        self.text.bytes().all(|byte| byte == b'*')
    }

    /// Whether it fits a procedure in whatever version.
    pub fn fits_name(&self, name: &str) -> bool {
        glob(self.text.split_once('@').map_or(&self.text, |(pattern, _version)| pattern), name)
    }

    /// Whether it fits a procedure; without a version, it fits each of them.
    pub fn fits(&self, name: &str, version: u32) -> bool {
        match self.text.split_once('@') {
            Some((pattern, wanted)) => wanted == version.to_string() && glob(pattern, name),
            None => glob(&self.text, name),
        }
    }

    /// Whether it fits a text as a whole.
    pub fn fits_text(&self, text: &str) -> bool {
        glob(&self.text, text)
    }
}

/// Whether a pattern fits a text, in time proportional to the product of their lengths.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut middle: Vec<&str> = parts.collect();
    let Some(last) = middle.pop() else { return rest.is_empty() };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

//! How much of a line stands in one row of the terminal.

use std::io;

use unicode_width::UnicodeWidthChar as _;

/// The columns of the terminal that standard error is.
pub(crate) fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// What of a line fits: of one that is wrapped only the last row can be rewritten.
pub(crate) fn fitting(line: &str, columns: Option<usize>) -> String {
    // one less, as some terminals wrap a line that is full
    let mut left = columns.map_or(usize::MAX, |columns| columns - 1);
    let fits = |c: &char| match left.checked_sub(c.width().unwrap_or_default()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    line.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_progress_is_cut_to_the_columns_that_it_takes() {
        assert_eq!(fitting("1 of 2", Some(80)), "1 of 2");
        assert_eq!(fitting("日本語 1 of 2", Some(6)), "日本");
        assert_eq!(fitting("日本語", Some(7)), "日本語");
        assert_eq!(fitting("e\u{301}te\u{301}", Some(4)), "e\u{301}te\u{301}", "accents take none");
        assert_eq!(fitting("日本語", None), "日本語");
    }
}

//! How far a copy is, for whoever sits at a terminal.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The lines of all copies.
#[derive(Debug)]
pub struct Meters {
    lines: MultiProgress,
}

impl Meters {
    /// Shown on standard error if that is a terminal, else nowhere.
    pub fn new(live: bool) -> Self {
        Self::on(if live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() })
    }

    fn on(target: ProgressDrawTarget) -> Self {
        Self { lines: MultiProgress::with_draw_target(target) }
    }

    /// A line of its own.
    pub fn line(&self, name: &str) -> Meter {
        let form = "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.lines.add(ProgressBar::new(0).with_style(style));
        bar.set_prefix(crate::sanitize::line(name));
        Meter(bar)
    }
}

/// The line of one copy.
#[derive(Debug)]
pub struct Meter(ProgressBar);

impl Meter {
    /// So many bytes more are to be copied.
    pub fn expect(&self, bytes: u64) {
        self.0.inc_length(bytes);
    }

    /// So many more are.
    pub fn copied(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Meter {
    /// How far it is, of all that is copied on this line.
    pub fn position(&self) -> u64 {
        self.0.position()
    }

    /// Begins anew from there.
    pub fn back_to(&self, position: u64) {
        self.0.set_position(position);
    }

    /// What another thread counts with.
    pub fn counter(&self) -> Counter {
        Counter(self.0.clone())
    }
}

/// Counts for a [`Meter`].
#[derive(Debug, Clone)]
pub struct Counter(ProgressBar);

impl Counter {
    /// So many bytes more are copied.
    pub fn copied(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// What was drawn, one after the other.
    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl Screen {
        fn meters(&self) -> Meters {
            // as often as it can: what is drawn is looked at
            Meters::on(ProgressDrawTarget::term_like_with_hz(Box::new(self.clone()), 255))
        }

        fn text(&self) -> String {
            self.0.lock().unwrap().clone()
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            80
        }

        fn move_cursor_up(&self, _lines: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _lines: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _columns: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _columns: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.write_str("<cleared>")
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_shows_whose_it_is_and_how_far_and_goes_when_it_is_over() {
        let screen = Screen::default();
        let meters = screen.meters();
        let meter = meters.line("web-1\u{1b}[2J");
        meter.expect(10);
        meter.copied(3);
        meter.counter().copied(4);
        meter.0.tick();
        let text = screen.text();
        assert!(text.contains("7 B/10 B") && text.contains("web-1"), "{text:?}");
        assert!(!text.contains("\u{1b}[2J"), "a name draws nothing: {text:?}");
        drop(meter);
        assert!(screen.text().ends_with("<cleared>"), "{:?}", screen.text());
    }

    #[test]
    fn what_is_copied_again_counts_once_and_several_files_on_a_line_add_up() {
        let screen = Screen::default();
        let meters = screen.meters();
        let meter = meters.line("web-1");
        meter.expect(100);
        meter.copied(100);
        meter.expect(50);
        let begin = meter.position();
        meter.copied(30);
        // it broke off, and goes on with 20 that are there
        meter.back_to(begin);
        meter.copied(20);
        meter.counter().copied(30);
        assert_eq!(meter.position(), 150);
        meter.0.tick();
        assert!(screen.text().contains("150 B/150 B"), "{:?}", screen.text());
    }

    #[test]
    fn without_a_terminal_nothing_is_drawn_and_all_is_counted() {
        let meters = Meters::new(false);
        let meter = meters.line("web-1");
        meter.expect(10);
        meter.copied(10);
        assert!(meters.lines.is_hidden() && meter.0.is_hidden());
        assert_eq!(meter.position(), 10);
    }
}

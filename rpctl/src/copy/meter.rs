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
        let target = if live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
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

//! When a rule fits.

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Weekday {
    /// The days from Monday on.
    pub const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    /// The word for it: `mon`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mon => "mon",
            Self::Tue => "tue",
            Self::Wed => "wed",
            Self::Thu => "thu",
            Self::Fri => "fri",
            Self::Sat => "sat",
            Self::Sun => "sun",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|day| day.as_str() == text)
    }

    fn before(self) -> Self {
        match self {
            Self::Mon => Self::Sun,
            Self::Tue => Self::Mon,
            Self::Wed => Self::Tue,
            Self::Thu => Self::Wed,
            Self::Fri => Self::Thu,
            Self::Sat => Self::Fri,
            Self::Sun => Self::Sat,
        }
    }
}

/// The time on the wall, in both zones that a rule may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Day and minute of the day in UTC.
    pub utc: (Weekday, u16),
    /// The same where the machine is; `None` where nobody knows, as its zone cannot be found.
    pub local: Option<(Weekday, u16)>,
}

/// From one minute of the day up to another, on some days. One that ends before it begins goes over midnight, and its
/// day is that on which it began. One that begins and ends at the same minute is the whole day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// The days.
    pub days: Vec<Weekday>,
    /// The first minute of the day, 0 to 1439.
    pub from: u16,
    /// The first minute that no longer belongs to it, 0 to 1440.
    pub to: u16,
    /// Whether the clock is UTC, not that of the machine.
    pub utc: bool,
}

impl Hours {
    /// Whether the moment is within; `None` where nobody knows.
    pub fn hold(&self, now: Moment) -> Option<bool> {
        let (day, minute) = if self.utc { now.utc } else { now.local? };
        let on = |day: Weekday| self.days.contains(&day);
        Some(if self.from < self.to {
            on(day) && (self.from..self.to).contains(&minute)
        } else if self.from == self.to {
            on(day)
        } else {
            (on(day) && minute >= self.from) || (on(day.before()) && minute < self.to)
        })
    }
}

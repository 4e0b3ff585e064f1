//! The time of the day, for rules with hours.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use redpoll_schema::policy::{Moment, Weekday};

/// This moment, in UTC and where the machine is. A machine without a zone is in UTC.
pub fn moment() -> Moment {
    at(Timestamp::now())
}

/// A moment, in UTC and where the machine is.
pub fn at(moment: Timestamp) -> Moment {
    let of = |zone: TimeZone| minute_of(&moment.to_zoned(zone));
    Moment { utc: of(TimeZone::UTC), local: of(TimeZone::system()) }
}

fn minute_of(time: &Zoned) -> (Weekday, u16) {
    let day = match time.weekday() {
        jiff::civil::Weekday::Monday => Weekday::Mon,
        jiff::civil::Weekday::Tuesday => Weekday::Tue,
        jiff::civil::Weekday::Wednesday => Weekday::Wed,
        jiff::civil::Weekday::Thursday => Weekday::Thu,
        jiff::civil::Weekday::Friday => Weekday::Fri,
        jiff::civil::Weekday::Saturday => Weekday::Sat,
        jiff::civil::Weekday::Sunday => Weekday::Sun,
    };
    let minutes = u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
    (day, minutes)
}

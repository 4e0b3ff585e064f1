//! The time of the day, for rules with hours.

use std::ffi::OsStr;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use redpoll_schema::policy::{Moment, Weekday};

/// What says in which zone the machine is, unless `TZ` does.
const LOCALTIME: &str = "/etc/localtime";

/// This moment, in UTC and where the machine is.
pub fn moment() -> Moment {
    at(Timestamp::now())
}

/// A moment, in UTC and where the machine is.
pub fn at(moment: Timestamp) -> Moment {
    let of = |zone: TimeZone| minute_of(&moment.to_zoned(zone));
    Moment { utc: of(TimeZone::UTC), local: local().ok().map(of) }
}

/// The zone of the machine; UTC where nothing says another.
///
/// # Errors
/// What says one that cannot be found. Then nobody knows what time it is there: it is not UTC.
pub fn local() -> Result<TimeZone, String> {
    TimeZone::try_system().or_else(|error| {
        let is_linked = std::fs::symlink_metadata(LOCALTIME).is_ok();
        without(std::env::var_os("TZ").as_deref(), is_linked).map_err(|what| format!("{what} ({error})"))
    })
}

/// The zone where none was found.
fn without(named: Option<&OsStr>, is_linked: bool) -> Result<TimeZone, String> {
    match (named, is_linked) {
        (Some(name), _) => Err(format!("TZ={} is no time zone of this machine", name.display())),
        (None, true) => Err(format!("{LOCALTIME} names no time zone of this machine")),
        (None, false) => Ok(TimeZone::UTC),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_nothing_says_a_zone_it_is_utc() {
        assert_eq!(without(None, false), Ok(TimeZone::UTC));
        let said = without(Some(OsStr::new("Europe/Nowhere")), true).unwrap_err();
        assert!(said.contains("TZ=Europe/Nowhere"), "{said}");
        assert!(without(None, true).unwrap_err().contains(LOCALTIME));
    }
}

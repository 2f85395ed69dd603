//! The `Retry-After` header: seconds, or a date (RFC 9110, sections 10.2.3 and 5.6.7). Pure.
//!
//! A date is compared with the `Date` header of the same answer, so that no clock is asked and a
//! server whose clock is off is understood too.

use std::time::Duration;

/// How long `value` asks to wait, in an answer of `date`; none when it is neither form, or a date
/// in an answer without one.
pub(crate) fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let (at, now) = (http_date(value)?, http_date(date?)?);
    Some(Duration::from_secs(at.saturating_sub(now)))
}

/// Seconds since the Unix epoch of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`, the one form
/// that servers may send.
fn http_date(value: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, date) = value.split_once(", ")?;
    let mut words = date.strip_suffix(" GMT")?.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(str::parse::<u64>);
    let mut part = || clock.next()?.ok();
    let (hour, minute, second) = (part()?, part()?, part()?);
    let possible = (1970..=9999).contains(&year) && (1..=31).contains(&day);
    if !possible || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that begin in March put the leap day last, so that months have fixed offsets.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let since_epoch = days.checked_sub(719_468)?;
    Some(((since_epoch * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::retry_after;

    #[test]
    fn seconds_and_dates() {
        let now = Some("Sun, 06 Nov 1994 08:49:30 GMT");
        let check = |value: &str, expect: Option<u64>| {
            assert_eq!(
                retry_after(value, now),
                expect.map(Duration::from_secs),
                "{value}"
            );
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(7));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check(
            "Tue, 29 Feb 2000 00:00:00 GMT",
            Some(951_782_400 - 784_111_770),
        );
        check(
            "Fri, 31 Dec 2100 23:59:59 GMT",
            Some(4_133_980_799 - 784_111_770),
        );
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", None), None);
        for wrong in [
            "",
            "soon",
            "-1",
            "1.5",
            "Sun, 06 Nov 1994",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
        ] {
            check(wrong, None);
        }
    }
}

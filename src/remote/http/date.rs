//! Dates of HTTP headers: the preferred form of RFC 9110 section 5.6.7, `Sun, 06 Nov 1994 08:49:37 GMT`. The two obsolete forms,
//! which no server may send, are not read.

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970, or `None` for anything that is not such a date or lies before.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (_weekday, rest) = text.trim().split_once(", ")?;
    let mut fields = rest.strip_suffix(" GMT")?.split([' ', ':']);
    let number = |field: Option<&str>, digits: usize| {
        field.filter(|text| text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).and_then(|text| text.parse::<u64>().ok())
    };
    let day = number(fields.next(), 2).filter(|day| (1..=31).contains(day))?;
    let month = fields.next().and_then(|name| MONTHS.iter().position(|month| *month == name))? as u64 + 1;
    let year = number(fields.next(), 4).filter(|year| *year >= 1970)?;
    let (hour, minute, second) = (number(fields.next(), 2)?, number(fields.next(), 2)?, number(fields.next(), 2)?);
    if hour > 23 || minute > 59 || second > 60 || fields.next().is_some() {
        return None;
    }
    Some(((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days of the Gregorian calendar, counted in years that begin in March so that the leap day comes last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // (153 * month + 2) / 5 is the number of days before a month when March is month 0; 719469 days lie between March 1, 0000 and 1970,
    // less the one by which `day` counts from 1.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        assert_eq!(parse("Fri, 01 Mar 2024 00:00:00 GMT"), Some(1_709_251_200));
    }

    #[test]
    fn everything_else_is_nothing() {
        for text in ["", "7", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Foo 1994 08:49:37 GMT"] {
            assert_eq!(parse(text), None, "{text}");
        }
        for text in [
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "x, +6 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

//! A point in time as a clock on the wall shows it, and `strftime` as Python's `datetime` has it on glibc in the C
//! locale: flags, widths and composed directives; `%z` and `%Z` are empty, since such a time knows no zone; an unknown
//! directive stands for itself.

use chrono::{DateTime, Datelike, Local, NaiveDateTime, Timelike};

/// A local time. Comes from whoever may look at the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    wall: NaiveDateTime,
    /// Seconds east of Greenwich.
    offset: i64,
}

impl LocalTime {
    /// The time now, in the zone of this machine.
    pub fn now() -> Self {
        let now = Local::now();
        Self { wall: now.naive_local(), offset: now.offset().local_minus_utc().into() }
    }

    /// So many seconds after 1970 began, in UTC; `None` where no calendar reaches.
    pub fn utc(seconds: i64) -> Option<Self> {
        Some(Self { wall: DateTime::from_timestamp(seconds, 0)?.naive_utc(), offset: 0 })
    }

    /// The time as a text.
    pub fn format(&self, format: &str) -> String {
        let mut out = String::new();
        let mut rest = format;
        while let Some(start) = rest.find('%') {
            out.push_str(&rest[..start]);
            rest = &rest[start..];
            let (text, length) = match Directive::parse(&rest[1..]) {
                Some((directive, length)) => (self.directive(&directive), length + 1),
                None => (None, rest.len()),
            };
            out.push_str(text.as_deref().unwrap_or(&rest[..length]));
            rest = &rest[length..];
        }
        out + rest
    }

    fn directive(&self, directive: &Directive) -> Option<String> {
        let (date, time) = (self.wall.date(), self.wall.time());
        let hour12 = i64::from(time.hour12().1);
        let (weekday, day_of_year) = (i64::from(date.weekday().num_days_from_sunday()), i64::from(date.ordinal0()));
        let year = i64::from(date.year());
        let number = |value: i64, width: usize| Some(directive.number(value, '0', width));
        let blank = |value: i64| Some(directive.number(value, ' ', 2));
        let text = |text: &str| Some(directive.text(text));
        match directive.letter {
            'a' => text(&WEEKDAYS[weekday as usize][..3]),
            'A' => text(WEEKDAYS[weekday as usize]),
            'b' | 'h' => text(&MONTHS[date.month0() as usize][..3]),
            'B' => text(MONTHS[date.month0() as usize]),
            'p' if directive.swapped => text(if time.hour() < 12 { "am" } else { "pm" }),
            'p' => text(if time.hour() < 12 { "AM" } else { "PM" }),
            'P' => text(if time.hour() < 12 { "am" } else { "pm" }),
            'z' | 'Z' => text(""),
            'n' => text("\n"),
            't' => text("\t"),
            '%' => text("%"),
            'C' => number(year.div_euclid(100), 2),
            'd' => number(date.day().into(), 2),
            'e' => blank(date.day().into()),
            'f' => Some(format!("{:06}", time.nanosecond() / 1000)),
            'g' => number(i64::from(date.iso_week().year()).rem_euclid(100), 2),
            'G' => number(date.iso_week().year().into(), 0),
            'H' => number(time.hour().into(), 2),
            'I' => number(hour12, 2),
            'j' => number(day_of_year + 1, 3),
            'k' => blank(time.hour().into()),
            'l' => blank(hour12),
            'm' => number(date.month().into(), 2),
            'M' => number(time.minute().into(), 2),
            's' => number(self.wall.and_utc().timestamp() - self.offset, 0),
            'S' => number(time.second().into(), 2),
            'u' => number(if weekday == 0 { 7 } else { weekday }, 1),
            'U' => number((day_of_year + 7 - weekday) / 7, 2),
            'V' => number(date.iso_week().week().into(), 2),
            'w' => number(weekday, 1),
            'W' => number((day_of_year + 7 - (weekday + 6) % 7) / 7, 2),
            'y' => number(year.rem_euclid(100), 2),
            'Y' => number(year, 0),
            'c' => text(&self.format("%a %b %e %H:%M:%S %Y")),
            'D' | 'x' => text(&self.format("%m/%d/%y")),
            'F' => text(&self.format("%Y-%m-%d")),
            'r' => text(&self.format("%I:%M:%S %p")),
            'R' => text(&self.format("%H:%M")),
            'T' | 'X' => text(&self.format("%H:%M:%S")),
            _ => None,
        }
    }
}

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The widest field that a template may ask for.
const WIDEST: usize = 1024;

/// What stands behind a `%`.
#[derive(Debug)]
struct Directive {
    letter: char,
    /// The flag that says how numbers are filled: `-` for not at all.
    fill: Option<char>,
    upper: bool,
    swapped: bool,
    width: Option<usize>,
}

impl Directive {
    /// A directive and its length without the `%`; `None` where the text ends before it does.
    fn parse(text: &str) -> Option<(Self, usize)> {
        let mut directive = Self { letter: '%', fill: None, upper: false, swapped: false, width: None };
        for (index, letter) in text.char_indices() {
            match letter {
                '_' | '-' if directive.width.is_none() => directive.fill = Some(letter),
                '0' if directive.width.is_none() => directive.fill = Some('0'),
                '^' if directive.width.is_none() => directive.upper = true,
                '#' if directive.width.is_none() => directive.swapped = true,
                '0'..='9' => {
                    let digit = letter as usize - '0' as usize;
                    directive.width = Some((directive.width.unwrap_or(0) * 10 + digit).min(WIDEST));
                }
                // The C locale has no other forms.
                'E' | 'O' => {}
                _ => return Some((Self { letter, ..directive }, index + letter.len_utf8())),
            }
        }
        None
    }

    fn number(&self, value: i64, fill: char, width: usize) -> String {
        let fill = match self.fill {
            Some('-') => None,
            Some('_') => Some(' '),
            Some(_) => Some('0'),
            None => Some(fill),
        };
        let width = self.width.unwrap_or(width);
        match fill {
            None if self.width.is_none() => value.to_string(),
            None | Some(' ') => format!("{value:width$}"),
            Some(_) => format!("{value:0width$}"),
        }
    }

    fn text(&self, text: &str) -> String {
        let text = match self.upper || self.swapped && matches!(self.letter, 'a' | 'A' | 'b' | 'B' | 'h') {
            true => text.to_uppercase(),
            false => text.to_owned(),
        };
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        let fill = if self.fill == Some('0') { "0" } else { " " };
        fill.repeat(missing) + &text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python 3.11 on glibc 2.36 makes of 2026-03-05 07:04:09.
    #[test]
    fn directives_are_pythons() {
        let time = LocalTime::utc(1_772_694_249).unwrap();
        let expected = [
            ("%d %b %Y", "05 Mar 2026"),
            ("%Y-%m-%d", "2026-03-05"),
            ("%B %-d, %Y", "March 5, 2026"),
            ("%A, %a %w %u", "Thursday, Thu 4 4"),
            ("%H:%M:%S %I %p %f", "07:04:09 07 AM 000000"),
            ("%e|%k|%l|%j|%y|%C", " 5| 7| 7|064|26|20"),
            ("%U %W %V %G %g", "09 09 10 2026 26"),
            ("%c", "Thu Mar  5 07:04:09 2026"),
            ("%x %X %D %F %R %T %r", "03/05/26 07:04:09 03/05/26 2026-03-05 07:04 07:04:09 07:04:09 AM"),
            ("%z%Z%%%n%t.", "%\n\t."),
            ("%^a %#B %#p %_d %0e %-H %10Y %5a", "THU MARCH am  5 05 7 0000002026   Thu"),
            ("%Ey %Od %s", "26 05 1772694249"),
            ("%Q %", "%Q %"),
            ("100% sure", "100% sure"),
            ("%10d|%_10d|%-10d|%010d|%-y|%_Y|%5%", "0000000005|         5|         5|0000000005|26|2026|    %"),
            ("%^c|%#c|%10F", "THU MAR  5 07:04:09 2026|Thu Mar  5 07:04:09 2026|2026-03-05"),
            ("%+4Y|%3e|%03e", "%+4Y|  5|005"),
        ];
        for (format, text) in expected {
            assert_eq!(time.format(format), text, "{format}");
        }
    }

    #[test]
    fn weeks_begin_where_their_directives_say() {
        let weeks = |seconds| LocalTime::utc(seconds).unwrap().format("%U %W %V %G %j");
        assert_eq!(weeks(1_609_459_200), "00 00 53 2020 001");
        assert_eq!(weeks(1_735_603_200), "52 53 01 2025 366");
    }
}

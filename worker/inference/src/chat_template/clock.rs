//! The time that a template may ask for, written as C's `strftime` does in the C locale.

use std::fmt::Write;

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
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

/// A moment, in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts {
    year: i64,
    /// 1 to 12.
    month: usize,
    /// 1 to 31.
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    /// 0 is Sunday.
    weekday: i64,
    /// 1 to 366.
    day_of_year: i64,
}

impl Parts {
    /// Of seconds since 1970, in UTC (Hinnant, "chrono-compatible low-level date algorithms").
    fn of(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        // Counted from the first of March.
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = (from_march + 2) % 12 + 1;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let before = 59 + i64::from(is_leap);
        Self {
            year,
            month: month as usize,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: (days + 4).rem_euclid(7),
            day_of_year: match month {
                1 | 2 => day_of_year - 305,
                _ => day_of_year + before + 1,
            },
        }
    }
}

/// Writes seconds since 1970 in this form; `None` where it has a code that is not known.
pub(super) fn format(seconds: i64, form: &str) -> Option<String> {
    let parts = Parts::of(seconds);
    let mut out = String::new();
    let mut signs = form.chars();
    while let Some(sign) = signs.next() {
        if sign != '%' {
            out.push(sign);
            continue;
        }
        let mut code = signs.next()?;
        let is_bare = code == '-';
        if is_bare {
            code = signs.next()?;
        }
        let twelve = (parts.hour + 11) % 12 + 1;
        let mut number = |value: i64, width: usize| {
            let width = if is_bare { 0 } else { width };
            let _ = write!(out, "{value:0width$}");
        };
        match code {
            'Y' => number(parts.year, 4),
            'y' => number(parts.year.rem_euclid(100), 2),
            'm' => number(parts.month as i64, 2),
            'd' => number(parts.day, 2),
            'H' => number(parts.hour, 2),
            'I' => number(twelve, 2),
            'M' => number(parts.minute, 2),
            'S' => number(parts.second, 2),
            'j' => number(parts.day_of_year, 3),
            'w' => number(parts.weekday, 1),
            'U' => number((parts.day_of_year + 6 - parts.weekday) / 7, 2),
            _ if is_bare => return None,
            'e' => {
                let _ = write!(out, "{:2}", parts.day);
            }
            'A' => out.push_str(DAYS[parts.weekday as usize]),
            'a' => out.push_str(&DAYS[parts.weekday as usize][..3]),
            'B' => out.push_str(MONTHS[parts.month - 1]),
            'b' | 'h' => out.push_str(&MONTHS[parts.month - 1][..3]),
            'p' => out.push_str(if parts.hour < 12 { "AM" } else { "PM" }),
            'D' => out.push_str(&format(seconds, "%m/%d/%y")?),
            'F' => out.push_str(&format(seconds, "%Y-%m-%d")?),
            'T' => out.push_str(&format(seconds, "%H:%M:%S")?),
            'R' => out.push_str(&format(seconds, "%H:%M")?),
            // A moment without a zone has no name for it.
            'Z' | 'z' => {}
            '%' => out.push('%'),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn moments_are_written_as_c_does() {
        let cases = [
            (0, "%F %T %A %j %U", "1970-01-01 00:00:00 Thursday 001 00"),
            (951_782_399, "%F %T %j", "2000-02-28 23:59:59 059"),
            (951_782_400, "%F %a %j %-d %e", "2000-02-29 Tue 060 29 29"),
            (1_767_366_245, "%d %b %Y, %I:%M %p", "02 Jan 2026, 03:04 PM"),
            (1_798_761_599, "%B %j %U %y%%", "December 365 52 26%"),
            (-1, "%F %H", "1969-12-31 23"),
            (1_709_164_800, "%F %j", "2024-02-29 060"),
        ];
        for (seconds, form, expected) in cases {
            assert_eq!(format(seconds, form).as_deref(), Some(expected));
        }
        for bad in ["%", "%Q", "%-", "%-A"] {
            assert_eq!(format(0, bad), None, "{bad}");
        }
    }
}

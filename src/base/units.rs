//! Sizes and durations as people write and read them.
//!
//! Binary units (KiB, MiB, GiB), since that is what file systems and memory are counted in.

use std::num::NonZeroU64;
use std::time::Duration;

/// One KiB in bytes.
pub const KIB: u64 = 1024;
/// One MiB in bytes.
pub const MIB: u64 = 1024 * KIB;
/// One GiB in bytes.
pub const GIB: u64 = 1024 * MIB;

/// `1536` becomes `1.5 KiB`; under a KiB the bytes themselves (`17 B`).
#[must_use]
pub fn bytes(count: u64) -> String {
    const STEPS: [(&str, f64); 5] = [
        ("PiB", 1_125_899_906_842_624.0),
        ("TiB", 1_099_511_627_776.0),
        ("GiB", 1_073_741_824.0),
        ("MiB", 1_048_576.0),
        ("KiB", 1024.0),
    ];
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
    let count_f = count as f64;
    for (unit, size) in STEPS {
        if count_f >= size {
            return format!("{:.1} {unit}", count_f / size);
        }
    }
    format!("{count} B")
}

/// Text that is no duration or no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a number followed by a unit of time.
    #[error("{0:?} is no duration: write a number and s, m, h, d, w, mo or y, such as 48h or 30d")]
    Duration(String),
    /// Not a number, or a number followed by a unit of size.
    #[error("{0:?} is no size: write a number of bytes, or a number and KiB, MiB, GiB or TiB, such as 20MiB")]
    Size(String),
    /// Not a size a second, or none at all.
    #[error("{0:?} is no rate: write a size a second, such as 2MiB/s")]
    Rate(String),
    /// Not a whole number of percent up to 100.
    #[error("{0:?} is no share: write 0% to 100%")]
    Share(String),
}

/// Parses `90s`, `15m`, `48h`, `30d`, `2w`, `6mo` (30 days each) or `1y` (365 days).
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let fail = || UnitError::Duration(text.to_owned());
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
    let (number, unit) = text.split_at_checked(split).ok_or_else(fail)?;
    let number: u64 = number.parse().map_err(|_| fail())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "mo" => 30 * 86_400,
        "y" => 365 * 86_400,
        _ => return Err(fail()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(fail)
}

/// The shortest text that [`parse_duration`] takes back: `172800 s` becomes `2d`.
#[must_use]
pub fn duration(value: Duration) -> String {
    let seconds = value.as_secs();
    for (unit, size) in [("d", 86_400), ("h", 3600), ("m", 60)] {
        if seconds >= size && seconds.is_multiple_of(size) {
            return format!("{}{unit}", seconds / size);
        }
    }
    format!("{seconds}s")
}

/// A length of time for people, which nobody reads back: the two largest units that say something, `16 h 3 min`.
#[must_use]
pub fn span(value: Duration) -> String {
    let seconds = value.as_secs();
    let two = |first: u64, one: &str, second: u64, other: &str| {
        if second == 0 { format!("{first} {one}") } else { format!("{first} {one} {second} {other}") }
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// The same of milliseconds; short ones with a digit behind the point: `0.4 s`.
#[must_use]
pub fn span_ms(took: u64) -> String {
    if took < 10_000 { format!("{}.{} s", took / 1000, took % 1000 / 100) } else { span(Duration::from_millis(took)) }
}

/// How long ago something was, for people: in one unit, rounded down, `3 d`.
#[must_use]
pub fn age(seconds: u64) -> String {
    let unit = match seconds {
        0..60 => 1,
        60..3600 => 60,
        3600..172_800 => 3600,
        _ => 86_400,
    };
    duration(Duration::from_secs(seconds - seconds % unit))
}

/// Parses `1048576`, `20MiB`, `20M`, `1GiB`; powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let fail = || UnitError::Size(text.to_owned());
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split).ok_or_else(fail)?;
    let number: u64 = number.parse().map_err(|_| fail())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => KIB,
        "m" | "mib" => MIB,
        "g" | "gib" => GIB,
        "t" | "tib" => 1024 * GIB,
        _ => return Err(fail()),
    };
    number.checked_mul(factor).ok_or_else(fail)
}

/// Parses `2MiB/s` or `2MiB`: bytes a second, not 0.
pub fn parse_rate(text: &str) -> Result<NonZeroU64, UnitError> {
    let size = parse_size(text.strip_suffix("/s").unwrap_or(text)).ok();
    size.and_then(NonZeroU64::new).ok_or_else(|| UnitError::Rate(text.to_owned()))
}

/// Parses `10%` or `10`: a share in percent, 0 to 100.
pub fn parse_percent(text: &str) -> Result<u8, UnitError> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<u8>().ok();
    number.filter(|number| *number <= 100).ok_or_else(|| UnitError::Share(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_fits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 * GIB), "3.0 GiB");
    }

    #[test]
    fn durations_go_both_ways() {
        for text in ["90s", "15m", "48h", "30d"] {
            let value = parse_duration(text).expect(text);
            assert_eq!(parse_duration(&duration(value)), Ok(value));
        }
        assert_eq!(duration(Duration::from_hours(48)), "2d");
        for text in ["", "5", "d", "-5d", "5 d", "99999999999999999999d", "18446744073709551615y"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("20MiB"), Ok(20 * MIB));
        assert_eq!(parse_size("7"), Ok(7));
        for text in ["", "MiB", "1.5MiB", "20 MB!", "99999999999TiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_and_rates_have_bounds() {
        assert_eq!((parse_percent("10%"), parse_percent("100"), parse_percent("0%")), (Ok(10), Ok(100), Ok(0)));
        assert_eq!(parse_rate("2MiB/s").map(NonZeroU64::get), Ok(2 * MIB));
        for bad in ["101%", "", "%", "ten", "1.5%", "-1%"] {
            assert!(parse_percent(bad).is_err(), "{bad}");
        }
        for bad in ["0", "0B/s", "/s", "2MiB/h"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }
}

//! Kubernetes' quantities (`16Mi`, `1.5G`, `1e9`, `500m`) as bytes.

/// Digits of a number that are looked at; 2^64 has 20.
const DIGITS_MAX: usize = 24;

/// What a quantity is in whole bytes, rounded up; `None` for what is no quantity, is negative, or is more than 2^64.
#[must_use]
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || whole.len() + fraction.len() > DIGITS_MAX || whole.len() + fraction.len() == 0 {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let places = u32::try_from(fraction.len()).ok()?;
    let (times, over) = factor(unit)?;
    let over = over.checked_mul(10_u128.checked_pow(places)?)?;
    u64::try_from(digits.checked_mul(times)?.div_ceil(over)).ok()
}

/// What a unit stands for, as a fraction.
fn factor(unit: &str) -> Option<(u128, u128)> {
    const STEPS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    let power = |letter: &str| STEPS.iter().position(|step| *step == letter).and_then(|at| u32::try_from(at + 1).ok());
    if let Some(letter) = unit.strip_suffix('i') {
        return Some((1024_u128.pow(power(letter)?), 1));
    }
    match unit {
        "" => return Some((1, 1)),
        "n" => return Some((1, 1_000_000_000)),
        "u" => return Some((1, 1_000_000)),
        "m" => return Some((1, 1000)),
        "k" => return Some((1000, 1)),
        "K" => return None,
        _ => {}
    }
    if let Some(power) = power(unit) {
        return Some((1000_u128.pow(power), 1));
    }
    let exponent: i32 = unit.strip_prefix(['e', 'E'])?.parse().ok()?;
    let size = 10_u128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent < 0 { (1, size) } else { (size, 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_of_all_forms_become_bytes_and_others_nothing() {
        for (text, expected) in [
            ("0", Some(0)),
            ("16Mi", Some(16 << 20)),
            ("1Gi", Some(1 << 30)),
            ("1.5Gi", Some(3 << 29)),
            ("1G", Some(1_000_000_000)),
            ("10k", Some(10_000)),
            ("2E", Some(2_000_000_000_000_000_000)),
            ("1e3", Some(1000)),
            ("1E3", Some(1000)),
            ("2500e-3", Some(3)),
            ("1500m", Some(2)),
            ("1u", Some(1)),
            ("+5", Some(5)),
            ("5.", Some(5)),
            (".5Ki", Some(512)),
            ("16Ei", None),
            ("", None),
            (".", None),
            ("Gi", None),
            ("1K", None),
            ("-1", None),
            ("1.2.3", None),
            ("1 Gi", None),
            ("1Xi", None),
            ("1e99", None),
            ("1000000000000000000000000", None),
            ("١", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}

//! Kubernetes quantities: `16Mi`, `1.5`, `250m`, in thousandths.

const SUFFIXES: [(&str, i128); 13] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("", 1),
];

pub(crate) fn parse(text: &str) -> Option<i128> {
    if let Some(milli) = text.strip_suffix('m') {
        return milli.parse().ok();
    }
    let (suffix, factor) = SUFFIXES.iter().find(|(suffix, _)| text.ends_with(suffix))?;
    let number = text.strip_suffix(suffix)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let thousandths: i128 = format!("{part:0<3}").get(..3)?.parse().ok()?;
    Some((whole.parse::<i128>().ok()? * 1000 + thousandths) * factor)
}

/// In the style of another quantity, if it comes out even.
pub(crate) fn format(amount: i128, like: &str) -> String {
    let style = SUFFIXES.iter().find(|(suffix, _)| like.ends_with(suffix)).map_or(("", 1), |style| *style);
    for (suffix, factor) in [style, ("", 1)] {
        if amount % (1000 * factor) == 0 {
            return format!("{}{suffix}", amount / 1000 / factor);
        }
    }
    format!("{amount}m")
}

/// Bytes with the largest binary suffix that comes out even, as Kubernetes writes sizes.
pub(crate) fn bytes(amount: i128) -> String {
    let fits = SUFFIXES[..6].iter().rev().find(|(_, factor)| amount >= *factor && amount % factor == 0);
    fits.map_or_else(|| amount.to_string(), |(suffix, factor)| format!("{}{suffix}", amount / factor))
}

/// Whole bytes of a quantity.
pub(crate) fn to_bytes(text: &str) -> Option<i128> {
    parse(text).map(|thousandths| thousandths / 1000)
}

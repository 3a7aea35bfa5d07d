use super::*;

fn zone() -> FixedOffset {
    FixedOffset::east_opt(3600).unwrap()
}

fn parse(text: &str) -> Result<SnapshotPath, SelectorError> {
    SnapshotPath::parse(OsStr::new(text), zone())
}

/// `snapshot | path`, readable.
fn shown(text: &str) -> String {
    let parsed = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let snapshot = match parsed.snapshot {
        Selector::Latest { source } => format!("latest of {}", source.unwrap_or_else(|| "all".to_owned())),
        Selector::Id(id) => format!("id {id}"),
        Selector::At(time) => format!("until {time}.{:03}", time.0.rem_euclid(1000)),
    };
    match parsed.path {
        Some(path) => format!("{snapshot} | {}", String::from_utf8(path).unwrap()),
        None => snapshot,
    }
}

#[test]
fn the_grammar_by_example() {
    for (text, meaning) in [
        ("latest", "latest of all"),
        ("latest:pvc/immich/library", "latest of pvc/immich/library"),
        ("latest:pvc/immich/library:a/b:c", "latest of pvc/immich/library | a/b:c"),
        ("latest:pvc/immich/library:", "latest of pvc/immich/library | "),
        ("latest:/etc/hosts", "latest of all | /etc/hosts"),
        ("latest::etc/hosts", "latest of all | etc/hosts"),
        ("ab12", "id ab12"),
        ("AB12CD:/x", "id ab12cd | /x"),
        ("2026", "id 2026"),
        ("ab12:2026-11-01", "id ab12 | 2026-11-01"),
        ("2026-11-01", "until 2026-11-01T22:59:59Z.999"),
        ("2026-11-01:/x", "until 2026-11-01T22:59:59Z.999 | /x"),
        ("2026-11-01:30", "until 2026-11-01T22:59:59Z.999 | 30"),
        ("2026-11-01T03:00", "until 2026-11-01T02:00:59Z.999"),
        ("2026-11-01T03:00:x:y", "until 2026-11-01T02:00:59Z.999 | x:y"),
        ("2026-11-01T03:00:30", "until 2026-11-01T02:00:30Z.999"),
        ("2026-11-01T03:00:00Z", "until 2026-11-01T03:00:00Z.999"),
        ("2026-11-01T03:00:00.250Z:p", "until 2026-11-01T03:00:00Z.250 | p"),
        ("2026-11-01T03:00:00+05:30:/p", "until 2026-10-31T21:30:00Z.999 | /p"),
    ] {
        assert_eq!(shown(text), meaning, "{text}");
    }
}

#[test]
fn what_names_nothing_says_so() {
    for text in ["", ":", ":x", "latest:", "newest", "abcg", "Latest", "zz:/x", &"a".repeat(65), "über"] {
        assert!(matches!(parse(text), Err(SelectorError::Unknown { .. })), "{text}");
    }
    for text in ["a", "abc", "abc:/x"] {
        assert!(matches!(parse(text), Err(SelectorError::TooShort { .. })), "{text}");
    }
    for text in ["2026-11-31", "2026-13-01", "2026-11-01T25:00", "2026-11-0", "2026-11-01x", "2026-11-01T03"] {
        assert!(matches!(parse(text), Err(SelectorError::Time { .. })), "{text}");
    }
    assert!(matches!(Selector::parse("latest:a:b", zone()), Err(SelectorError::PathGiven { .. })));
    assert!(Selector::parse("latest:a", zone()).is_ok());
}

#[test]
fn paths_are_bytes_and_sources_are_text() {
    let raw = SnapshotPath::parse(OsStr::from_bytes(b"latest:a:\xff\n"), zone()).unwrap();
    assert_eq!(raw.path.as_deref(), Some(&b"\xff\n"[..]));
    let dated = SnapshotPath::parse(OsStr::from_bytes(b"2026-11-01:\xff"), zone()).unwrap();
    assert_eq!(dated.path.as_deref(), Some(&b"\xff"[..]));
    assert!(SnapshotPath::parse(OsStr::from_bytes(b"latest:\xff:x"), zone()).is_err());
    assert!(SnapshotPath::parse(OsStr::from_bytes(b"\xff"), zone()).is_err());
}

/// First bytes of the id, fifth byte, source, time.
struct Row(u8, u8, &'static str, i64, u64);

impl Listed for Row {
    fn id(&self) -> ObjectId {
        let mut raw = [self.0; 32];
        raw[4] = self.1;
        ObjectId::new(raw)
    }
    fn source(&self) -> &str {
        self.2
    }
    fn time(&self) -> Time {
        Time(self.3)
    }
    fn sequence(&self) -> u64 {
        self.4
    }
}

fn pick(text: &str, list: &[Row]) -> Result<i64, SelectError> {
    select(&Selector::parse(text, zone()).unwrap(), list).map(|row| row.3)
}

#[test]
fn the_newest_that_fits_is_chosen() {
    let day = 86_400_000;
    let list = [Row(0xaa, 1, "a", 3 * day, 1), Row(0xaa, 2, "b", day, 1), Row(0xbb, 3, "a", 2 * day, 1)];
    assert_eq!(pick("latest", &list), Ok(3 * day));
    assert_eq!(pick("latest:b", &list), Ok(day));
    assert_eq!(pick("bbbb", &list), Ok(2 * day));
    assert_eq!(pick("1970-01-03", &list), Ok(2 * day));
    assert_eq!(pick("1970-01-02T01:00", &list), Ok(day));
    assert_eq!(pick("2026-01-01", &list), Ok(3 * day));
    let equal = [Row(1, 1, "a", 7, 1), Row(2, 2, "a", 7, 1)];
    let chosen = |list: &[Row]| select(&Selector::Latest { source: None }, list).map(Listed::id);
    assert_eq!(chosen(&equal), Ok(equal[1].id()));
}

#[test]
fn a_snapshot_that_a_wrong_clock_dated_years_ahead_is_not_the_latest_for_years() {
    let year = 365 * 86_400_000;
    let list = [Row(1, 1, "a", 50 * year, 1), Row(2, 2, "a", 40 * year, 2), Row(3, 3, "b", 39 * year, 2)];
    assert_eq!(
        pick("latest", &list),
        Ok(40 * year),
        "the last of the chain; of two that did not see each other the later"
    );
    assert_eq!(pick("latest:a", &list), Ok(40 * year));
    assert_eq!(pick("2100-01-01", &list), Ok(50 * year), "times are times");
}

#[test]
fn every_miss_has_its_own_error() {
    let list = [Row(0xaa, 1, "a", 2000, 1), Row(0xaa, 2, "b", 1000, 1)];
    assert_eq!(pick("latest", &[]), Err(SelectError::NoSnapshots));
    assert_eq!(pick("abcd", &list), Err(SelectError::NoSuchId { prefix: "abcd".to_owned() }));
    assert!(matches!(pick("latest:c", &list), Err(SelectError::NoSuchSource { known, .. }) if known == ["a", "b"]));
    assert!(matches!(pick("1969-12-31", &list), Err(SelectError::NothingBefore { oldest: Time(1000), .. })));
    let text = pick("aaaa", &list).unwrap_err().to_string();
    assert_eq!(
        text,
        "aaaa is the start of 2 snapshot ids: aaaaaaaa02 (1970-01-01T00:00:01Z, b), aaaaaaaa01 (1970-01-01T00:00:02Z, a)"
    );
}

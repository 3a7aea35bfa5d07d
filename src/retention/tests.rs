use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use proptest::prelude::*;

use super::*;

fn utc() -> FixedOffset {
    FixedOffset::east_opt(0).unwrap()
}

fn at(text: &str) -> Time {
    Time(DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
}

fn snapshot(number: u8, time: &str) -> Candidate {
    Candidate {
        id: ObjectId::new([number; 32]),
        source: "pvc/immich/library".to_owned(),
        tags: BTreeSet::new(),
        time: at(time),
        complete: true,
        verified: false,
        aside: false,
    }
}

/// `number: reasons` for what is kept.
fn kept(policy: Policy, list: &[Candidate]) -> Vec<String> {
    kept_in(policy, list, utc())
}

fn kept_in(policy: Policy, list: &[Candidate], zone: FixedOffset) -> Vec<String> {
    let decisions = plan_retention(&policy, list, at("2026-11-30T00:00:00Z"), zone).unwrap();
    decisions
        .iter()
        .filter_map(|decision| match &decision.verdict {
            Verdict::Keep { reasons } => {
                let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
                Some(format!("{}: {}", decision.id.as_bytes()[0], reasons.join(", ")))
            }
            Verdict::Remove => None,
        })
        .collect()
}

#[test]
fn a_policy_that_keeps_nothing_is_refused() {
    let list = [snapshot(1, "2026-11-01T00:00:00Z")];
    for policy in [Policy::default(), Policy { within: Some(Duration::ZERO), ..Policy::default() }] {
        assert_eq!(plan_retention(&policy, &list, at("2026-11-30T00:00:00Z"), utc()), Err(RetentionError::EmptyPolicy));
    }
    let policy = Policy { last: 1, ..Policy::default() };
    let twice = [list[0].clone(), list[0].clone()];
    assert!(matches!(plan_retention(&policy, &twice, Time(0), utc()), Err(RetentionError::Twice(_))));
}

#[test]
fn what_is_of_this_moment_is_not_of_the_future() {
    let list = [snapshot(1, "2026-11-30T00:00:00Z"), snapshot(2, "2026-11-30T00:00:00.001Z")];
    let policy = Policy { last: 1, ..Policy::default() };
    assert_eq!(kept(policy, &list), ["1: newest, last #1", "2: dated in the future"]);
}

#[test]
fn periods_are_represented_by_their_newest_and_named() {
    let list = [
        snapshot(1, "2026-10-31T22:00:00Z"),
        snapshot(2, "2026-11-01T03:00:00Z"),
        snapshot(3, "2026-11-01T23:30:00Z"),
        snapshot(4, "2026-11-02T01:00:00Z"),
    ];
    let policy = Policy { daily: 2, monthly: 2, ..Policy::default() };
    assert_eq!(
        kept(policy, &list),
        ["1: monthly 2026-10", "3: daily 2026-11-01", "4: newest, daily 2026-11-02, monthly 2026-11"]
    );
    let east = FixedOffset::east_opt(2 * 3600).unwrap();
    assert_eq!(
        kept_in(policy, &list, east),
        ["2: daily 2026-11-01", "4: newest, daily 2026-11-02, monthly 2026-11"],
        "at +02:00 the first is of November and the third of the second"
    );
    let weekly = Policy { weekly: 1, yearly: 1, hourly: 1, ..Policy::default() };
    assert_eq!(kept(weekly, &list), ["4: newest, hourly 2026-11-02T01, weekly 2026-W45, yearly 2026"]);
}

#[test]
fn an_incomplete_snapshot_stands_for_a_day_only_if_it_has_no_other() {
    let mut list = [
        snapshot(1, "2026-11-01T01:00:00Z"),
        snapshot(2, "2026-11-01T02:00:00Z"),
        snapshot(3, "2026-11-02T01:00:00Z"),
        snapshot(4, "2026-11-03T01:00:00Z"),
    ];
    for incomplete in [1, 2, 3] {
        list[incomplete].complete = false;
    }
    assert_eq!(
        kept(Policy { daily: 3, ..Policy::default() }, &list),
        ["1: newest complete, daily 2026-11-01", "3: daily 2026-11-02", "4: newest, daily 2026-11-03"]
    );
    assert_eq!(kept(Policy { last: 1, ..Policy::default() }, &list), ["1: newest complete", "4: newest, last #1"]);
}

#[test]
fn the_last_verified_and_the_future_stay_and_do_not_count() {
    let mut list = [
        snapshot(1, "2026-01-01T00:00:00Z"),
        snapshot(2, "2026-11-02T00:00:00Z"),
        snapshot(3, "2026-11-03T00:00:00Z"),
        snapshot(4, "2099-01-01T00:00:00Z"),
    ];
    list[0].verified = true;
    assert_eq!(
        kept(Policy { last: 1, ..Policy::default() }, &list),
        ["1: last verified", "3: newest, last #1", "4: dated in the future"]
    );
}

#[test]
fn other_tags_are_another_group_and_other_sources_have_their_own_newest() {
    let mut list =
        [snapshot(1, "2026-11-01T00:00:00Z"), snapshot(2, "2026-11-02T00:00:00Z"), snapshot(3, "2026-11-03T00:00:00Z")];
    list[0].tags.insert("before-upgrade".to_owned());
    list[1].source = "resources".to_owned();
    let policy = Policy { last: 1, ..Policy::default() };
    assert_eq!(kept(policy, &list), ["1: last #1", "2: newest, last #1", "3: newest, last #1"]);
}

#[test]
fn within_counts_from_the_newest_not_from_now() {
    let list =
        [snapshot(1, "2025-01-01T00:00:00Z"), snapshot(2, "2025-01-08T00:00:00Z"), snapshot(3, "2025-01-09T00:00:00Z")];
    let policy = Policy { within: Some(Duration::from_hours(48)), ..Policy::default() };
    assert_eq!(kept(policy, &list), ["2: within 2d", "3: newest, within 2d"]);
}

#[test]
fn the_result_is_plain_data() {
    let list = [snapshot(1, "2026-11-01T00:00:00Z"), snapshot(2, "2026-11-02T00:00:00Z")];
    let policy = Policy { daily: 1, ..Policy::default() };
    let decisions = plan_retention(&policy, &list, at("2026-11-30T00:00:00Z"), utc()).unwrap();
    let json = serde_json::to_value(&decisions).unwrap();
    assert_eq!(json[0]["verdict"], "remove");
    let reasons = serde_json::json!([{"rule": "newest"}, {"rule": "period", "every": "day", "period": "2026-11-02"}]);
    assert_eq!((&json[1]["verdict"], &json[1]["reasons"]), (&"keep".into(), &reasons));
}

#[test]
fn a_safety_copy_is_none_of_the_backups() {
    let aside = |number: u8, time: &str, of: &str| Candidate {
        aside: true,
        verified: true,
        tags: [format!("before-restore={of}")].into(),
        ..snapshot(number, time)
    };
    let list = [
        Candidate { verified: true, ..snapshot(1, "2026-11-01T00:00:00Z") },
        snapshot(2, "2026-11-02T00:00:00Z"),
        Candidate { complete: false, ..snapshot(3, "2026-11-03T00:00:00Z") },
        aside(4, "2026-11-04T00:00:00Z", "aaaa"),
        aside(5, "2026-11-05T00:00:00Z", "bbbb"),
    ];
    let policy = Policy { last: 1, ..Policy::default() };
    assert_eq!(kept(policy, &list), ["1: last verified", "2: newest complete", "3: newest, last #1", "5: last #1"]);
}

/// A few days at all hours, so that periods are shared; extremes now and then.
fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let time = prop_oneof![30 => 1_700_000_000_000_i64..1_710_000_000_000, 1 => any::<i64>()];
    let one = (time, 0_u8..3, 0_u8..2, any::<bool>(), any::<bool>());
    prop::collection::vec(one, 0..40).prop_map(|list| {
        let named = list.into_iter().zip(1_u8..);
        named
            .map(|((time, source, tag, complete, verified), number)| Candidate {
                id: ObjectId::new([number; 32]),
                source: source.to_string(),
                tags: (0..tag).map(|t| t.to_string()).collect(),
                time: Time(time),
                complete,
                verified,
                aside: false,
            })
            .collect()
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    let within = prop::option::of((1_u64..10_000_000).prop_map(Duration::from_secs));
    (0_u32..5, 0_u32..5, 0_u32..5, 0_u32..5, 0_u32..5, 0_u32..3, within)
        .prop_map(|(last, hourly, daily, weekly, monthly, yearly, within)| Policy {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within,
        })
        .prop_filter("keeps something", |policy| !policy.is_empty())
}

const NOW: Time = Time(1_709_000_000_000);

fn survivors(policy: Policy, list: &[Candidate]) -> Vec<Candidate> {
    let zone = FixedOffset::east_opt(3600).unwrap();
    let decisions = plan_retention(&policy, list, NOW, zone).unwrap();
    assert!(decisions.iter().map(|d| d.id).eq(list.iter().map(|s| s.id)), "a verdict for each, in order");
    list.iter()
        .zip(decisions)
        .filter(|(_, decision)| decision.is_kept())
        .map(|(snapshot, _)| snapshot.clone())
        .collect()
}

proptest! {
    #[test]
    fn what_must_stay_stays(policy in policies(), list in candidates()) {
        let left = survivors(policy, &list);
        for source in ["0", "1", "2"] {
            let newest = |list: &[Candidate], wanted: fn(&Candidate) -> bool| {
                let of_source = list.iter().filter(|s| s.source == source && s.time <= NOW && wanted(s));
                of_source.map(|s| (s.time, s.id)).max()
            };
            for wanted in [|_: &Candidate| true, |s: &Candidate| s.complete, |s: &Candidate| s.verified] {
                prop_assert_eq!(newest(&list, wanted), newest(&left, wanted));
            }
        }
        prop_assert!(list.iter().filter(|s| s.time > NOW).all(|s| left.contains(s)));
    }

    #[test]
    fn twice_removes_nothing_more(policy in policies(), list in candidates()) {
        let once = survivors(policy, &list);
        prop_assert_eq!(survivors(policy, &once), once);
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(policy in policies(), list in candidates()) {
        let mut backwards: Vec<_> = list.iter().rev().cloned().collect();
        backwards = survivors(policy, &backwards);
        backwards.reverse();
        prop_assert_eq!(survivors(policy, &list), backwards);
    }

    #[test]
    fn a_wider_policy_keeps_at_least_as_much(a in policies(), b in policies(), list in candidates()) {
        let wider = Policy {
            last: a.last.max(b.last),
            hourly: a.hourly.max(b.hourly),
            daily: a.daily.max(b.daily),
            weekly: a.weekly.max(b.weekly),
            monthly: a.monthly.max(b.monthly),
            yearly: a.yearly.max(b.yearly),
            within: a.within.max(b.within),
        };
        let wide = survivors(wider, &list);
        prop_assert!(survivors(a, &list).iter().all(|s| wide.contains(s)));
    }

    #[test]
    fn last_n_keeps_n_of_every_group(n in 1_u32..10, list in candidates()) {
        let left = survivors(Policy { last: n, ..Policy::default() }, &list);
        let groups: BTreeSet<_> = list.iter().map(|s| (s.source.clone(), s.tags.clone())).collect();
        for (source, tags) in groups {
            let count = |list: &[Candidate]| {
                list.iter().filter(|s| s.source == source && s.tags == tags && s.time <= NOW).count()
            };
            // A newest complete and a last verified one may come on top.
            let (want, got) = (count(&list).min(n as usize), count(&left));
            prop_assert!(got >= want && got <= want + 2, "{} of {}", got, want);
        }
    }
}

//! What the documents say: goldens, the schema, and what is measured.

use std::path::Path;

use serde_json::Value;

use super::{FIXTURES, Place, RUNS, changed, cut};

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../../docs/report.schema.json");
    let schema: Value = serde_json::from_str(text).expect("JSON");
    jsonschema::meta::validate(&schema).expect("a schema by the rules of schemas");
    jsonschema::draft202012::new(&schema).expect("the schema is one")
}

/// Insists that a report is as its published schema says.
pub fn is_by_the_schema(file: &Value) {
    let errors: Vec<String> = schema().iter_errors(file).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
}

fn report(place: &Place, run: &str) -> Value {
    let file: Value = serde_json::from_str(&place.shown(run, "json")).expect("JSON");
    is_by_the_schema(&file);
    file["report"].clone()
}

#[test]
fn every_rendering_is_as_it_was_reviewed_and_is_verified() {
    let place = Place::with_all();
    for (name, run) in RUNS {
        for (format, end) in [("json", "json"), ("markdown", "md"), ("html", "html"), ("text", "txt")] {
            let shown = place.shown(run, format);
            let golden = Path::new(FIXTURES).join(name).join(format!("report.{end}"));
            if std::env::var_os("HOMELAB_DR_BLESS").is_some() {
                std::fs::write(&golden, &shown).unwrap();
            }
            let reviewed = std::fs::read_to_string(&golden).unwrap_or_default();
            assert!(shown == reviewed, "{}: review, then bless\n{shown}", golden.display());
            if format != "text" {
                let ran = place.ran(&["report", "verify", golden.to_str().unwrap()]).exits(0);
                assert!(ran.out.contains("unaltered"), "{}", ran.out);
            }
        }
        assert_eq!(place.ran(&["report", "show", run, "--json"]).exits(0).out, place.shown(run, "json"));
    }
}

/// Every place in a value.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                places(field, &at, out);
                out.push(at);
            }
        }
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(index, element)| places(element, &format!("{at}/{index}"), out));
        }
        _ => {}
    }
}

#[test]
fn the_schema_knows_every_field_and_no_other() {
    let (place, schema) = (Place::with_all(), schema());
    for (_, run) in RUNS {
        let file: Value = serde_json::from_str(&place.shown(run, "json")).unwrap();
        let mut all = Vec::new();
        places(&file, "", &mut all);
        assert!(all.len() > 80, "{}", all.len());
        for at in all.iter().filter(|at| !at.contains("/values/")) {
            let (parent, name) = at.rsplit_once('/').unwrap();
            let mut less = file.clone();
            less.pointer_mut(parent).and_then(Value::as_object_mut).unwrap().remove(name);
            assert!(!schema.is_valid(&less), "without {at}");
            let mut other = file.clone();
            *other.pointer_mut(at).unwrap() = serde_json::json!({"none": 1.5});
            assert!(!schema.is_valid(&other) || name == "values", "{at} is something else");
        }
        let mut more = file.clone();
        more["report"]["steps"][0]["more"] = true.into();
        assert!(!schema.is_valid(&more));
        let mut other = file;
        other["report"]["standing"] = "fine".into();
        assert!(!schema.is_valid(&other));
    }
}

#[test]
fn a_good_run_says_what_was_measured() {
    let report = report(&Place::with_all(), "5f0c1d2e");
    assert_eq!((&report["standing"], &report["objectives"]["rto"]["verdict"]), (&"recovered".into(), &"met".into()));
    // 09:00:20 to 10:02:47; 21:30 for a person; from the last record of the killed process to the next.
    let time = &report["time"];
    let seconds = ["gross", "waited", "away", "net"].map(|name| time[format!("{name}_seconds")].as_u64().unwrap());
    assert_eq!(seconds, [3747, 1290, 1056, 2457]);
    let step = |id: &str| report["steps"].as_array().unwrap().iter().find(|step| step["id"] == id).unwrap().clone();
    let states: Vec<Value> =
        step("objects")["tries"].as_array().unwrap().iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["cut-off", "done"]);
    let settings = step("settings");
    assert_eq!(settings["tries"][0]["said"].as_array().map(Vec::len), Some(1), "what was seen stands with the checks");
    assert_eq!(settings["checks"][1]["seen"], "no-empty: 37 files");
    assert_eq!(step("page")["checks"][0]["seen"], "http http://photos.example.org/: 200");
    assert_eq!(
        (&step("look")["answers"][0]["said"], &step("undo")["state"]),
        (&"the album is there".into(), &"not-needed".into())
    );
    assert_eq!((report["totals"]["checks"].as_u64(), report["totals"]["checks_held"].as_u64()), (Some(5), Some(5)));
    // Volumes count, and not the manifests: as the plan counts them.
    assert_eq!(report["totals"]["bytes_done"].as_u64(), Some(48_318_382_080 + 2_147_483_648 + 52_428));
    assert_eq!(
        (&report["snapshots"][0]["rpo"], &report["objectives"]["rpo"]["verdict"]),
        (&"met".into(), &"met".into())
    );
    let ages: Vec<u64> =
        report["volumes"].as_array().unwrap().iter().filter_map(|one| one["age_seconds"].as_u64()).collect();
    assert_eq!(ages, [21_300, 21_360], "of each volume by its own snapshot");
    assert_eq!(
        (&step("page")["checks"][0]["outcome"], &step("page")["checks"][0]["at"]),
        (&"held".into(), &"2026-11-21T09:41:13Z".into())
    );
    assert_eq!(report["target"]["version"], "v1.36.1");
    for process in report["taken_up"].as_array().unwrap() {
        assert!(process["recipient"].as_str().unwrap().starts_with("age1"), "{process}");
    }
}

#[test]
fn a_snapshot_that_several_steps_take_has_one_age_and_the_worst_of_their_verdicts() {
    let same = [("b".repeat(64), "a".repeat(64)), ("\"source\":\"settings\"".into(), "\"source\":\"cluster\"".into())];
    let same = same.each_ref().map(|(from, to): &(String, String)| (from.as_str(), to.as_str()));
    let place = Place::new();
    place.add("5f0c1d2e", &changed("good", &same));
    let text = place.shown("5f0c1d2e", "text");
    let ages: Vec<&str> = text.lines().filter(|line| line.starts_with("Age of the data (RPO): cluster")).collect();
    assert_eq!(ages, ["Age of the data (RPO): cluster, for 2 steps: 8 h (wanted 26h): met"], "{text}");
    // A step of the two is not done.
    let undone = changed("good", &same);
    let undone: Vec<&str> = undone.lines().take(8).collect();
    let place = Place::new();
    place.add("5f0c1d2e", &(undone.join("\n") + "\n"));
    let text = place.shown("5f0c1d2e", "text");
    assert!(text.contains("cluster, for 2 steps: 8 h (wanted 26h): open"), "{text}");
}

#[test]
fn a_volume_that_is_too_old_or_of_unknown_age_does_not_meet_the_objective() {
    let of = |changes: &[(&str, &str)]| {
        let place = Place::new();
        place.add("5f0c1d2e", &changed("good", changes));
        let report = report(&place, "5f0c1d2e");
        (report["volumes"][0]["rpo"].clone(), report["objectives"]["rpo"]["verdict"].clone())
    };
    let started = "\"started\":\"2026-11-21T03:05:00Z\"";
    // The objects are young, one volume is not.
    assert_eq!(of(&[(started, "\"started\":\"2026-11-19T03:05:00Z\"")]), ("missed".into(), "missed".into()));
    // A plan of before does not say it: that is no "met".
    assert_eq!(of(&[(started, "\"started\":\"\"")]), ("not-known".into(), "not-known".into()));
    // Some clock was wrong.
    assert_eq!(of(&[(started, "\"started\":\"2027-11-19T03:05:00Z\"")]), ("not-known".into(), "not-known".into()));
}

#[test]
fn a_failed_run_reaches_nothing_and_says_what_was_undone() {
    let report = report(&Place::with_all(), "a1b2c3d4");
    assert_eq!(report["standing"], "failed");
    // 26 minutes of the 30: there is nothing to measure where nothing came back.
    assert_eq!(report["objectives"]["rto"]["verdict"], "not-reached");
    assert_eq!(report["objectives"]["rpo"]["verdict"], "missed", "16 hours old, and 6 were allowed");
    let states: Vec<&str> =
        report["steps"].as_array().unwrap().iter().map(|step| step["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "failed", "not-begun", "done"]);
    let outcomes = |report: &Value| -> Vec<Value> {
        report["steps"][1]["checks"].as_array().unwrap().iter().map(|check| check["outcome"].clone()).collect()
    };
    assert_eq!(outcomes(&report), ["held", "not-held"]);
    assert_eq!(
        (&report["steps"][1]["checks"][0]["took_ms"], &report["totals"]["checks_held"]),
        (&41_200.into(), &2.into())
    );
    let text = Place::with_all().shown("a1b2c3d4", "text");
    assert!(text.contains("did NOT hold: sqlite"), "{text}");
    // The first that does not hold ends it; journals of before do not say which it was.
    let lines = |is_kept: fn(&str) -> bool| -> String {
        changed("failed", &[]).lines().filter(|line| is_kept(line)).map(|line| format!("{line}\n")).collect()
    };
    for (journal, expected) in [
        (lines(|line| !line.contains("\"check\":0")), ["not-looked-at", "not-held"]),
        (lines(|line| !line.contains("\"checked\"")), ["not-known", "not-known"]),
    ] {
        let place = Place::new();
        place.add("a1b2c3d4", &journal);
        assert_eq!(outcomes(&self::report(&place, "a1b2c3d4")), expected);
    }
    assert_eq!(report["totals"]["bytes_done"], 0);
    let text = Place::with_all().shown("a1b2c3d4", "text");
    assert!(
        text.contains("begin anew") && !text.contains("--resume"),
        "`recover` refuses to go on with what was undone: {text}"
    );
    let late = with_other_objectives(
        "failed",
        &[("rto: 30m", "rto: 25m"), ("timeout: 25m", "timeout: 20m"), ("rpo: 6h", "rpo: 7d")],
    );
    let place = Place::new();
    place.add("a1b2c3d4", &late);
    let report = self::report(&place, "a1b2c3d4");
    assert_eq!(report["objectives"]["rto"]["verdict"], "missed");
    assert_eq!(report["objectives"]["rpo"]["verdict"], "not-reached");
}

#[test]
fn waits_for_people_count_and_are_told() {
    // An hour is less than the 62 minutes that it took, and more than the 41 without the wait.
    let hour = [("rto: 3h", "rto: 1h"), ("timeout: 90m", "timeout: 10m"), ("deadline: 20m", "deadline: 5m")];
    let place = Place::new();
    place.add("5f0c1d2e", &with_other_objectives("good", &hour));
    let rto = report(&place, "5f0c1d2e")["objectives"]["rto"].clone();
    assert_eq!((&rto["verdict"], &rto["net_verdict"]), (&"missed".into(), &"met".into()));
    assert!(place.shown("5f0c1d2e", "text").contains("MISSED, but for waits for people met"));
}

/// The journal of a fixture whose runbook promises something else.
fn with_other_objectives(name: &str, changes: &[(&str, &str)]) -> String {
    let journal = changed(name, changes);
    let plan: Value = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
    let digest = homelab_dr::runs::plan::digest(plan["runbook"]["text"].as_str().unwrap());
    journal.replace(plan["runbook"]["digest"].as_str().unwrap(), &digest)
}

#[test]
fn a_run_that_is_not_over_says_where_it_is() {
    let place = Place::with_all();
    let waits = report(&place, "0badcafe");
    assert_eq!((&waits["standing"], &waits["waits_for"]["step"]), (&"waiting".into(), &"keys".into()));
    assert_eq!(
        (&waits["objectives"]["rto"]["verdict"], &waits["steps"][2]["state"]),
        (&"open".into(), &"waits".into())
    );
    assert_eq!(waits["values"]["wifi_password"], "(not shown: it looks like a secret)");
    assert!(place.shown("0badcafe", "text").contains("homelab-dr recover --resume 0badcafe --confirm keys"));
    for (lines, standing, state) in
        [(1, "cut-off", "not-begun"), (2, "cut-off", "not-begun"), (4, "cut-off", "cut-off"), (5, "cut-off", "done")]
    {
        let place = Place::new();
        place.add("0badcafe", &cut("waiting", lines));
        let report = report(&place, "0badcafe");
        assert_eq!((&report["standing"], &report["steps"][0]["state"]), (&standing.into(), &state.into()), "{lines}");
    }
    let declined = r#"{"at":"2026-11-21T20:40:00Z","event":"declined","step":"keys","said":"stop","by":"mara"}"#;
    let paused = r#"{"at":"2026-11-21T20:40:00Z","event":"paused","why":"step keys was not agreed to"}"#;
    let place = Place::new();
    place.add("0badcafe", &format!("{}{declined}\n{paused}\n", cut("waiting", 6)));
    let report = report(&place, "0badcafe");
    assert_eq!((&report["standing"], &report["time"]["waited_seconds"]), (&"declined".into(), &531.into()));
    assert_eq!(report["steps"][2]["answers"][0]["agreed"], false);
}

#[test]
fn a_snapshot_from_the_future_has_no_age() {
    let place = Place::new();
    let future =
        [("2026-11-14T20:00:00Z", "2027-11-14T20:00:00Z"), ("\"age\":604800", "\"age\":0"), ("  rto: 1d", "  rpo: 1d")];
    place.add("0badcafe", &with_other_objectives("waiting", &future));
    let report = report(&place, "0badcafe");
    assert_eq!(report["objectives"]["rpo"]["verdict"], "not-known");
    assert!(place.shown("0badcafe", "text").contains("some clock was wrong"));
}

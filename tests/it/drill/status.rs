//! `status`: by what the repository says alone, with the writer key.

use serde_json::json;

use super::folder::{drill, drills};
use crate::cli::Home;

#[test]
fn what_is_fresh_was_rehearsed_and_has_a_tried_key_is_well() {
    let home = Home::new();
    let ran = home.write(&["status"]).exits(3);
    assert!(ran.out.contains("there is no snapshot") && ran.out.contains("NOT WELL"), "{}", ran.out);
    home.backup();
    let document = home.write(&["status", "--json"]).exits(3).json();
    assert_eq!((&document["is_well"], &document["sources"][0]["source"]), (&false.into(), &"files".into()));
    let problems = document["sources"][0]["problems"].to_string() + &document["problems"].to_string();
    assert!(problems.contains("never rehearsed") && problems.contains("no identity was ever tried"), "{problems}");
    home.read(&["keys", "drill"]).exits(0);
    drill(&home, &["--source", "files", "--rpo", "1h"]).exits(0);
    let ran = home.write(&["status"]).exits(0);
    assert!(ran.out.contains("all is well with 1 source") && ran.out.contains("passed"), "{}", ran.out);
    // Another source is no better for it, and one that was named is missed.
    home.write(&["backup", "source/a", "--source", "other"]).exits(0);
    std::fs::write(home.path("homelab-dr.yaml"), "sources:\n  photos: {path: {paths: [/srv/photos]}}\n").unwrap();
    let document = home.write(&["status", "--json"]).exits(3).json();
    let named: Vec<&str> =
        document["sources"].as_array().unwrap().iter().map(|source| source["source"].as_str().unwrap()).collect();
    assert_eq!(named, ["files", "other", "photos"]);
    assert!(document["sources"][2]["problems"].to_string().contains("never backed up"), "{document:#}");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let ran = home.write(&["status", "--rpo", "0s"]).exits(3);
    assert!(ran.out.contains("old, and may be 0s"), "{}", ran.out);
    home.write(&["status", "--rpo", "soon"]).exits(2);
}

/// What `check` found is told until it is read whole again, whoever found it.
#[test]
fn damage_that_check_found_is_not_well_until_it_is_read_whole() {
    let home = Home::new();
    home.backup();
    home.read(&["keys", "drill"]).exits(0);
    drill(&home, &["--source", "files"]).exits(0);
    home.write(&["status"]).exits(0);
    let packs = home.path("repo/packs");
    let away = home.path("away");
    // With the writer key alone.
    std::fs::rename(&packs, &away).unwrap();
    let ran = home.write(&["check"]).exits(4);
    assert!(ran.err.contains("1 snapshot not whole; recorded for `forget` and `status`"), "{}{}", ran.out, ran.err);
    let ran = home.write(&["status"]).exits(3);
    assert!(ran.out.contains("files: `check` found its snapshot") && ran.out.contains("DAMAGED"), "{}", ran.out);
    std::fs::rename(&away, &packs).unwrap();
    // That nothing is missing any more does not prove that all of it reads.
    home.write(&["check"]).exits(0);
    home.write(&["status"]).exits(3);
    home.read(&["check", "--read-data"]).exits(0);
    let ran = home.write(&["status"]).exits(0);
    assert!(ran.out.contains(", the newest"), "{}", ran.out);
    // Its bytes are others now, and only who reads them sees it.
    for folder in std::fs::read_dir(&packs).unwrap() {
        for pack in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let pack = pack.unwrap().path();
            let mut bytes = std::fs::read(&pack).unwrap();
            bytes[200..].fill(0);
            std::fs::write(&pack, bytes).unwrap();
        }
    }
    home.write(&["status"]).exits(0);
    home.read(&["check", "--read-data"]).exits(4);
    let document = home.write(&["status", "--json"]).exits(3).json();
    assert!(document["sources"][0]["read_back"].is_null(), "it is good no longer: {document:#}");
}

/// Whatever makes it not well is in the document, and a line of its own.
#[test]
fn a_snapshot_that_is_missing_and_one_that_does_not_read_are_named() {
    let home = Home::new();
    home.backup();
    home.backup();
    home.backup();
    let document = home.write(&["status", "--json"]).exits(3).json();
    assert_eq!((&document["missing"], &document["unreadable"]), (&json!([]), &json!([])));
    let listed = home.write(&["snapshots", "--json"]).exits(0).json();
    let id = |index: usize| listed["snapshots"][index]["id"].as_str().expect("an id").to_owned();
    std::fs::remove_file(home.path("repo/snapshots").join(id(1))).unwrap();
    std::fs::write(home.path("repo/snapshots").join(id(0)), "rubbish").unwrap();
    let document = home.write(&["status", "--json"]).exits(3).json();
    assert_eq!(document["missing"], json!([id(1)]));
    assert!(document["unreadable"].to_string().contains(&format!("snapshot {}", &id(0)[..8])), "{document:#}");
    let ran = home.write(&["status"]).exits(3);
    assert!(ran.out.contains(&format!("snapshot {} is missing though nobody forgot it", id(1))), "{}", ran.out);
    assert!(ran.out.contains(&format!("snapshot {} cannot be read", &id(0)[..8])), "{}", ran.out);
}

/// It may be the identity of who was removed that was tried.
#[test]
fn an_identity_is_tried_anew_when_a_recipient_was_removed() {
    let home = Home::new();
    home.backup();
    home.read(&["keys", "drill"]).exits(0);
    let other = home.run(&["keys", "new", "--out", "other"]).exits(0).out.trim().to_owned();
    home.read(&["keys", "add", "--recipient", &other]).exits(0);
    let told = |ran: crate::cli::Ran| ran.out.contains("since a recipient was removed");
    assert!(!told(home.write(&["status"])));
    std::thread::sleep(std::time::Duration::from_millis(5));
    let ran = home.read(&["keys", "remove", &other, "--yes"]).exits(0);
    assert!(ran.err.contains("only ONE recipient is left"), "{}", ran.err);
    assert!(told(home.write(&["status"]).exits(3)));
    home.read(&["keys", "drill"]).exits(0);
    assert!(!told(home.write(&["status"])));
}

#[test]
fn a_copy_has_drills_of_its_own_and_none_of_those_of_the_original() {
    let home = Home::new();
    home.backup();
    let planned = drill(&home, &["--source", "files", "--rto", "1h", "--plan"]).exits(0).out;
    assert!(planned.contains("about 1 s along [") && planned.contains("at 36.0 MiB/s (assumed)"), "{planned}");
    drill(&home, &["--source", "files"]).exits(0);
    let run = drills(&home)[0]["run"].as_str().unwrap().to_owned();
    // What was measured comes before what is assumed, in a plan of the same.
    let planned = drill(&home, &["--source", "files", "--rto", "1h", "--plan"]).exits(0).out;
    assert!(planned.contains(&format!("] as in drill {run} of 20")) && !planned.contains("assumed"), "{planned}");
    assert!(planned.contains(&format!("\ndrill {run} of 20")) && planned.contains(" in all\n"), "{planned}");
    home.run(&["replicate", "--to", "copy", "--create"]).exits(0);
    let of_copy = || {
        let listed = home.write(&["drills", "--repo", "copy", "--json"]).exits(0).json();
        listed["drills"].as_array().unwrap().len()
    };
    assert_eq!(of_copy(), 0, "what came back from one store says nothing of another");
    drill(&home, &["--source", "files", "--repo", "copy"]).exits(0);
    home.run(&["replicate", "--to", "copy"]).exits(0);
    assert_eq!((of_copy(), drills(&home).len()), (1, 1), "each has its own");
}

//! `status`: by what the repository says alone, with the writer key.

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

//! `status`: by what the repository says alone, with the writer key.

use super::folder::drill;
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

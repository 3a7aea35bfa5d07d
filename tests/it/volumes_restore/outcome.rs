//! What the plan says of each volume, and what became of one of which is known that nothing was in it.

use super::*;
use crate::cluster::restore::outcome;

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_says_how_much_it_is_and_a_volume_of_nothing_is_proven_empty() {
    let disaster = Disaster::new().await;
    for claim in ["data", "none"] {
        disaster.world.application("media", claim, "true").await;
        std::fs::remove_file(disaster.world.folder("media", claim).join("ready")).unwrap();
    }
    std::fs::write(disaster.world.folder("media", "data").join("film"), noise(1, 1_000_000)).unwrap();
    disaster.world.backup(&[]).await.exits(0);

    let plan = disaster.restore(&["--plan"]).await.exits(0);
    let of = |claim: &str| plan.out.lines().find(|line| line.contains(claim)).unwrap_or_else(|| panic!("{}", plan.out));
    assert!(
        of("persistentvolumeclaims media/data").contains(" of pvc/media/data (1 file, 976.6 KiB; "),
        "{}",
        plan.out
    );
    assert!(of("persistentvolumeclaims media/none").contains("empty, as in "), "{}", plan.out);
    let document = disaster.restore(&["--plan", "--json"]).await.exits(0).json();
    let steps = document["plan"]["steps"].as_array().unwrap().iter();
    let fills: Vec<&Value> = steps.map(|step| &step["fill"]).filter(|fill| fill["source"].is_string()).collect();
    let of = |claim: &str| *fills.iter().find(|fill| fill["source"] == format!("pvc/media/{claim}")).expect("a volume");
    assert_eq!((&of("data")["bytes"], &of("data")["files"]), (&json!(1_000_000), &json!(1)), "{fills:#?}");
    assert_eq!((&of("none")["bytes"], &of("none")["proven-empty"]), (&json!(0), &json!(true)), "{fills:#?}");

    let document = disaster.restore(&["--json"]).await.exits(0).json();
    assert_eq!(volume(&document, "media", "data")["outcome"], "restored", "{document:#}");
    assert_eq!(volume(&document, "media", "none")["outcome"], "proven-empty", "{document:#}");
    assert_eq!(outcome(&document, "media/persistentvolumeclaims/none"), "proven-empty");
    // What uses it may start: nothing is missing.
    assert_eq!(outcome(&document, "media/pods/app-none"), "restored");
    disaster.is_clean().await;
}

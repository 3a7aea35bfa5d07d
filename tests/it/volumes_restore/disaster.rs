//! A whole disaster: objects and volumes into an empty cluster.

use super::*;
use crate::cluster::restore::outcome;
use crate::live::assert_whole;

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_cluster_gets_its_volumes_back_before_what_uses_them_starts() {
    let disaster = Disaster::with_data().await;
    let document = disaster.restore(&["--json"]).await.exits(0).json();
    for (namespace, claim) in [("media", "data"), ("home", "library")] {
        assert_eq!(volume(&document, namespace, claim)["outcome"], "restored", "{document:#}");
        assert_eq!(outcome(&document, &format!("{namespace}/persistentvolumeclaims/{claim}")), "restored");
        assert_eq!(disaster.verdict(namespace, claim).await, "found", "its application started after it was filled");
        let (was, is) = (whole(&disaster.world.folder(namespace, claim)), whole(&disaster.folder(namespace, claim)));
        assert!(was == is, "{:?} {:?}", was.keys(), is.keys());
    }
    let folder = disaster.folder("media", "data");
    assert_whole(&folder.join("app.db"));
    let sparse = std::fs::metadata(folder.join("sparse")).unwrap();
    assert!(sparse.blocks() * 512 < sparse.len(), "it is sparse again");
    assert_eq!(std::fs::metadata(folder.join("noise")).unwrap().nlink(), 2, "hard links are links again");
    // Both claims of the pod are where it may be, and so it runs.
    assert_eq!([disaster.node("media", "pair-a"), disaster.node("media", "pair-b")], ["node-b", "node-b"]);
    assert_eq!(disaster.verdict("media", "pair-a").await, "found");
    let second = std::fs::read_to_string(disaster.folder("media", "pair-b").join("file")).unwrap();
    assert_eq!(second, "of the second");
    disaster.is_clean().await;
    // Nothing is left to do, and nobody's data is touched.
    let again = disaster.restore(&["--json"]).await.exits(0).json();
    assert!(again["report"]["volumes"].is_null(), "{again:#}");
    assert_eq!(outcome(&again, "media/persistentvolumeclaims/data"), "same");
}

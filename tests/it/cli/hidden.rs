//! A thief with the store's credentials hides or overwrites everything in a bucket that keeps versions: it is all read back.

use homelab_dr::store::Key;

use crate::kill::lab::Lab;
use crate::support::files::picture;
use crate::support::s3::{Rules, S3Server};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_thief_hides_or_overwrites_is_restored_from_first_versions() {
    let server = S3Server::start(Rules::VERSIONED).await;
    let store = server.url("repo").open().await.unwrap();
    let lab = tokio::task::block_in_place(|| {
        let lab = Lab::new(|_| server.address("repo"), Some(server.bucket_dir().join("repo")));
        std::fs::write(lab.source().join("photo"), vec![7; 300_000]).unwrap();
        std::fs::write(lab.source().join("notes"), "a line\n").unwrap();
        lab.run(&["backup", "source", "--source", "s"]).exits(0);
        lab
    });
    for (n, listed) in store.list("").await.unwrap().into_iter().enumerate() {
        server.hide(&format!("repo/{}", listed.key)).await;
        if n % 2 == 0 {
            let key = Key::new(listed.key.as_str()).unwrap();
            store.put_new(&key, vec![b'x'; 4096].into(), None).await.unwrap();
        }
    }
    tokio::task::block_in_place(|| {
        assert_ne!(lab.run(&["snapshots"]).code, 0, "nothing is left to see");
        lab.run(&["check", "--read-data", "--first-versions"]).exits(0);
        lab.run(&["restore", "latest:s", "--target", "back", "--first-versions"]).exits(0);
        assert!(picture(&lab.path("back")) == picture(&lab.source()));
        let refused = lab.run(&["backup", "source", "--source", "s", "--first-versions"]).exits(2);
        assert!(refused.err.contains("only read"), "{}", refused.err);
        // The bucket is its own replica: what was hidden or covered shows again.
        let healed = lab.run(&["check", "--repair"]).exits(0);
        assert!(healed.out.contains("brought from an older version in"), "{}", healed.out);
        lab.run(&["check", "--read-data"]).exits(0);
        lab.run(&["restore", "latest:s", "--target", "again"]).exits(0);
        assert!(picture(&lab.path("again")) == picture(&lab.source()));
        let nothing = lab.run(&["check", "--repair"]).exits(0);
        assert!(nothing.out.contains("nothing to put right"), "{}", nothing.out);
    });
}

//! What happens to a mover that fills a volume: its disk is full, it is evicted, it hears nobody, whoever started it is gone. Each ends in a clear word, nothing starts on half of the
//! data, and the next run goes on.

use super::trouble::begin;
use super::*;
use crate::cluster::restore::outcome;
use crate::support::kube::state::State;

/// So slow that the metadata alone, some hundred KiB, takes longer than any of these movers lives.
const CRAWLING: [&str; 2] = ["--limit-download", "12KiB/s"];
/// Seconds in which these movers want to hear something: less than there are between two heartbeats.
const PATIENCE: u32 = 10;

/// The program behind a script. Another process writes it: a file that this one wrote could be open in some child that is just being started, and then nobody can execute it.
fn scripted(folder: &Path, name: &str, script: &str) -> PathBuf {
    let path = folder.join(name);
    let text = format!("#!/bin/sh\nset -eu\nPROGRAM='{}'\n{script}\n", env!("CARGO_BIN_EXE_homelab-dr"));
    let mut child = std::process::Command::new("sh");
    child.args(["-c", "cat > \"$0\" && chmod 755 \"$0\"", path.to_str().unwrap()]);
    let mut child = child.stdin(std::process::Stdio::piped()).spawn().expect("a shell");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    path
}

/// With a volume of one MiB: a file system of its own, which only this process sees. Without root it takes a user namespace.
const FULL: &str = r#"
for word do [ "${last-}" = --path ] && volume=$word; last=$word; done
unshare --mount true 2>/dev/null || more=--map-root-user
exec unshare --mount ${more-} sh -c 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"' "$volume" "$PROGRAM" "$@""#;

/// The same mover, but that it waits for a shorter time until it gives up.
fn impatient() -> String {
    format!(
        "for word do shift; [ \"${{last-}}\" = --silence ] && word={PATIENCE}; last=$word; set -- \"$@\" \"$word\"; done\nexec \"$PROGRAM\" \"$@\""
    )
}

/// Why nobody knows what is in the volume; and its application is held back.
#[track_caller]
fn unknown(ran: &Ran) -> String {
    let document = ran.json();
    let of_volume = volume(&document, "media", "data");
    assert_eq!(of_volume["outcome"], "unknown", "{of_volume}");
    assert_eq!(outcome(&document, "media/pods/app-data"), "held");
    format!("{} | {}", text(&of_volume["why"]), text(&of_volume["mend"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn movers_in_trouble_are_told_and_the_next_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut images = image();
    images.insert("full:1".to_owned(), scripted(folder.path(), "full", FULL));
    images.insert("impatient:1".to_owned(), scripted(folder.path(), "impatient", &impatient()));
    let disaster = Disaster::into(Node { images, ..Node::default() }).await;
    disaster.world.application("media", "data", FINDS_OR_MAKES).await;
    std::fs::write(disaster.world.folder("media", "data").join("large"), noise(7, 4_000_000)).unwrap();
    disaster.world.backup(&[]).await.exits(0);
    let app = || disaster.new.object("pods", "media", "app-data");

    disaster.configure("full:1", "1m");
    let told = unknown(&disaster.restore(&["--json"]).await.exits(3));
    assert!(told.contains("_media_data is full: writing large failed") && told.contains("make room there"), "{told}");
    assert!(disaster.movers().is_empty() && app().is_none());

    disaster.configure(IMAGE, "1m");
    let second = begin(&disaster, &CRAWLING);
    let pod = disaster.until_at_work().await;
    let why = "The node was low on resource: ephemeral-storage.";
    disaster.new.evict("media", text(&pod["metadata"]["name"]), why);
    let told = unknown(&disaster.world.end(second).await.exits(3));
    for part in ["Evicted", why, "make room on its node"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(disaster.movers().is_empty() && app().is_none());

    // Its heartbeats come too seldom.
    disaster.configure("impatient:1", "1m");
    let third = begin(&disaster, &CRAWLING);
    let told = unknown(&disaster.world.end(third).await.exits(3));
    assert!(told.contains(&format!("the mover heard nothing for {PATIENCE} s, and ended")), "{told}");
    assert!(disaster.movers().is_empty() && app().is_none());

    // Whoever started it is dead: it ends itself, and what is left of it is swept when it is nobody's any more.
    let mut fourth = begin(&disaster, &CRAWLING);
    let pod = disaster.until_at_work().await;
    fourth.kill().unwrap();
    fourth.wait().unwrap();
    let name = text(&pod["metadata"]["name"]).to_owned();
    let failed =
        |state: &State| state.object("pods", "media", &name).is_some_and(|pod| pod["status"]["phase"] == "Failed");
    disaster.new.until("it ended itself", failed).await;
    assert!(disaster.log(&pod).contains("heard nothing"), "{}", disaster.log(&pod));
    disaster.new.shared.with(|state| {
        for table in ["pods", "networkpolicies.networking.k8s.io"] {
            for object in state.objects(table).iter().filter(|object| is_ours(object)) {
                state.edit(object, |object| {
                    object["metadata"]["annotations"]["homelab-dr.io/expires"] = "2026-01-01T00:00:00Z".into();
                });
            }
        }
    });
    disaster.configure(IMAGE, "1m");
    let document = disaster.restore(&["--json"]).await.exits(0).json();
    assert_eq!(volume(&document, "media", "data")["outcome"], "restored", "{document:#}");
    assert_eq!(disaster.verdict("media", "data").await, "found");
    let (was, is) = (whole(&disaster.world.folder("media", "data")), whole(&disaster.folder("media", "data")));
    assert!(was == is, "{:?} {:?}", was.keys(), is.keys());
    disaster.is_clean().await;
}

//! What happens to a mover that fills a volume: its disk is full, or it is evicted. Each ends in a clear word, nothing starts on half of the
//! data, and the next run goes on.

use super::trouble::{SLOW, begin};
use super::*;
use crate::cluster::restore::outcome;

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
    let mut node = node();
    node.images.insert("full:1".to_owned(), scripted(folder.path(), "full", FULL));
    let disaster = Disaster::into(node).await;
    disaster.world.application("media", "data", FINDS_OR_MAKES).await;
    std::fs::write(disaster.world.folder("media", "data").join("large"), noise(7, 4_000_000)).unwrap();
    disaster.world.backup(&[]).await.exits(0);
    let app = || disaster.new.object("pods", "media", "app-data");

    disaster.configure("full:1", "1m");
    let ran = disaster.restore(&[]).await.exits(3);
    let (_, told) = ran.out.split_once("persistentvolumeclaims media/data: UNKNOWN: ").expect("its row");
    let mut lines = told.lines();
    let told = lines.next().unwrap();
    assert!(told.contains("_media_data is full: writing large failed") && told.contains("make room there"), "{told}");
    // What goes with its pod is below: what became of that, and the end of its log, each line with its time.
    let seen: Vec<&str> = lines.take_while(|line| line.starts_with("  ")).collect();
    assert!(seen.iter().any(|line| line.starts_with("  event Started")), "{}", ran.out);
    assert!(seen.iter().any(|line| line.starts_with("  log 20") && line.contains("accepted")), "{}", ran.out);
    assert!(disaster.movers().is_empty() && app().is_none());

    disaster.configure(IMAGE, "1m");
    let second = begin(&disaster, &SLOW);
    let pod = disaster.until_at_work().await;
    let why = "The node was low on resource: ephemeral-storage.";
    disaster.new.evict("media", text(&pod["metadata"]["name"]), why);
    let ran = disaster.world.end(second).await.exits(3);
    let seen = &volume(&ran.json(), "media", "data")["mover"];
    assert!(seen["events"].to_string().contains("Started"), "{seen:#}");
    let told = unknown(&ran);
    for part in ["Evicted", why, "make room on its node"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(disaster.movers().is_empty() && app().is_none());

    let document = disaster.restore(&["--json"]).await.exits(0).json();
    let of_volume = volume(&document, "media", "data");
    assert_eq!(of_volume["outcome"], "restored", "{document:#}");
    assert!(of_volume["mover"].is_null(), "of one that did its work nothing is kept: {of_volume:#}");
    assert_eq!(disaster.verdict("media", "data").await, "found");
    let (was, is) = (whole(&disaster.world.folder("media", "data")), whole(&disaster.folder("media", "data")));
    assert!(was == is, "{:?} {:?}", was.keys(), is.keys());
    disaster.is_clean().await;
}

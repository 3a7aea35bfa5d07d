//! What is in a snapshot, what is not, and that the second is said.

use super::*;

#[test]
fn each_claim_is_a_snapshot_of_its_own_and_its_row_says_how() {
    let folder = Folder::new("");
    let data = folder.claim("media", "data", "");
    std::fs::create_dir(data.join("lost+found")).unwrap();
    std::fs::write(data.join("lost+found/inode"), "of fsck").unwrap();
    let document = folder.backup(&["--json", "--tag", "day=1"]).exits(0).json();
    let row_of = row(&document, "pvc/media/data");
    assert_eq!((&row_of["kind"], &row_of["result"]), (&"pvc, live".into(), &"done".into()), "{row_of:#}");
    assert!(row_of["reason"].as_str().unwrap().starts_with("its data lies in the folder "), "{row_of:#}");
    assert_eq!(row_of["cautions"].as_array().unwrap().len(), 1, "{row_of:#}");
    let listed = folder.home.read(&["ls", "--recursive", "latest:pvc/media/data"]).exits(0).out;
    assert!(listed.contains("hello") && !listed.contains("fsck") && !listed.contains("inode"), "{listed}");
    let snapshots = folder.home.write(&["snapshots", "--json"]).exits(0).json();
    let tagged = |snapshot: &Value| snapshot["tags"]["day"] == "1";
    assert!(snapshots["snapshots"].as_array().unwrap().iter().all(tagged), "{snapshots:#}");
    let again = folder.backup(&["--json", "--source", "volumes"]).exits(0).json();
    assert_eq!(again["sources"].as_array().unwrap().len(), 1, "{again:#}");
}

#[test]
fn a_claim_without_its_data_and_data_without_its_claim_are_not_covered() {
    let folder = Folder::new("");
    folder.claim("media", "data", "");
    folder.manifest("bare.yaml", &claim("media", "bare", ""));
    folder.manifest(
        "homeless.yaml",
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: homeless}\nspec: {}\n",
    );
    folder.manifest("block.yaml", &claim("media", "block", "").replace("spec:\n", "spec:\n  volumeMode: Block\n"));
    let cnpg = "  labels: {cnpg.io/cluster: pg}\n";
    folder.claim("media", "pg-1", cnpg);
    std::fs::write(folder.volume("media", "stray").join("x"), "of nobody").unwrap();
    std::fs::write(folder.claim("media", "begun", "").join(format!(".homelab-dr-filling-{}", "ab".repeat(32))), "")
        .unwrap();
    std::fs::write(folder.path("cluster/volumes/README"), "no volume").unwrap();
    for args in [&["--json"][..], &["--json", "--dry-run"]] {
        let ran = folder.backup(args).exits(1);
        let document = ran.json();
        assert_eq!(row(&document, "pvc/media/data")["result"], "done");
        for (source, why) in [
            ("pvc/media/bare", "nobody knows what was in it"),
            ("pvc//homeless", "names no namespace"),
            ("pvc/media/block", "a block device"),
            ("pvc/media/pg-1", "CloudNativePG"),
            ("pvc/media/stray", "no manifest of a claim of this name"),
            ("pvc/media/begun", "did not come to its end"),
        ] {
            let row_of = row(&document, source);
            assert_eq!(row_of["result"], "failed", "{source}: {row_of:#}");
            assert!(row_of["error"].to_string().contains(why), "{source}: {row_of:#}");
            assert!(ran.err.contains("NOT COVERED: 6 volumes") && ran.err.contains(source), "{}", ran.err);
        }
    }
}

#[test]
fn what_is_left_out_on_purpose_fails_nothing() {
    let folder = Folder::new(", exclude: ['media/cache-*', '*/stray', 'kept/*']");
    folder.claim("kept", "data", "");
    let kept = "apiVersion: v1\nkind: Namespace\nmetadata: {name: kept, annotations: {homelab-dr.io/backup: 'true'}}\n";
    folder.manifest("kept.yaml", kept);
    folder.claim("media", "data", "");
    folder.claim("media", "cache-1", "");
    folder.claim("media", "wanted", "  annotations: {homelab-dr.io/backup: 'true', homelab-dr.io/hook: scale}\n");
    folder.claim("media", "scratch", "  annotations: {homelab-dr.io/backup: 'false'}\n");
    folder.claim("home", "data", "");
    folder.volume("home", "unknown");
    folder.volume("media", "stray");
    let space =
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: home, annotations: {homelab-dr.io/backup: 'false'}}\n";
    folder.manifest("home.yaml", space);
    let document = folder.backup(&["--json"]).exits(0).json();
    let results = ["data", "cache-1", "wanted", "scratch", "stray"].map(|claim| format!("pvc/media/{claim}"));
    let of = |source: &str| row(&document, source)["result"].as_str().unwrap().to_owned();
    assert_eq!(results.map(|source| of(&source)), ["done", "left_out", "done", "left_out", "left_out"]);
    assert_eq!([of("pvc/home/data"), of("pvc/home/unknown")], ["left_out", "left_out"]);
    assert_eq!(of("pvc/kept/data"), "done", "its namespace goes before the configuration");
    assert_eq!(row(&document, "pvc/home/data")["left_out_by"], "annotation homelab-dr.io/backup of namespace home");
}

#[test]
fn two_sources_of_one_folder_cover_it_together_and_a_dump_stands_for_a_database() {
    let folder = Folder::new("");
    folder.claim("media", "data", "");
    folder.claim("home", "data", "");
    folder.claim("media", "pg-1", "  labels: {cnpg.io/cluster: pg}\n");
    let volumes = |of: &str| format!("volumes: {{folder: DIR/cluster, namespaces: [{of}]");
    let dump = "  dump: {command: {argv: [echo, dumped], file: x.sql}}\n";
    let (media, home) = (volumes("media"), volumes("home"));
    let covered = ", cnpg: [{clusters: [media/pg], covered-by: dump}]";
    folder.configure(&format!("{dump}  a: {{{media}{covered}}}}}\n  b: {{{home}}}}}\n"));
    let document = folder.backup(&["--json"]).exits(0).json();
    assert_eq!(row(&document, "pvc/media/pg-1")["covered_by"], "dump");
    assert_eq!(row(&document, "pvc/home/data")["result"], "done");
    folder.configure(&format!("{dump}  a: {{{media}{covered}}}}}\n"));
    let ran = folder.backup(&["--json"]).exits(1);
    assert!(row(&ran.json(), "pvc/home/data")["error"].to_string().contains("no source of the configuration takes it"));
}

/// Also a namespace that nothing but its claims names.
#[test]
fn what_no_source_of_the_folder_takes_is_named() {
    let folder = Folder::new("");
    folder.claim("media", "data", "");
    folder.configure("");
    let document = folder.backup(&["--json"]).exits(3).json();
    let of_claim = row(&document, "pvc/media/data");
    assert_eq!((&of_claim["result"], &row(&document, "cluster")["result"]), (&"not_covered".into(), &"done".into()));
    let volumes = |more: &str| {
        let dir = folder.home.dir().display();
        let text = format!("sources:\n  volumes: {{volumes: {{folder: {dir}/cluster{more}}}}}\n");
        std::fs::write(folder.path("homelab-dr.yaml"), text).unwrap();
    };
    volumes("");
    let ran = folder.backup(&["--json"]).exits(3);
    assert_eq!(row(&ran.json(), "namespace/media")["result"], "not_covered");
    assert!(
        ran.err.contains("NOT COVERED: namespace/media: no source of the configuration takes the objects"),
        "{}",
        ran.err
    );
    volumes(", resources-elsewhere: true");
    folder.backup(&[]).exits(0);
}

#[test]
fn a_folder_that_is_away_is_no_empty_cluster() {
    let folder = Folder::new("");
    folder.claim("media", "data", "");
    folder.backup(&[]).exits(0);
    std::fs::rename(folder.path("cluster"), folder.path("elsewhere")).unwrap();
    let ran = folder.backup(&[]).exits(1);
    assert_eq!(ran.err.matches("it stands for no cluster").count(), 2, "{}", ran.err);
    std::fs::create_dir(folder.path("cluster")).unwrap();
    folder.backup(&["--dry-run", "--source", "volumes"]).exits(1);
}

#[test]
fn the_example_of_the_documents_is_right() {
    let (_, rest) = include_str!("../../../docs/volumes.md").split_once("```yaml folder\n").expect("marked");
    let read = crate::configuration::read(rest.split_once("\n```").expect("closed").0.as_bytes());
    assert_eq!(read.config.map(|config| config.sources.len()), Some(2), "{:?}", read.findings);
}

/// Data of a PostgreSQL server that was not shut down is left out and named, as where a mover reads it live.
#[test]
fn postgres_that_was_not_shut_down_is_a_problem() {
    let folder = Folder::new("");
    let data = folder.claim("media", "data", "").join("pgdata");
    for directory in ["global", "base", "pg_wal"] {
        std::fs::create_dir_all(data.join(directory)).unwrap();
    }
    std::fs::write(data.join("PG_VERSION"), "17\n").unwrap();
    std::fs::write(data.join("postmaster.pid"), "1\n").unwrap();
    std::fs::write(data.join("global/pg_control"), vec![0; 8192]).unwrap();
    let ran = folder.backup(&["--json"]).exits(3);
    let row_of = row(&ran.json(), "pvc/media/data");
    assert!(row_of["result"] == "problems" && row_of["problems"].to_string().contains("PostgreSQL"), "{row_of:#}");
}

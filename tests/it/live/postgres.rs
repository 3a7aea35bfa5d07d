//! Data of PostgreSQL: stored when the server was shut down, or when its owner says so; else left out and told.

use std::fs;
use std::path::Path;

use homelab_dr::backup::{BackupOptions, BackupReport};
use homelab_dr::tree::live::LiveOptions;
use homelab_dr::tree::live::postgres::Postgres;

use crate::cli::config::{configured, run};
use crate::support::files::picture;

use super::{Lab, how, told};

/// A data directory as version 15 lays it out, as far as anybody but the server looks; `state` as in `DBState`.
fn data_directory(dir: &Path, state: u32, pid: bool) {
    for sub in ["base/1", "global", "pg_wal"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    let mut control = vec![7; 8192];
    control[8..12].copy_from_slice(&1300_u32.to_ne_bytes());
    control[16..20].copy_from_slice(&state.to_ne_bytes());
    fs::write(dir.join("global/pg_control"), control).unwrap();
    fs::write(dir.join("PG_VERSION"), "15\n").unwrap();
    fs::write(dir.join("base/1/1259"), vec![1; 16_384]).unwrap();
    if pid {
        fs::write(dir.join("postmaster.pid"), "1\n").unwrap();
    }
}

fn with(lab: &Lab, postgres: Postgres) -> BackupOptions {
    let options = lab.options();
    let live = LiveOptions { postgres, ..options.live.clone().unwrap() };
    BackupOptions { live: Some(live), ..options }
}

async fn is_stored(lab: &Lab, report: &BackupReport) -> bool {
    let restored = picture(lab.restored(report).await.path());
    restored == picture(lab.source.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_server_that_was_shut_down_is_stored() {
    for (state, pid, stored) in
        [(1, false, true), (2, false, true), (6, false, false), (1, true, false), (4, false, false)]
    {
        let lab = Lab::new().await;
        data_directory(&lab.path("pg/data"), state, pid);
        fs::write(lab.path("pg/other"), "beside it").unwrap();
        let report = lab.backup_with(&with(&lab, Postgres::Refuse)).await;
        assert_eq!(is_stored(&lab, &report).await, stored, "{state} {pid}");
        if stored {
            assert_eq!((how(&report), told(&report)), (vec![("pg/data".to_owned(), "postgres-stopped")], Vec::new()));
            continue;
        }
        assert_eq!(how(&report), [("pg/data".to_owned(), "postgres-left-out")]);
        assert_eq!(report.record.statistics.problems, 1);
        assert!(
            told(&report)[0].contains("was not shut down")
                && ["scales it to zero", "dump it before"].iter().all(|mend| told(&report)[0].contains(mend)),
            "{:?}",
            told(&report)
        );
        let restored = lab.restored(&report).await;
        assert_eq!(fs::read_dir(restored.path().join("pg/data")).unwrap().count(), 0);
        assert!(restored.path().join("pg/other").is_file());

        let report = lab.backup_with(&with(&lab, Postgres::CrashConsistent)).await;
        assert_eq!(how(&report), [("pg/data".to_owned(), "postgres-crash-consistent")]);
        assert!(report.problems.is_empty() && is_stored(&lab, &report).await);

        let report = lab.backup_with(&with(&lab, Postgres::Dumped("pg/app".into()))).await;
        assert_eq!((how(&report), told(&report)), (vec![("pg/data".to_owned(), "postgres-left-out")], Vec::new()));
    }
}

/// A copy of a volume is of one moment, but a log or a tablespace on another volume is of another: that is told, and the data is stored all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_on_another_volume_may_be_of_another_moment() {
    for (elsewhere, what) in [
        (Some("pg_wal"), "its pg_wal is a link"),
        (Some("pg_tblspc/16385"), "its tablespace in pg_tblspc is a link"),
        (None, ""),
    ] {
        let lab = Lab::new().await;
        data_directory(&lab.path("pg"), 6, true);
        fs::create_dir(lab.path("pg/pg_tblspc")).unwrap();
        if let Some(link) = elsewhere {
            let _ = fs::remove_dir(lab.path("pg").join(link));
            std::os::unix::fs::symlink("/wal", lab.path("pg").join(link)).unwrap();
        }
        let report = lab.backup_with(&with(&lab, Postgres::OneMoment)).await;
        assert_eq!(how(&report), [("pg".to_owned(), "postgres-crash-consistent")]);
        assert_eq!(report.record.statistics.problems, u64::from(elsewhere.is_some()), "{:?}", told(&report));
        assert!(told(&report).iter().all(|problem| problem.contains(what)), "{what}: {:?}", told(&report));
        assert!(is_stored(&lab, &report).await);

        // Its owner says that all of it is of one moment; and of one that was shut down nothing is amiss.
        let report = lab.backup_with(&with(&lab, Postgres::CrashConsistent)).await;
        assert!(report.problems.is_empty(), "{:?}", told(&report));
        data_directory(&lab.path("other"), 1, false);
        fs::remove_dir_all(lab.path("pg")).unwrap();
        fs::remove_dir(lab.path("other/pg_wal")).unwrap();
        std::os::unix::fs::symlink("/wal", lab.path("other/pg_wal")).unwrap();
        let report = lab.backup_with(&with(&lab, Postgres::OneMoment)).await;
        assert_eq!((how(&report), told(&report)), (vec![("other".to_owned(), "postgres-stopped")], Vec::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_may_be_a_data_directory_and_what_looks_like_one_is_none() {
    let lab = Lab::new().await;
    data_directory(lab.source.path(), 6, true);
    let report = lab.backup_with(&with(&lab, Postgres::Refuse)).await;
    assert_eq!((report.record.statistics.files, report.record.statistics.problems), (0, 1));

    let lab = Lab::new().await;
    data_directory(&lab.path("a"), 6, true);
    fs::remove_file(lab.path("a/global/pg_control")).unwrap();
    data_directory(&lab.path("b"), 6, true);
    fs::remove_file(lab.path("b/PG_VERSION")).unwrap();
    let report = lab.backup_with(&with(&lab, Postgres::Refuse)).await;
    assert!(report.problems.is_empty() && report.databases.is_empty() && is_stored(&lab, &report).await);
}

#[test]
fn a_dump_above_takes_the_place_of_the_files_only_if_it_was_made() {
    let config = |argv: &str| {
        format!(
            "sources:\n  pg/app: {{command: {{argv: [{argv}], file: app.sql}}}}\n  \
             volumes: {{path: {{paths: [DIR/source], live: true, scratch: DIR, postgres-dump: pg/app}}}}\n"
        )
    };
    let home = configured(&config("echo, dump"));
    data_directory(&home.path("source/data"), 6, true);
    let done = run(&home, &["backup", "--json"]).exits(0).json();
    let left_out = serde_json::json!([{"path": "data", "how": "postgres-left-out"}]);
    assert_eq!(done["sources"][1]["databases"], left_out, "{done}");
    let listed = run(&home, &["ls", "latest:volumes", "--json"]).exits(0).out;
    assert!(listed.contains(r#""live":"postgres-left-out","dump":"pg/app""#), "{listed}");
    let alone = run(&home, &["backup", "--source", "volumes"]).exits(3);
    assert!(
        alone.err.contains("pg/app, which should have a dump of it, made no snapshot in this run"),
        "{}",
        alone.err
    );
    super::super::cli::config::write(&home, &config("/bin/false"));
    run(&home, &["backup"]).exits(1);
}

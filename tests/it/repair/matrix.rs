//! The damage matrix.

use super::{Damage, Held, KINDS, Scene, is_whole, repair};

const HOW: [Damage; 4] = [Damage::Delete, Damage::Truncate, Damage::Flip, Damage::Swap];

#[tokio::test]
async fn with_a_replica_everything_heals() {
    let scene = Scene::new().await;
    let replica = scene.world.fork().await;
    for kind in KINDS {
        for how in HOW {
            for held in [Held::Writer, Held::Owner] {
                let what = format!("{kind} {how:?} {held:?}");
                let world = scene.world.fork().await;
                scene.damage(&world, 0, kind, how).await;
                let outcome = repair(&world, held, &[&replica]).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                let report = outcome.report.as_ref().expect("a report");
                assert!(outcome.changed() && !report.is_damaged(), "{what}: {outcome:#?}");
                assert_eq!(outcome.losses, [], "{what}");
                assert_eq!(world.read_all().await, scene.files, "{what}");
                is_whole(&world, held, &what).await;
            }
        }
    }
}

/// What is made anew or copied out of what is still good, without anybody's help.
#[tokio::test]
async fn without_a_replica_what_is_known_twice_heals() {
    let scene = Scene::new().await;
    for kind in ["format", "sessions", "index", "content pack", "metadata pack"] {
        for how in HOW {
            if (kind, how) == ("format", Damage::Swap) {
                continue; // the access object is hit too, below
            }
            if kind.ends_with("pack") && how != Damage::Swap {
                continue; // what is lost of these is below
            }
            let what = format!("{kind} {how:?}");
            let world = scene.world.fork().await;
            scene.damage(&world, 0, kind, how).await;
            let outcome = repair(&world, Held::Writer, &[]).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(outcome.changed() && !outcome.report.expect("a report").is_damaged(), "{what}");
            assert_eq!(world.read_all().await, scene.files, "{what}");
            is_whole(&world, Held::Owner, &what).await;
            // Writers go on, and build upon what was there.
            world.backup(&["a", "b", "g"]).await;
            assert_eq!(world.read_all().await.len(), 4, "{what}");
        }
    }
}

/// What nobody has any more is named, file by file; the next backup of the source stores it anew, and the old snapshot is whole again.
#[tokio::test]
async fn what_is_lost_is_named_and_the_next_backup_brings_it_back() {
    let scene = Scene::new().await;
    for kind in ["content pack", "metadata pack"] {
        for how in [Damage::Delete, Damage::Truncate, Damage::Flip] {
            for held in [Held::Writer, Held::Owner] {
                let what = format!("{kind} {how:?} {held:?}");
                let world = scene.world.fork().await;
                scene.damage(&world, 0, kind, how).await;
                let outcome = repair(&world, held, &[]).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(outcome.report.as_ref().expect("a report").is_damaged(), "{what}");
                let lost: Vec<_> = outcome.losses.iter().map(|loss| loss.snapshot).collect();
                assert_eq!(lost, scene.snapshots[..1], "{what}");
                for loss in &outcome.losses {
                    let files = &scene.files[&loss.snapshot];
                    match (kind, how) {
                        // One chunk of six; the others were copied out of the pack.
                        ("content pack", Damage::Flip) => {
                            assert_eq!((loss.files.len(), outcome.blobs_moved), (1, 5), "{what}");
                            assert!(files.contains(&loss.files[0]), "{what}");
                        }
                        ("content pack", _) => assert_eq!(&loss.files, files, "{what}"),
                        _ => assert!(loss.files.is_empty() && loss.parts.len() == 1, "{what}: {loss:?}"),
                    }
                }
                assert_eq!(outcome.marked.len(), usize::from(how != Damage::Delete), "{what}");
                let settled = repair(&world, held, &[]).await.expect("again");
                assert!(!settled.changed() && settled.losses == outcome.losses, "{what}: {settled:?}");

                world.backup(&["a", "b"]).await;
                world.backup(&["c", "d"]).await;
                let all = world.read_all().await;
                assert!(scene.files.iter().all(|(id, files)| all[id] == *files), "{what}");
                let healed = repair(&world, held, &[]).await.expect("again");
                assert!(!healed.report.expect("a report").is_damaged() && healed.losses.is_empty(), "{what}");
                // What is rotten goes, and nothing with it.
                world.prune().await;
                world.pass(crate::prune::world::GRACE);
                world.prune().await;
                assert_eq!(world.read_all().await, all, "{what}");
            }
        }
    }
}

/// A record that only its writer could make: told, and nothing is made up.
#[tokio::test]
async fn what_only_a_replica_could_bring_back_is_told() {
    let scene = Scene::new().await;
    for how in HOW {
        let world = scene.world.fork().await;
        scene.damage(&world, 0, "snapshots", how).await;
        let outcome = repair(&world, Held::Owner, &[]).await.expect("the others are there");
        assert!(outcome.report.as_ref().expect("a report").is_damaged() && !outcome.changed(), "{how:?}: {outcome:?}");
        assert_eq!(outcome.losses, [], "{how:?}: the record itself is what is lost");

        let world = scene.world.fork().await;
        scene.damage(&world, 0, "access", how).await;
        if how != Damage::Swap {
            let outcome = repair(&world, Held::Writer, &[]).await.expect("a writer goes on");
            let report = outcome.report.as_ref().expect("a report");
            assert!(report.findings.iter().any(|finding| finding.object.starts_with("access/")), "{how:?}");
            assert!(report.is_damaged() && !outcome.changed(), "{how:?}");
        }
        repair(&world, Held::Owner, &[]).await.expect_err("no identity gets in");

        let world = scene.world.fork().await;
        scene.damage(&world, 0, "epoch", how).await;
        repair(&world, Held::Writer, &[]).await.expect_err("only an owner can sign another");
        // All that the record of the first epoch said is known to an identity.
        let outcome = repair(&world, Held::Owner, &[]).await.unwrap_or_else(|error| panic!("{how:?}: {error}"));
        assert_eq!(outcome.healed.iter().map(|one| one.object.as_str()).collect::<Vec<_>>(), ["epochs/1"], "{how:?}");
        assert!(!outcome.report.expect("a report").is_damaged(), "{how:?}");
        assert_eq!(world.read_all().await, scene.files, "{how:?}");
        world.backup(&["a", "later"]).await;
        is_whole(&world, Held::Writer, "signed anew").await;
    }
}

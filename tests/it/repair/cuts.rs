//! Cut off at every call, or with others at work at every call: never worse, and the next run heals what the first one began.

use std::sync::Arc;

use homelab_dr::prune::Settings;
use homelab_dr::store::Key;
use homelab_dr::store::fault::{Failure, Fault, When};

use super::{Damage, Held, Scene, is_whole, repair, repair_on};
use crate::prune::gate::Gate;
use crate::prune::world::{GRACE, World};

/// Damage of every kind that a repair heals at once.
async fn battered(scene: &Scene) -> World {
    let world = scene.world.fork().await;
    scene.damage(&world, 0, "content pack", Damage::Flip).await;
    scene.damage(&world, 1, "metadata pack", Damage::Delete).await;
    scene.damage(&world, 2, "index", Damage::Truncate).await;
    scene.damage(&world, 2, "sessions", Damage::Delete).await;
    scene.damage(&world, 1, "snapshots", Damage::Flip).await;
    world
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    Before,
    After,
    Onwards,
}

fn plan(fault: &Fault, call: u64, cut: Cut) {
    match cut {
        Cut::Before => fault.fail(call, When::Before, Failure::Permanent),
        Cut::After => fault.fail(call, When::After, Failure::Permanent),
        Cut::Onwards => fault.fail_from(call, When::Before, Failure::Gone),
    }
}

#[tokio::test]
async fn a_repair_that_is_cut_off_anywhere_is_finished_by_the_next() {
    let scene = Scene::new().await;
    let replica = scene.world.fork().await;
    let origin = battered(&scene).await;
    for cut in [Cut::Before, Cut::After, Cut::Onwards] {
        for call in 0.. {
            let world = origin.fork().await;
            let fault = Arc::new(Fault::new(world.store.clone()));
            plan(&fault, call, cut);
            let done = repair_on(&world, Held::Writer, vec![replica.store.clone()], fault.clone()).await;
            let over = fault.failed() == 0;
            if over {
                assert!(!done.expect("nothing failed").report.expect("a report").is_damaged());
                assert!(call > 40, "only {call} calls");
            }
            repair(&world, Held::Writer, &[&replica]).await.unwrap_or_else(|error| panic!("{call} {cut:?}: {error}"));
            assert_eq!(world.read_all().await, scene.files, "{call} {cut:?}");
            if over {
                is_whole(&world, Held::Owner, "at the end").await;
                break;
            }
        }
    }
}

/// Without a replica: whatever read before a cut is still there after it, since nobody could bring it back.
#[tokio::test]
async fn a_cut_costs_nothing_that_could_be_read() {
    let scene = Scene::new().await;
    let origin = scene.world.fork().await;
    scene.damage(&origin, 0, "content pack", Damage::Flip).await;
    scene.damage(&origin, 1, "content pack", Damage::Truncate).await;
    scene.damage(&origin, 2, "index", Damage::Flip).await;
    scene.damage(&origin, 2, "sessions", Damage::Truncate).await;
    origin.store.delete(&Key::new("format.json").unwrap()).await.unwrap();
    let expected = repair(&origin.fork().await, Held::Writer, &[]).await.expect("a repair").losses;
    assert_eq!(expected.iter().map(|loss| loss.files.len()).sum::<usize>(), 3, "{expected:?}");
    for cut in [Cut::After, Cut::Onwards] {
        for call in 0.. {
            let world = origin.fork().await;
            let fault = Arc::new(Fault::new(world.store.clone()));
            plan(&fault, call, cut);
            let _ = repair_on(&world, Held::Writer, Vec::new(), fault.clone()).await;
            let again = repair(&world, Held::Writer, &[]).await.unwrap_or_else(|e| panic!("{call} {cut:?}: {e}"));
            assert_eq!(again.losses, expected, "{call} {cut:?}");
            if fault.failed() == 0 {
                break;
            }
        }
    }
}

#[tokio::test]
async fn others_may_be_at_work_at_every_call() {
    let scene = Scene::new().await;
    let replica = scene.world.fork().await;
    let origin = battered(&scene).await;
    for call in 0.. {
        let world = origin.fork().await;
        let meanwhile = world.clone();
        let others = async move {
            // Damage may stop both, and they say so.
            let prune = async || {
                if let Ok(repository) =
                    homelab_dr::repo::Repository::open_with_writer(meanwhile.store.clone(), &meanwhile.key).await
                {
                    let _ = meanwhile.try_prune(&Arc::new(repository), Settings::default()).await;
                }
            };
            prune().await;
            let writer = meanwhile.open().await;
            let _ = meanwhile.try_backup(&writer, &["a", "c", "g"]).await;
            meanwhile.pass(GRACE);
            prune().await;
        };
        let gate = Gate::new(&world.store, move |at, _, _| at == call, others);
        let done = repair_on(&world, Held::Writer, vec![replica.store.clone()], gate.clone()).await;
        if let Err(error) = &done {
            // What a pruner took away under its hands is looked at anew by the next run.
            assert!(gate.opened(), "{call}: {error}");
        }
        let last = repair(&world, Held::Writer, &[&replica]).await.unwrap_or_else(|error| panic!("{call}: {error}"));
        assert!(!last.report.expect("a report").is_damaged() && last.losses.is_empty(), "{call}");
        let all = world.read_all().await;
        assert!(scene.files.iter().all(|(id, files)| all.get(id) == Some(files)), "{call}");
        if !gate.opened() {
            assert!(call > 40, "only {call} calls");
            break;
        }
    }
}

//! Cut off at every call, and with a pruner at work at every call: never less covered than before, and the next run settles it.

use std::collections::BTreeSet;
use std::sync::Arc;

use homelab_dr::base::id::ObjectId;
use homelab_dr::prune::Settings as PruneSettings;
use homelab_dr::store::fault::{Failure, Fault, When};

use super::{Settings, TENTH, covered, is_settled, prune, run, run_on};
use crate::prune::gate::Gate;
use crate::prune::world::{GRACE, World};

const SMALL: Settings = Settings { group_packs: 4, share: 25, ..TENTH };

/// A group that stays, one of which packs were pruned, small ones that are merged, and new packs.
async fn busy() -> World {
    let world = World::new().await;
    let mut snapshots = Vec::new();
    for n in 0..4 {
        snapshots.push(world.backup(&[&format!("a{n}")]).await);
    }
    run(&world, SMALL).await;
    world.backup(&["b"]).await;
    run(&world, SMALL).await;
    world.forget(&snapshots[..1]).await;
    world.pass(GRACE);
    assert!(prune(&world).await.doomed > 0);
    world.backup(&["c"]).await;
    world
}

#[tokio::test]
async fn a_run_that_is_cut_off_anywhere_leaves_nothing_less_covered() {
    let origin = busy().await;
    let packs = origin.names("packs/").await;
    let before = covered(&origin).await;
    for (when, failure, onwards) in [
        (When::Before, Failure::Permanent, false),
        (When::After, Failure::Permanent, false),
        (When::Before, Failure::Gone, true),
    ] {
        for call in 0.. {
            let world = origin.fork().await;
            let fault = Arc::new(Fault::new(world.store.clone()));
            if onwards {
                fault.fail_from(call, when, failure);
            } else {
                fault.fail(call, when, failure);
            }
            let what = format!("{call} {when:?} {failure:?}");
            let repository = world.open_on(fault.clone()).await;
            let done = run_on(&repository, &world, SMALL).await;
            let now = covered(&world).await;
            let marked: BTreeSet<ObjectId> = marked(&world).await;
            assert!(before.difference(&now).all(|pack| marked.contains(pack)), "{what}");
            if fault.failed() == 0 {
                assert!(done.expect("nothing failed").made > 1 && call > 15, "only {call} calls");
                is_settled(&world, SMALL, &what).await;
                break;
            }
            let done = run(&world, SMALL).await;
            assert!(done.damaged.is_empty(), "{what}: {done:?}");
            is_settled(&world, SMALL, &what).await;
            assert_eq!(world.names("packs/").await, packs, "{what}");
        }
    }
}

pub async fn marked(world: &World) -> BTreeSet<ObjectId> {
    let marks = homelab_dr::repo::doomed::Marks::load(&*world.open().await).await.unwrap();
    let objects = marks.marks.iter().flat_map(|mark| &mark.objects);
    objects.filter_map(homelab_dr::repo::doomed::pack_of).collect()
}

#[tokio::test]
async fn a_pruner_may_be_at_work_at_every_call() {
    let origin = busy().await;
    for call in 0.. {
        let world = origin.fork().await;
        let meanwhile = world.clone();
        let others = async move {
            meanwhile.pass(GRACE);
            let repository = meanwhile.open().await;
            meanwhile.try_prune(&repository, PruneSettings::default()).await.expect("a prune");
            meanwhile.backup(&["d"]).await;
        };
        let gate = Gate::new(&world.store, move |at, _, _| at == call, others);
        let repository = world.open_on(gate.clone()).await;
        let done = run_on(&repository, &world, SMALL).await;
        let opened = gate.opened();
        if let Err(error) = &done {
            assert!(opened, "{call}: {error}");
        }
        let files = world.read_all().await;
        assert!(files.len() >= 5, "{call}");
        let done = run(&world, SMALL).await;
        assert!(done.damaged.is_empty(), "{call}: {done:?}");
        is_settled(&world, SMALL, &format!("{call}")).await;
        if !opened {
            assert!(call > 15, "only {call} calls");
            break;
        }
    }
}

//! A deterministic simulation of one repository and all who use it at once: writers, pruners, whoever forgets snapshots, a replicator, an owner who changes recipients,
//! and somebody who repairs.
//! Store, clocks and schedule are simulated; everything else is the real code.
//!
//! A *seed* decides everything: who runs, when each request is carried out, what is lost, late, done twice, torn or shown stale, who dies where, who stops for days, whose
//! clock is wrong. What must hold is in [`judge`]. A seed that fails prints how to replay it:
//!
//! ```text
//! HOMELAB_DR_SIMULATE=4711 cargo test --lib simulation -- --nocapture      one seed, with every request
//! HOMELAB_DR_SIMULATE=10000..20000 tests/run --lane seeds                     many
//! ```
//! What it does not model: bytes that rot (`tests/it/check`, `repair`, `rescue`), object lock, and records of the chain and marks of which a store keeps half
//! (the stores' promise, `tests/it/store`): they stop everybody until a person gives them up.

#![expect(clippy::cast_possible_truncation, reason = "all numbers of a simulation are small")]

mod actors;
mod judge;
mod random;
mod rounds;
#[cfg(not(engine_alone))]
mod scale;
mod world;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use actors::{Keys, Known, Scene};
use random::Random;
use world::{Faults, Objects, Process, Trace, World, lock};

use crate::base::secret::seeded;
use crate::crypto::recipients::{IdentitySource, Recipient, generate_identity};
use crate::crypto::writer_key::WriterKey;
use crate::repo::create::create;
use crate::store::Store;

/// Nothing takes longer, in the time of the simulation: a run that is not over by then never ends.
const LONGEST: Duration = Duration::from_hours(24 * 400);
/// Seeds of an ordinary test run; the lane `seeds` plays ten thousand.
const SEEDS: Range<u64> = 0..40;

/// An empty repository, made once: every simulation begins with a copy.
struct Ground {
    objects: Objects,
    writer_key: String,
    identity: String,
    recipients: Vec<String>,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        seeded::set(Some(u64::MAX));
        let ground = runtime().block_on(async {
            let trace = Arc::new(Trace::new(false));
            let world = World::new("store", Objects::default(), Arc::new(Mutex::new(Random(0))), trace);
            let process = Arc::new(Process::calm("init", &world));
            let (first, second) = (generate_identity(), generate_identity());
            let clock = process.clock();
            let store: Arc<dyn Store> = process;
            let recipients = [first.recipient.clone(), second.recipient.clone()];
            let key = create(&store, &recipients, Duration::ZERO, &*clock).await.expect("an empty store");
            Ground {
                objects: world.objects(),
                writer_key: key.to_text().to_string(),
                identity: first.secret.expose().to_owned(),
                recipients: recipients.iter().map(ToString::to_string).collect(),
            }
        });
        seeded::set(None);
        ground
    })
}

/// What is told of a simulation that was well.
struct Told {
    trace: blake3::Hash,
    reported: usize,
    runs: u64,
    failures: Vec<String>,
}

fn faults(random: &mut Random) -> Faults {
    let rate = random.pick(&[0, 5, 20, 60]);
    let stale = random.pick(&[0, 0, 0, 300]);
    Faults {
        refused: rate,
        answer_lost: rate,
        late: rate / 2,
        again: rate / 2,
        pause: random.pick(&[1, 3, 10]),
        pause_max: Duration::from_hours(random.pick(&[1, 24, 72, 220])),
        torn: random.pick(&[0, 0, 0, 4]),
        stale,
        stale_max: Duration::from_hours(2),
        crash_at: None,
        steady: None,
        skew: random.pick(&[0, 1]),
    }
}

async fn play(seed: u64, print: bool) -> Told {
    let ground = ground();
    let trace = Arc::new(Trace::new(print));
    let random = Arc::new(Mutex::new(Random(seed)));
    let world = World::new("store", ground.objects.clone(), random.clone(), trace.clone());
    let replica = World::new("replica", Objects::default(), random.clone(), trace.clone());
    let keys = Keys {
        writer: WriterKey::parse(&ground.writer_key).expect("its own text"),
        identity: vec![IdentitySource::parse("simulation", ground.identity.as_bytes()).expect("its own text")],
        recipients: ground.recipients.iter().map(|text| Recipient::parse(text).expect("its own text")).collect(),
    };
    let (faults, writers, pruners, forgetters, replicators, owners, menders, runs) = {
        let mut random = lock(&random);
        let faults = faults(&mut random);
        let mut number = |most: u64| random.below(most + 1);
        // Where writes tear somebody mends; elsewhere a mender now and then finds nothing to do.
        let menders = if faults.torn > 0 { 1 } else { number(3) / 3 };
        (faults, 1 + number(2), number(2), number(1), number(1), number(2) / 2, menders, 2 + number(3) as usize)
    };
    let known = Arc::new(Mutex::new(Known::default()));
    let scene = Scene { world, replica, keys: Arc::new(keys), random, trace: trace.clone(), known, faults };
    let acting = async {
        let mut acts = tokio::task::JoinSet::new();
        for number in 0..writers {
            acts.spawn(scene.clone().writer(format!("writer-{number}"), runs));
        }
        for number in 0..pruners {
            acts.spawn(scene.clone().pruner(format!("pruner-{number}"), runs + 1));
        }
        for number in 0..forgetters {
            acts.spawn(scene.clone().forgetter(format!("forgetter-{number}"), runs));
        }
        for number in 0..replicators {
            acts.spawn(scene.clone().replicator(format!("replicator-{number}"), runs));
        }
        for number in 0..menders {
            acts.spawn_local(scene.clone().mender(format!("mender-{number}"), runs + 2));
        }
        for number in 0..owners {
            acts.spawn(scene.clone().owner(format!("owner-{number}"), 2));
        }
        while let Some(ended) = acts.join_next().await {
            if let Err(panicked) = ended {
                std::panic::resume_unwind(panicked.into_panic());
            }
        }
    };
    tokio::time::timeout(LONGEST, acting).await.expect("every run ends");
    // What was given up and is carried out later.
    tokio::time::sleep(Duration::from_hours(1)).await;
    judge::reported_can_be_read(&scene).await;
    judge::nothing_is_left_over(&scene).await;
    let known = lock(&scene.known);
    Told { trace: trace.hash(), reported: known.reported.len(), runs: known.runs, failures: known.failures.clone() }
}

/// Plays a seed in this thread.
fn simulate(seed: u64, print: bool) -> Told {
    ground();
    seeded::set(Some(seed));
    let told = tokio::task::LocalSet::new().block_on(&runtime(), play(seed, print));
    seeded::set(None);
    told
}

fn wanted() -> (Range<u64>, bool) {
    let Ok(text) = std::env::var("HOMELAB_DR_SIMULATE") else { return (SEEDS, false) };
    if let Some((from, to)) = text.split_once("..") {
        return (from.parse().expect("a seed")..to.parse().expect("a seed"), false);
    }
    let seed = text.parse().expect("a seed, or FROM..TO");
    (seed..seed + 1, true)
}

#[test]
fn nothing_is_lost_whatever_happens() {
    let (seeds, print) = wanted();
    let next = AtomicU64::new(seeds.start);
    let (reported, runs) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    ground();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let played = std::panic::catch_unwind(|| simulate(seed, print));
                    let Ok(told) = played else {
                        next.store(seeds.end, Ordering::Relaxed);
                        println!("seed {seed} failed; replay it with HOMELAB_DR_SIMULATE={seed}");
                        panic!("seed {seed} failed");
                    };
                    if print {
                        println!("{} of {} runs failed: {:#?}", told.failures.len(), told.runs, told.failures);
                    }
                    reported.fetch_add(told.reported as u64, Ordering::Relaxed);
                    runs.fetch_add(told.runs, Ordering::Relaxed);
                }
            });
        }
    });
    let (reported, runs) = (reported.into_inner(), runs.into_inner());
    println!("{} seeds, {runs} runs, {reported} snapshots reported", seeds.end - seeds.start);
    assert!(
        seeds.end - seeds.start < 100 || reported > runs / 5,
        "{reported} of {runs}: the faults leave nothing to look at"
    );
}

/// 2105: a writer sleeps until its session is gone, stores packs all the same and fails; a pruner keeps these, and not the copies that others can build upon. 2157 and 2158, before
/// requests were made beside each other: a snapshot that was taken back is put once more by a request that was late; a replica lists a snapshot and not yet what it needs.
#[test]
fn what_seeds_once_showed_stays_mended() {
    for seed in [2105, 2157, 2158] {
        simulate(seed, false);
    }
}

#[test]
fn a_seed_gives_the_same_schedule_every_time() {
    for seed in 0..4 {
        assert_eq!(simulate(seed, false).trace, simulate(seed, false).trace, "seed {seed}");
    }
}

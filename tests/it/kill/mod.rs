//! The real program killed with SIGKILL at seeded random moments, on a directory and on a bucket: while it backs up, forgets, prunes and
//! restores. What lies there right after the kill checks clean, the next run succeeds, what was reported restores bit for bit, and
//! what killed runs leave behind goes with the next prune.
//!
//! `HOMELAB_DR_KILL_SEED` repeats the moments of an earlier run, as far as a machine can.

pub mod lab;
mod signals;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::support::files::{Picture, noise, picture};
use crate::support::s3::{Rules, S3Server};
use lab::Lab;

/// Kills of commands that write to the store …
const KILLS: u64 = 28;
/// Moments are random: it goes on until each act was met often enough, but not for ever.
const KILLS_MAX: u64 = 98;
/// Each act, in how many different phases and how often it must have been killed.
const MET_MIN: [(Act, usize, u64); 3] = [(Act::Backup, 3, 10), (Act::Forget, 1, 1), (Act::Prune, 1, 1)];
/// … and of restores.
const RESTORES: u64 = 6;
/// Files of the tree that is backed up, half of which are new every day …
const FILES: u64 = 24;
/// … and their bytes. Small, for the dev profile decrypts some 5 MiB a second.
const FILE_BYTES: usize = 8 << 10;
const NEW_BYTES: u64 = FILES / 2 * FILE_BYTES as u64;
/// Files that restores are killed over, too large to share a chunk and so written one by one, and their bytes.
const LARGE_FILES: u64 = 6;
const LARGE_BYTES: usize = 4 << 20;
/// How fast they are restored, so that there is a middle: a second for all.
const LARGE_SPEED: &str = "24MiB/s";
/// Snapshots that a forget keeps.
const KEEP: usize = 4;

/// What is killed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Act {
    Backup,
    Forget,
    Prune,
}

impl Act {
    /// Of seven runs one forgets, the next prunes, and five back up.
    const fn of(round: u64) -> Self {
        match round % 7 {
            3 => Self::Forget,
            4 => Self::Prune,
            _ => Self::Backup,
        }
    }

    const fn args(self) -> &'static [&'static str] {
        match self {
            Self::Backup => &["backup", "source", "--source", "s", "--json"],
            Self::Forget => &["forget", "--keep-last", "4", "--yes", "--json"],
            // Both phases at once; nobody writes meanwhile.
            Self::Prune => &["prune", "--grace", "0s", "--yes", "--json"],
        }
    }
}

/// How far a run had come, by what it left in the store; `None` if it had not begun.
fn phase(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Option<&'static str> {
    if !before.is_subset(after) {
        return Some("removing");
    }
    let new = |prefix: &str| after.difference(before).any(|name| name.starts_with(prefix));
    ["doomed/", "snapshots/", "index/", "packs/", "sessions/"].into_iter().find(|prefix| new(prefix))
}

/// Half of the files are new, in bytes that were never there.
fn next_day(source: &Path, day: u64) {
    for n in 0..FILES / 2 {
        let name = source.join(format!("f{}", (day * FILES / 2 + n) % FILES));
        std::fs::write(name, noise(day << 32 | n, FILE_BYTES)).unwrap();
    }
}

/// A seeded share of a time.
fn moment(seed: u64, round: u64, time: Duration) -> Duration {
    let random = u64::from_le_bytes(*noise(seed ^ round << 20, 8).first_chunk().unwrap()) % 1000;
    time.mul_f64(random as f64 / 1000.0)
}

/// The id in what a backup printed, if it came to that.
fn reported(out: &str) -> Option<String> {
    let report: serde_json::Value = serde_json::from_str(out).ok()?;
    Some(report["snapshot"].as_str()?.to_owned())
}

/// How long a bucket takes to answer each change that a forget or a prune makes: else they act in one or two requests, between which no signal is quick
/// enough.
const ANSWER_AFTER: Duration = Duration::from_millis(60);

/// A repository, what was reported of it, and how long commands take on this machine now.
struct Loop<'a> {
    lab: &'a Lab,
    /// Where it lies, if not in a directory.
    server: Option<&'a S3Server>,
    seed: u64,
    reported: BTreeMap<String, Picture>,
    whole: BTreeMap<Act, Duration>,
    /// How long forget and prune act, once they have begun to.
    acts: BTreeMap<Act, Duration>,
    /// How often a kill of what met which phase.
    met: BTreeMap<(Act, &'static str), u64>,
}

impl Loop<'_> {
    /// Runs a command to its end, and learns how long that takes.
    fn whole_run(&mut self, act: Act) {
        let begun = Instant::now();
        let ran = self.lab.run(act.args()).exits(0);
        let before = self.whole.get(&act).copied().unwrap_or_default();
        // What follows a kill may have less to do.
        self.whole.insert(act, begun.elapsed().max(before.mul_f64(0.8)));
        if act == Act::Backup {
            self.reported.insert(reported(&ran.out).expect("an id"), picture(&self.lab.source()));
        }
    }

    fn round(&mut self, round: u64) {
        let (act, lab) = (Act::of(round), self.lab);
        if act == Act::Backup {
            next_day(&lab.source(), round);
        }
        let listed = if act == Act::Forget { lab.snapshots() } else { Vec::new() };
        let before = lab.names();
        // A backup begins to write when the process has started. Forget and prune look for long and act at the end: their moment counts from the first
        // object that comes or goes.
        let whole = self.whole[&act];
        let (from, within) = match act {
            Act::Backup => (whole.mul_f64(0.3), whole.mul_f64(0.7)),
            Act::Forget | Act::Prune => (Duration::ZERO, *self.acts.entry(act).or_insert(whole / 4)),
        };
        let has_begun = || act == Act::Backup || lab.names() != before;
        if let (Some(server), Act::Forget | Act::Prune) = (self.server, act) {
            server.answers_changes_after(ANSWER_AFTER);
        }
        let ended = lab.kill_after(act.args(), has_begun, from + moment(self.seed, round, within));
        if let Some(server) = self.server {
            server.answers_changes_after(Duration::ZERO);
        }
        // One that came to its end says how long that takes now, on this machine: the next is killed well before. After one that did not, the next is given longer.
        let acts = if ended.killed { within.mul_f64(1.2) } else { ended.acted.unwrap_or(within).min(within) / 2 };
        self.acts.insert(act, acts.max(Duration::from_micros(100)));
        if let (true, Some(phase)) = (ended.killed, phase(&before, &lab.names())) {
            *self.met.entry((act, phase)).or_default() += 1;
        }
        lab.is_clean(&[]);
        if let (Act::Backup, Some(id)) = (act, reported(&ended.out)) {
            self.reported.insert(id, picture(&lab.source()));
        }
        self.whole_run(act);
        match act {
            // The newest is what the next run builds upon; every other time one of the others in turn.
            Act::Backup if round.is_multiple_of(2) => {
                let newest = lab.snapshots().pop().expect("a snapshot");
                self.restores(&newest);
            }
            Act::Backup => {
                let at = usize::try_from(round).unwrap() % self.reported.len();
                self.restores(self.reported.keys().nth(at).expect("counted"));
            }
            Act::Forget => {
                let there: BTreeSet<String> = lab.snapshots().into_iter().collect();
                let kept = &listed[listed.len().saturating_sub(KEEP)..];
                assert!(kept.iter().all(|id| there.contains(id)), "{kept:?} were to be kept, {there:?} are there");
                assert!(there.len() <= KEEP, "a forget after a killed one does not end it: {there:?}");
                self.reported.retain(|id, _| there.contains(id));
            }
            Act::Prune => self.all_restore(),
        }
    }

    fn restores(&self, id: &str) {
        assert!(self.lab.restored(id) == self.reported[id], "snapshot {id} restores to something else");
    }

    fn all_restore(&self) {
        for id in self.reported.keys() {
            self.restores(id);
        }
    }

    /// Kills restores. A file that was not finished does not look finished, and a second restore completes.
    fn kill_restores(&self) {
        let (lab, source) = (self.lab, self.lab.path("large"));
        std::fs::create_dir(&source).unwrap();
        for n in 0..LARGE_FILES {
            std::fs::write(source.join(format!("f{n}")), noise(n, LARGE_BYTES)).unwrap();
        }
        lab.run(&["backup", "large", "--source", "large"]).exits(0);
        let expected = picture(&source);
        let begun = Instant::now();
        lab.run(&["restore", "latest:large", "--target", "whole", "--limit-download", LARGE_SPEED]).exits(0);
        let whole = begun.elapsed();
        let mut in_the_middle = 0;
        for n in 0..RESTORES {
            let name = format!("half-{n}");
            let args = ["restore", "latest:large", "--target", &name, "--limit-download", LARGE_SPEED];
            let target = lab.path(&name);
            let has_begun = || std::fs::read_dir(&target).is_ok_and(|mut entries| entries.next().is_some());
            let ended = lab.kill_after(&args, has_begun, moment(self.seed, KILLS + 1 + n, whole / 2));
            let found = if target.exists() { picture(&target) } else { Picture::new() };
            in_the_middle += u64::from(ended.killed && !found.is_empty());
            for (path, bytes) in &found {
                let time = |dir: &Path| -> SystemTime { dir.join(path).metadata().unwrap().modified().unwrap() };
                if !expected.contains_key(path) {
                    let name = path.file_name().unwrap().to_string_lossy();
                    assert!(
                        name.starts_with(".homelab-dr-") && name.ends_with(".part"),
                        "{name} has a name of its own"
                    );
                    continue;
                }
                let is_whole = expected.get(path) == Some(bytes);
                assert!(is_whole || time(&target) != time(&source), "{} looks finished", path.display());
            }
            lab.run(&args).exits(0);
            assert!(picture(&target) == expected, "the second restore after a kill gives something else");
        }
        println!("{in_the_middle} of {RESTORES} restores were killed in the middle of {whole:?}");
        assert!(in_the_middle * 3 >= RESTORES, "only {in_the_middle} restores were killed in the middle");
    }

    fn met_enough(&self) -> bool {
        MET_MIN.iter().all(|(act, phases, times)| {
            let met: Vec<u64> = self.met.iter().filter(|((met, _), _)| met == act).map(|(_, times)| *times).collect();
            met.len() >= *phases && met.iter().sum::<u64>() >= *times
        })
    }

    /// Forgets most, prunes, and insists that what is left is what is needed.
    fn ends_tidy(&mut self) {
        let lab = self.lab;
        for args in [Act::Forget.args(), Act::Prune.args(), Act::Prune.args()] {
            lab.run(args).exits(0);
        }
        let there = lab.snapshots();
        assert_eq!(there.len(), KEEP);
        self.reported.retain(|id, _| there.contains(id));
        lab.is_clean(&["--read-data"]);
        self.all_restore();
        let stored: u64 = lab.sizes().values().sum();
        // Each snapshot differs from the one before in half of its files; packs may be used to four fifths.
        let needed = NEW_BYTES * (KEEP as u64 + 1) * 5 / 4;
        let overhead = 16 * lab.names().len() as u64 * 1024;
        assert!(stored <= needed + overhead, "{stored} bytes stored, {needed} needed in {} objects", lab.names().len());
    }
}

fn kill_loop(lab: &Lab, server: Option<&S3Server>) {
    let seed = std::env::var("HOMELAB_DR_KILL_SEED")
        .map_or_else(|_| u64::from(std::process::id()), |seed| seed.parse().expect("a number"));
    println!("HOMELAB_DR_KILL_SEED={seed}");
    let (reported, whole) = (BTreeMap::new(), BTreeMap::new());
    let mut all = Loop { lab, server, seed, reported, whole, acts: BTreeMap::new(), met: BTreeMap::new() };
    for day in 0..=KEEP as u64 {
        next_day(&lab.source(), 1000 + day);
        all.whole_run(Act::Backup);
    }
    all.whole_run(Act::Forget);
    all.whole_run(Act::Prune);
    let there = lab.snapshots();
    all.reported.retain(|id, _| there.contains(id));
    let mut kills = 0;
    while kills < KILLS || (kills < KILLS_MAX && !all.met_enough()) {
        kills += 1;
        all.round(kills);
    }
    all.all_restore();
    all.ends_tidy();
    all.kill_restores();

    let in_the_middle: u64 = all.met.values().sum();
    println!("{in_the_middle} of {kills} were killed in the middle of {:?}: {:?}", all.whole, all.met);
    assert!(in_the_middle * 3 >= kills, "only {in_the_middle} of {kills} runs were killed in the middle");
    assert!(all.met_enough(), "not killed often or not variously: {:?}", all.met);
}

#[test]
fn killed_again_and_again_on_a_directory() {
    let lab = Lab::new(|dir| dir.join("repository").to_str().unwrap().to_owned(), None);
    kill_loop(&lab, None);
    let temporary = lab.temporary();
    assert!(temporary as u64 <= KILLS * 4, "{temporary} temporary files after {KILLS} kills");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_on_a_bucket() {
    let server = S3Server::start(Rules::PLAIN).await;
    let objects = server.bucket_dir().join("repo");
    // The server goes on, on the other threads.
    tokio::task::block_in_place(|| kill_loop(&Lab::new(|_| server.address("repo"), Some(objects)), Some(&server)));
}

//! How long steps really took, by the journals of runs and drills of before: what an estimate goes by wherever there is such.
//!
//! Only a step that was begun once in its run and came to its end says how long it takes: of one that was cut off, failed, or was looked at again only a part was seen.
//! The newest counts. A journal that cannot be read says nothing here; whoever takes that run up is told.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::journal::{Found, Journal};
use super::plan::RunPlan;
use crate::base::id::is_run;
use crate::format::record::{RehearsalRecord, Rehearsed};

/// Journals that are read: the newest, some years of a drill a month.
const JOURNALS_MAX: usize = 48;
/// Less than this comes back too soon to say how fast a line is.
const TELLING_BYTES: u64 = 64 << 20;

/// Where to a run recovers. Another cluster has other disks, and still is nearer to the truth than what is assumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// This machine only.
    Machine,
    /// A folder that stands for a cluster.
    Folder,
    /// A cluster.
    Cluster,
}

impl Place {
    fn of(plan: &RunPlan) -> Self {
        match &plan.cluster {
            None => Self::Machine,
            Some(cluster) if cluster.folder.is_some() => Self::Folder,
            Some(_) => Self::Cluster,
        }
    }
}

/// When something was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// The run.
    pub run: String,
    /// When its plan was made, RFC 3339.
    pub made: String,
    /// It was a drill.
    pub drill: bool,
}

impl Ran {
    /// The day, as it is written.
    #[must_use]
    pub fn day(&self) -> &str {
        self.made.split('T').next().unwrap_or_default()
    }
}

/// How much a step brings back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Objects that are created or replaced.
    pub objects: u64,
}

impl Size {
    /// Of a step, by its plan.
    #[must_use]
    pub fn of(plan: &RunPlan, step: &str) -> Self {
        match (plan.fates.get(step), plan.chosen.get(step)) {
            (Some(fates), _) => Self {
                bytes: fates.bytes(),
                files: fates.fill.iter().map(|fill| fill.files).sum(),
                objects: (fates.create.len() + fates.replace.len()) as u64,
            },
            (None, Some(chosen)) => Self { bytes: chosen.bytes, files: chosen.files, objects: 0 },
            (None, None) => Self::default(),
        }
    }

    /// What is more of this than of another.
    #[must_use]
    pub const fn beyond(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            files: self.files.saturating_sub(other.files),
            objects: self.objects.saturating_sub(other.objects),
        }
    }
}

/// What a step took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Took {
    /// How long.
    pub time: Duration,
    /// How much it brought back.
    pub size: Size,
    /// When.
    pub ran: Ran,
}

/// What makes two steps the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Same {
    runbook: String,
    step: String,
    /// Another namespace is another application.
    values: BTreeMap<String, String>,
    source: String,
    place: Place,
    in_place: bool,
}

impl Same {
    fn of(plan: &RunPlan, step: &str, place: Place) -> Self {
        Self {
            runbook: plan.runbook.id.clone(),
            step: step.to_owned(),
            values: plan.values.clone(),
            source: plan.chosen.get(step).map(|chosen| chosen.source.clone()).unwrap_or_default(),
            place,
            in_place: plan.in_place.contains_key(step),
        }
    }
}

/// How long the whole of a runbook took in the last drill of it that came to its end, as the repository has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// The drill.
    pub ran: Ran,
    /// Seconds, begun ones counted.
    pub seconds: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Measured {
    steps: BTreeMap<Same, Took>,
    rates: BTreeMap<Place, (u64, Ran)>,
    drills: Vec<RehearsalRecord>,
}

impl Measured {
    /// What the journals in a folder say.
    #[must_use]
    pub fn look(dir: &Path) -> Self {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut runs: Vec<(i64, String)> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok().filter(|name| is_run(name))?;
                Some((entry.metadata().ok()?.mtime(), name))
            })
            .collect();
        runs.sort_by(|one, other| other.cmp(one));
        Self::of(runs.iter().take(JOURNALS_MAX).filter_map(|(_, run)| Journal::look(dir, run).ok()).collect())
    }

    /// What journals say.
    #[must_use]
    pub fn of(mut all: Vec<Found>) -> Self {
        all.sort_by(|one, other| (&other.plan.made, &other.plan.run).cmp(&(&one.plan.made, &one.plan.run)));
        let mut measured = Self::default();
        for Found { plan, records } in &all {
            let mut tries: BTreeMap<&str, u64> = BTreeMap::new();
            for record in records {
                if let Event::Begun { step } = &record.event {
                    *tries.entry(step).or_default() += 1;
                }
            }
            let place = Place::of(plan);
            let ran = Ran { run: plan.run.clone(), made: plan.made.clone(), drill: plan.drill.is_some() };
            let (mut bytes, mut millis) = (0_u64, 0_u64);
            for record in records {
                let Event::Done { step, took, .. } = &record.event else { continue };
                if tries.get(step.as_str()) != Some(&1) {
                    continue;
                }
                let size = Size::of(plan, step);
                if size.bytes >= TELLING_BYTES {
                    (bytes, millis) = (bytes.saturating_add(size.bytes), millis.saturating_add(*took));
                }
                let took = Took { time: Duration::from_millis(*took), size, ran: ran.clone() };
                measured.steps.entry(Same::of(plan, step, place)).or_insert(took);
            }
            // Steps that went on at once share the line: each for itself says too little rather than too much.
            let a_second = u128::from(bytes).saturating_mul(1000).checked_div(u128::from(millis)).unwrap_or_default();
            if let Some(rate) = u64::try_from(a_second).ok().filter(|rate| *rate > 0) {
                measured.rates.entry(place).or_insert((rate, ran));
            }
        }
        measured
    }

    /// The same, with the drills that the repository has, newest first.
    #[must_use]
    pub fn with_drills(mut self, drills: Vec<RehearsalRecord>) -> Self {
        self.drills = drills;
        self
    }

    /// What this step took when it was last carried out.
    #[must_use]
    pub fn step(&self, plan: &RunPlan, step: &str, place: Place) -> Option<&Took> {
        self.steps.get(&Same::of(plan, step, place))
    }

    /// Bytes that came back in a second, whatever they were of.
    #[must_use]
    pub fn rate(&self, place: Place) -> Option<&(u64, Ran)> {
        self.rates.get(&place)
    }

    /// What a runbook took in its last drill that came to its end.
    #[must_use]
    pub fn whole(&self, plan: &RunPlan) -> Option<Whole> {
        let of_sources = plan.drill.as_ref().is_some_and(|part| part.of_sources);
        let fills = plan.fates.values().flat_map(|fates| fates.fill.iter().map(|fill| fill.source.as_str()));
        let chosen = plan.chosen.iter().filter(|(step, _)| !plan.skipped.contains(*step));
        let sources: BTreeSet<&str> = chosen.map(|(_, chosen)| chosen.source.as_str()).chain(fills).collect();
        let is_same = |record: &&RehearsalRecord| {
            let is_book = match &record.runbook {
                Some(book) => !of_sources && book.id == plan.runbook.id,
                None => of_sources,
            };
            is_book && record.sources.iter().map(|source| source.source.as_str()).collect::<BTreeSet<_>>() == sources
        };
        let is_whole = |record: &&RehearsalRecord| matches!(record.outcome, Rehearsed::Passed | Rehearsed::Missed);
        let record = self.drills.iter().filter(is_whole).find(is_same)?;
        let ran = Ran { run: record.run.clone(), made: record.begun.to_string(), drill: true };
        record.took.map(|took| Whole { ran, seconds: took.div_ceil(1000) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Time;
    use crate::format::record::{RehearsedBook, RehearsedSource};
    use crate::runbook::Objectives;
    use crate::runs::event::Record;
    use crate::runs::plan::Chosen;
    use crate::runs::tests::plan;
    use crate::runs::verdict::{Holder, verdict};

    fn found(run: &str, made: &str, bytes: u64, events: Vec<Event>) -> Found {
        let mut plan = RunPlan { run: run.into(), made: made.into(), ..plan() };
        let chosen = Chosen {
            snapshot: String::new(),
            source: "photos".into(),
            started: String::new(),
            age: 0,
            files: 1,
            bytes,
        };
        plan.chosen.insert("files".into(), chosen);
        Found { plan, records: events.into_iter().map(|event| Record { at: String::new(), event }).collect() }
    }

    fn begun() -> Event {
        Event::Begun { step: "files".into() }
    }

    fn done(took: u64) -> Event {
        Event::Done { step: "files".into(), said: Vec::new(), took }
    }

    fn failed() -> Event {
        Event::Failed { step: "files".into(), why: String::new(), help: String::new(), took: 1, end_unseen: false }
    }

    #[test]
    fn the_newest_run_that_carried_a_step_out_in_one_go_says_how_long_it_takes() {
        let cut_off = vec![begun(), Event::CutOff { step: "files".into() }, begun(), done(10)];
        let all = vec![
            found("00000001", "2026-01-01T00:00:00Z", 640 << 20, vec![begun(), done(64_000)]),
            found("00000002", "2026-02-01T00:00:00Z", 640 << 20, vec![begun(), done(80_500)]),
            found("00000003", "2026-03-01T00:00:00Z", 640 << 20, cut_off),
            found("00000004", "2026-04-01T00:00:00Z", 640 << 20, vec![begun(), failed()]),
            found("00000005", "2026-05-01T00:00:00Z", 640 << 20, vec![begun()]),
        ];
        let measured = Measured::of(all);
        let again = found("00000006", "2026-06-01T00:00:00Z", 700 << 20, Vec::new()).plan;
        let took = measured.step(&again, "files", Place::Machine).expect("measured");
        assert_eq!((took.time.as_millis(), took.ran.run.as_str()), (80_500, "00000002"));
        let (rate, ran) = measured.rate(Place::Machine).expect("measured");
        assert_eq!((*rate, ran.run.as_str()), ((640 << 20) * 1000 / 80_500, "00000002"));
        assert!(measured.step(&again, "files", Place::Cluster).is_none(), "a cluster is another place");
        assert!(measured.step(&again, "other", Place::Machine).is_none());
        let of_another =
            RunPlan { runbook: super::super::plan::Book { id: "u".into(), ..again.runbook.clone() }, ..again };
        assert!(measured.step(&of_another, "files", Place::Machine).is_none(), "the same name in another runbook");
    }

    #[test]
    fn a_little_says_nothing_of_the_line_and_no_time_at_all_is_no_rate() {
        let measured =
            Measured::of(vec![found("00000001", "2026-01-01T00:00:00Z", 1 << 20, vec![begun(), done(1000)])]);
        assert!(measured.rate(Place::Machine).is_none());
        let measured = Measured::of(vec![found("00000001", "2026-01-01T00:00:00Z", 1 << 30, vec![begun(), done(0)])]);
        assert!(measured.rate(Place::Machine).is_none());
    }

    #[test]
    fn what_lies_in_the_folder_and_is_no_journal_says_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["5f0c1d2e", "5f0c1d2f", "notes"] {
            std::fs::create_dir(dir.path().join(name)).expect("made");
        }
        std::fs::write(dir.path().join("5f0c1d2e/journal.jsonl"), "{").expect("written");
        assert!(Measured::look(dir.path()).steps.is_empty());
        assert!(Measured::look(&dir.path().join("gone")).steps.is_empty());
    }

    fn drill(outcome: Rehearsed, runbook: Option<&str>, source: &str) -> RehearsalRecord {
        let holder = Holder { recipient: String::new(), host: String::new() };
        let objectives = Objectives { rto: None, rpo: None };
        let source = RehearsedSource {
            source: source.into(),
            snapshot: "0".repeat(64).parse().expect("an id"),
            started: Time(0),
            age: 0,
            bytes: 0,
            took: None,
            part: None,
        };
        RehearsalRecord {
            run: "0badcafe".into(),
            outcome,
            took: Some(7200),
            runbook: runbook.map(|id| RehearsedBook { id: id.into(), digest: String::new() }),
            sources: vec![source],
            ..verdict(&plan(), &[], objectives, 0, &[], holder)
        }
    }

    #[test]
    fn of_drills_the_newest_of_the_same_that_came_to_its_end_counts() {
        let now = found("00000006", "2026-06-01T00:00:00Z", 1, Vec::new()).plan;
        let whole = |drills| Measured::default().with_drills(drills).whole(&now).map(|whole| whole.seconds);
        assert_eq!(whole(vec![drill(Rehearsed::Failed, Some("t"), "photos")]), None);
        assert_eq!(whole(vec![drill(Rehearsed::Passed, Some("u"), "photos")]), None, "another runbook");
        assert_eq!(whole(vec![drill(Rehearsed::Passed, Some("t"), "mail")]), None, "another application");
        assert_eq!(whole(vec![drill(Rehearsed::Passed, None, "photos")]), None, "of sources alone");
        let all = vec![drill(Rehearsed::Stopped, Some("t"), "photos"), drill(Rehearsed::Missed, Some("t"), "photos")];
        assert_eq!(whole(all), Some(8), "begun seconds count");
    }
}

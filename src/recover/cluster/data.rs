//! Which snapshot each claim is filled from: of those of its own source the one that is nearest in time to the objects, or to a time that was asked for. One that is not whole, as
//! when its disk was away, makes way for the nearest that is; what was taken instead, or all the same, is told and ends with a problem.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::backup::volumes::claims::is_device;
use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::base::units;
use crate::base::when::{Listed as _, newest_first_key};
use crate::cluster::object::{at, items, text};
use crate::format::record::{SnapshotRecord, TreeRoot};
use crate::repo::snapshots::{Chain, Snapshot};
use crate::repo::whole::Lack;
use crate::volumes::quantity;

/// How the names of the sources of claims begin; namespace and claim follow.
pub(super) const SOURCE: &str = "pvc/";
/// What a file system takes for itself, on top of what is in its files: a sixteenth, and this.
const ROOM_BYTES: u64 = 16 << 20;

/// Which of a claim's snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum At {
    /// The nearest to the snapshot of the objects.
    #[default]
    Objects,
    /// The nearest to a time.
    Time(Time),
    /// The newest.
    Latest,
}

/// What a claim is filled from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Data {
    /// The snapshot's id.
    #[serde(serialize_with = "hex")]
    pub snapshot: ObjectId,
    /// The name of its source.
    pub source: String,
    /// When it was begun, as RFC 3339.
    #[serde(serialize_with = "rfc3339")]
    pub started: Time,
    /// How far that is from the objects.
    #[serde(rename = "apart-seconds", serialize_with = "seconds")]
    pub apart: Duration,
    /// Whether it is from before the objects were read.
    pub earlier: bool,
    /// Regular files.
    pub files: u64,
    /// Bytes in them, holes included.
    pub bytes: u64,
    /// It is of a block device.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub device: bool,
    /// It is whole, and nothing is in it.
    pub proven_empty: bool,
    /// Why it does not stand for all that the claim held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacks: Option<Lack>,
    /// The one that was meant and not taken.
    #[serde(rename = "passed-over", skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<PassedOver>,
    #[serde(skip)]
    pub(crate) root: TreeRoot,
}

/// A snapshot that is nearer than the one that was taken, and not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Its id.
    #[serde(serialize_with = "hex")]
    pub snapshot: ObjectId,
    /// When it was begun, as RFC 3339.
    #[serde(serialize_with = "rfc3339")]
    pub started: Time,
    /// Why it was not taken.
    #[serde(flatten)]
    pub lacks: Lack,
}

fn hex<S: serde::Serializer>(id: &ObjectId, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&id.hex())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn rfc3339<S: serde::Serializer>(time: &Time, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&time.to_string())
}

fn seconds<S: serde::Serializer>(apart: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(apart.as_secs())
}

/// By namespace and claim, as they are in the snapshot of the objects.
pub type Volumes = BTreeMap<(String, String), Data>;

impl Data {
    /// Of a snapshot of a chain, seen from a time.
    #[must_use]
    pub fn of(chain: &Chain, snapshot: &Snapshot, objects: Time) -> Self {
        let record = &snapshot.record;
        let statistics = record.statistics;
        // The top of the volume is a directory itself.
        let holds_nothing = statistics.files == 0 && statistics.others == 0 && statistics.directories <= 1;
        let lacks = chain.lack(snapshot);
        Self {
            snapshot: snapshot.id,
            source: record.source.clone(),
            started: record.started,
            apart: Duration::from_millis(record.started.0.abs_diff(objects.0)),
            earlier: record.started < objects,
            files: statistics.files,
            bytes: statistics.bytes,
            device: record.device == Some(true),
            proven_empty: holds_nothing && lacks.is_none(),
            lacks,
            passed_over: None,
            root: record.root,
        }
    }

    /// Whether more was in the claim than comes back with it, as far as anybody knows: then its restore is no success.
    #[must_use]
    pub const fn is_doubtful(&self) -> bool {
        self.lacks.is_some() || self.passed_over.is_some()
    }

    /// Why what comes back is perhaps not all that was in the claim.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        let passed_over = self.passed_over.as_ref();
        let passed_over = passed_over.map(|PassedOver { snapshot, started, lacks }| {
            format!("{} of {started} is nearer, but {lacks}: NOT taken", snapshot.short())
        });
        let lacks = self.lacks.as_ref().map(|lack| format!("{} {lack}", self.snapshot.short()));
        let doubts: Vec<String> = passed_over.into_iter().chain(lacks).collect();
        (!doubts.is_empty()).then(|| doubts.join("; "))
    }

    /// What a volume has to have for it.
    #[must_use]
    pub const fn needs(&self) -> u64 {
        if self.device {
            return self.bytes;
        }
        self.bytes.saturating_add(self.bytes / 16).saturating_add(ROOM_BYTES)
    }

    /// For people: how far it is from the objects; `None` where it is restored without any, or is of their time.
    #[must_use]
    pub fn distance(&self) -> Option<String> {
        let side = if self.earlier { "before" } else { "after" };
        let apart = Duration::from_secs(self.apart.as_secs());
        (!apart.is_zero()).then(|| format!("{} {side} the objects", units::duration(apart)))
    }
}

/// Namespace and name of the claim that a source is of.
#[must_use]
pub fn claim_of_source(source: &str) -> Option<(String, String)> {
    let (namespace, claim) = source.strip_prefix(SOURCE)?.split_once('/')?;
    (!claim.contains('/')).then(|| (namespace.to_owned(), claim.to_owned()))
}

/// Chooses for every claim that has snapshots. `objects` are those of the objects. The nearest to them is what the same run of `backup` has made, however long that took: what is
/// nearer by the clock, of a run before or after it, is of another state.
#[must_use]
pub fn choose(chain: &Chain, objects: &SnapshotRecord, at: At) -> Volumes {
    let (run, objects) = (objects.run.as_ref().filter(|_| at == At::Objects), objects.started);
    let mut of_claims: BTreeMap<(String, String), Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in chain.snapshots.iter().filter(|one| !one.is_aside()) {
        let Some(key) = claim_of_source(&snapshot.record.source) else { continue };
        of_claims.entry(key).or_default().push(snapshot);
    }
    let far = |one: &Snapshot| match at {
        At::Objects => one.record.started.0.abs_diff(objects.0),
        At::Time(time) => one.record.started.0.abs_diff(time.0),
        At::Latest => 0,
    };
    let is_of_another = |one: &Snapshot| run.is_some_and(|run| one.record.run.as_ref() != Some(run));
    let data = |mut snapshots: Vec<&Snapshot>| {
        // Of two that are as far the newer, by the order in which they were made, whatever the clocks said.
        snapshots.sort_by_key(|one| (is_of_another(one), far(one), Reverse(newest_first_key(*one))));
        of_nearest(chain, &snapshots, objects)
    };
    of_claims.into_iter().filter_map(|(key, snapshots)| Some((key, data(snapshots)?))).collect()
}

/// The first of these if it is whole; else the first whole one that holds something, since one of nothing is whole too; else the first that holds something.
fn of_nearest(chain: &Chain, nearest_first: &[&Snapshot], objects: Time) -> Option<Data> {
    let nearest = *nearest_first.first()?;
    let Some(lacks) = chain.lack(nearest) else { return Some(Data::of(chain, nearest, objects)) };
    let first = |is: fn(&Snapshot) -> bool| nearest_first.iter().copied().find(|one| is(one));
    let other = first(Snapshot::is_whole_by_itself).or_else(|| first(|one| !one.holds_nothing())).unwrap_or(nearest);
    let passed_over =
        (other.id != nearest.id).then_some(PassedOver { snapshot: nearest.id, started: nearest.record.started, lacks });
    Some(Data { passed_over, ..Data::of(chain, other, objects) })
}

/// Whether a captured claim never had a volume: then nothing of it was lost.
pub(super) fn never_bound(captured: &Value) -> bool {
    text(captured, &["spec", "volumeName"]).is_empty() && text(captured, &["status", "phase"]) == "Pending"
}

/// Why what a snapshot holds does not go into a claim, and what to do about it: a device is no directory.
pub(super) fn unlike(claim: &Value, data: &Data) -> Option<(&'static str, &'static str)> {
    match (is_device(claim), data.device) {
        (true, false) if !data.proven_empty => Some((
            "the claim is a block device (volumeMode: Block), and the snapshot holds files",
            "restore it by itself into a claim that is made for it: --into-claim NAMESPACE/NAME",
        )),
        (false, true) => Some((
            "the snapshot is of a block device, and the claim is a file system (volumeMode: Filesystem)",
            "restore it by itself into a claim that is made for it: --into-claim NAMESPACE/NAME",
        )),
        _ => None,
    }
}

/// Has a claim ask for as much as its data needs; says what it asks for now, if that is more than before.
pub(super) fn make_room(claim: &mut Value, data: &Data) -> Option<String> {
    let asked = text(claim, &["spec", "resources", "requests", "storage"]).to_owned();
    let needs = data.needs();
    if data.proven_empty || quantity::bytes(&asked).is_some_and(|asked| asked >= needs) {
        return None;
    }
    let mebibytes = format!("{}Mi", needs.div_ceil(1 << 20));
    let limit = at(claim, &["spec", "resources", "limits", "storage"]).clone();
    let requests = claim.pointer_mut("/spec/resources/requests").and_then(Value::as_object_mut)?;
    requests.insert("storage".to_owned(), mebibytes.clone().into());
    if !limit.is_null()
        && let Some(limits) = claim.pointer_mut("/spec/resources/limits").and_then(Value::as_object_mut)
    {
        limits.insert("storage".to_owned(), mebibytes.clone().into());
    }
    Some(format!("asks for {mebibytes}, not {asked}: its data needs it"))
}

/// Every claim that something of an object names, at any depth: also objects of custom kinds with a template of a pod in them.
pub(super) fn names_claims(object: &Value, names: &mut Vec<String>) {
    match object {
        Value::Object(fields) => {
            if let Some(name) = fields.get("persistentVolumeClaim").and_then(|claim| claim.get("claimName")) {
                names.extend(name.as_str().map(str::to_owned));
            }
            fields.values().for_each(|value| names_claims(value, names));
        }
        Value::Array(values) => values.iter().for_each(|value| names_claims(value, names)),
        _ => {}
    }
}

/// How the claims of a stateful set's templates are named, but for the number at the end.
pub(super) fn templates_of(object: &Value) -> impl Iterator<Item = String> + '_ {
    let set = text(object, &["metadata", "name"]);
    let templates = items(object, &["spec", "volumeClaimTemplates"]).iter();
    templates.map(move |template| format!("{}-{set}-", text(template, &["metadata", "name"])))
}

/// The number of the pod whose claim this is, if it is one of the template.
pub(super) fn ordinal<'a>(template: &str, claim: &'a str) -> Option<&'a str> {
    claim.strip_prefix(template).filter(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::format::record::Statistics;
    use crate::repo::whole::tests::{aside, snapshot as made};

    fn snapshot(id: u8, source: &str, minute: i64, sequence: u64) -> Snapshot {
        made(id, source, (minute, sequence), 100, 0)
    }

    /// The record of objects that were read in a minute.
    fn read_at(minutes: i64) -> SnapshotRecord {
        snapshot(99, "cluster", minutes, 99).record
    }

    #[test]
    fn what_the_same_run_made_is_nearest_whatever_the_clock_says() {
        let of_run = |mut one: Snapshot, run: &str| {
            one.record.run = (!run.is_empty()).then(|| run.to_owned());
            one
        };
        let one = |id: u8, minute: i64, run: &str| of_run(snapshot(id, "pvc/a/b", minute, u64::from(id)), run);
        let taken = |all: Vec<Snapshot>, run: &str, at: At| {
            let mut objects = read_at(61);
            objects.run = (!run.is_empty()).then(|| run.to_owned());
            let chosen = choose(&Chain { snapshots: all, ..Chain::default() }, &objects, at);
            chosen[&("a".to_owned(), "b".to_owned())].snapshot.as_bytes()[0]
        };
        let all = || vec![one(1, 60, "first"), one(2, 90, "second"), one(3, 62, "third")];
        assert_eq!(taken(all(), "second", At::Objects), 2);
        assert_eq!(taken(all(), "first", At::Objects), 1);
        // Asked for otherwise, of a run that has none, or of none at all.
        assert_eq!(taken(all(), "second", At::Time(Time(60 * 60_000))), 1);
        assert_eq!(taken(all(), "second", At::Latest), 3);
        assert_eq!(taken(all(), "another", At::Objects), 3);
        assert_eq!(taken(all(), "", At::Objects), 3);
        assert_eq!(taken(vec![one(1, 60, ""), one(2, 90, "")], "second", At::Objects), 1);
        // One of that run that is not whole makes way as any other does.
        let mut emptied = vec![one(1, 60, "first"), one(2, 90, "second")];
        emptied[1] = of_run(made(2, "pvc/a/b", (90, 2), 0, 0), "second");
        assert_eq!(taken(emptied, "second", At::Objects), 1);
    }

    fn chain() -> Chain {
        let snapshots = vec![
            snapshot(1, "pvc/media/data", 0, 1),
            snapshot(2, "pvc/media/data", 60, 2),
            snapshot(3, "pvc/media/data", 120, 3),
            snapshot(4, "photos", 61, 4),
            snapshot(5, "pvc/media/a/b", 61, 5),
            snapshot(6, "pvc/home/x", 500, 6),
        ];
        Chain { snapshots, ..Chain::default() }
    }

    #[test]
    fn the_nearest_is_taken_or_the_one_that_was_asked_for() {
        let id = |objects: i64, at: At| {
            let chosen = choose(&chain(), &read_at(objects), at);
            assert_eq!(chosen.len(), 2, "only claims");
            let data = &chosen[&("media".to_owned(), "data".to_owned())];
            (data.snapshot.as_bytes()[0], data.distance().unwrap_or_default())
        };
        assert_eq!(id(61, At::Objects), (2, "1m before the objects".to_owned()));
        assert_eq!(id(95, At::Objects).0, 3);
        assert_eq!(id(90, At::Objects).0, 3, "of two that are as far the newer");
        assert_eq!(id(90, At::Time(Time(10 * 60_000))).0, 1);
        assert_eq!(id(0, At::Latest), (3, "2h after the objects".to_owned()));
    }

    /// What is taken of these, and what it and a nearer one lack.
    fn taken(snapshots: Vec<Snapshot>, objects: i64, at: At) -> (u8, Option<Lack>, Option<(u8, Lack)>) {
        let chain = Chain { snapshots, ..Chain::default() };
        let chosen = choose(&chain, &read_at(objects), at);
        let data = &chosen[&("a".to_owned(), "b".to_owned())];
        assert!(!data.is_doubtful() || !data.proven_empty, "{data:?}");
        let passed = data.passed_over.as_ref().map(|over| (over.snapshot.as_bytes()[0], over.lacks));
        (data.snapshot.as_bytes()[0], data.lacks, passed)
    }

    #[test]
    fn one_that_is_not_whole_makes_way_for_the_nearest_that_is() {
        let one = |id: u8, minute: i64, files: u64, problems: u64| {
            made(id, "pvc/a/b", (minute, u64::from(id)), files, problems)
        };
        let id = |id: u8| ObjectId::new([id; 32]);
        let emptied = Lack::Emptied { held: id(1) };
        let problems = |whole: Option<u8>| Lack::Problems { problems: 2, whole: whole.map(id) };
        for at in [At::Objects, At::Latest, At::Time(Time(60 * 60_000))] {
            // The disk was away; something could not be read; both, one after the other.
            assert_eq!(taken(vec![one(1, 0, 5, 0), one(2, 60, 0, 0)], 61, at), (1, None, Some((2, emptied))));
            let broken = vec![one(1, 0, 5, 0), one(2, 60, 5, 2)];
            assert_eq!(taken(broken, 61, at), (1, None, Some((2, problems(Some(1))))));
            let both = vec![one(1, 0, 5, 2), one(2, 60, 0, 0)];
            assert_eq!(taken(both, 61, at), (1, Some(problems(None)), Some((2, emptied))));
            // Nothing is whole, or whole and empty from before anything was there: that is no better.
            assert_eq!(taken(vec![one(1, 0, 0, 0), one(2, 60, 5, 2)], 61, at), (2, Some(problems(None)), None));
            assert_eq!(taken(vec![one(1, 0, 0, 0), one(2, 60, 0, 0)], 61, at), (2, None, None));
        }
        // A safety copy is never meant, however near.
        assert_eq!(taken(vec![one(1, 0, 5, 0), aside(one(2, 60, 5, 0))], 61, At::Latest), (1, None, None));
        // The first backup was of an application that had not begun: nothing was there then.
        assert_eq!(taken(vec![one(1, 0, 0, 0), one(2, 60, 5, 0)], 1, At::Objects), (1, None, None));
    }

    #[test]
    fn a_claim_asks_for_what_its_data_needs_and_never_for_less() {
        let data = Data::of(&Chain::default(), &snapshot(1, "pvc/a/b", 0, 1), Time(0));
        let claim =
            |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}, "limits": {"storage": size}}}});
        let mut small = claim("64Mi");
        assert_eq!(make_room(&mut small, &data).as_deref(), Some("asks for 123Mi, not 64Mi: its data needs it"));
        assert_eq!(small, claim("123Mi"));
        let mut large = claim("1Gi");
        assert_eq!((make_room(&mut large, &data), large), (None, claim("1Gi")));
        let empty = Data { proven_empty: true, ..data };
        assert_eq!(make_room(&mut claim("1Mi"), &empty), None);
    }

    #[test]
    fn only_a_whole_snapshot_of_nothing_proves_that_there_was_nothing() {
        let mut one = snapshot(1, "pvc/a/b", 0, 1);
        let proven = |one: &Snapshot| Data::of(&Chain::default(), one, Time(0)).proven_empty;
        assert!(!proven(&one));
        one.record.statistics = Statistics { directories: 1, ..Statistics::default() };
        assert!(proven(&one));
        one.record.statistics.problems = 1;
        assert!(!proven(&one));
        one.record.statistics = Statistics { directories: 2, ..Statistics::default() };
        assert!(!proven(&one));
    }

    #[test]
    fn claims_are_found_wherever_they_are_named() {
        let mut names = Vec::new();
        let custom =
            json!({"spec": {"parts": [{"pod": {"volumes": [{"persistentVolumeClaim": {"claimName": "a"}}]}}]}});
        names_claims(&custom, &mut names);
        assert_eq!(names, ["a"]);
        assert_eq!((ordinal("data-db-", "data-db-12"), ordinal("data-db-", "data-db-x")), (Some("12"), None));
    }
}

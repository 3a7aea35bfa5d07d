//! What a check found: plain data, to be printed, compared and kept.

use std::collections::BTreeSet;
use std::fmt::Display;

use serde::Serialize;

use crate::base::clock::Time;
use crate::base::id::ObjectId;

/// How many snapshots a finding spells out; [`Affected::snapshots_total`] has the number.
pub const SNAPSHOTS_MAX: usize = 100;
/// How many files of a snapshot a finding spells out.
pub const EXAMPLES_MAX: usize = 10;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing is wrong; somebody may want to know.
    Note,
    /// Nothing is lost, but something is not as it should be.
    Warning,
    /// The repository is not whole: something that belongs to it is missing, changed or cannot be read.
    Damage,
}

/// What kind of thing is wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// It is not there.
    Missing,
    /// It is there with another size.
    Size,
    /// Its bytes do not match its name.
    Name,
    /// The store could not read it.
    Unreadable,
    /// It does not open, or opens to something that makes no sense.
    Unopened,
    /// Blobs in it are not what the index says.
    Blobs,
    /// A record of the chain of snapshots that another names is gone and nobody forgot it.
    Gap,
    /// What a snapshot needs is in no index segment.
    NotIndexed,
    /// No index segment names it.
    Unindexed,
    /// It is no object of a repository.
    Foreign,
    /// It has the name of an object and lies elsewhere.
    Misplaced,
    /// There is parity, and not of everything.
    Uncovered,
    /// It was sealed with a writer key that was retired.
    Retired,
}

/// What can be done about it; the command line has the words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hint {
    /// Nothing.
    Nothing,
    /// Copy the object back from a replica or from an older version of it.
    CopyFromReplica,
    /// Copy it back; where there is no copy, back up again: what the sources still hold is stored anew.
    CopyOrBackUp,
    /// Copy it back; where there is no copy, mark it with `check --read-data --mark-damaged` and back up again: what the sources still hold is stored anew.
    CopyOrMark,
    /// It is marked already: back up again, and what the sources still hold is stored anew.
    BackUpAgain,
    /// Move it to where it belongs.
    PutInPlace,
    /// The index can be made again from the packs.
    RebuildIndex,
    /// Write a new access object with an identity (by changing the recipients to what they are).
    WriteAccess,
    /// Copy it back; where there is no copy, find out who removed it, and give it up.
    Lost,
    /// `prune` takes it away in time.
    Prune,
    /// Read all data with an identity: what is good is recorded anew.
    VerifyAgain,
    /// Hold another drill; this one is lost.
    DrillAgain,
    /// Bring it back with `check --repair`: its group has enough parity.
    Rebuild,
    /// Make parity anew.
    MakeParity,
    /// Read again; if it stays, look at the disk or the provider.
    ReadAgain,
}

/// A snapshot that is not whole because of a finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AffectedSnapshot {
    /// Its id.
    pub id: ObjectId,
    /// Its source.
    pub source: String,
    /// When it began.
    pub started: Time,
    /// Files that cannot be read whole.
    pub files: u64,
    /// Entries of parts of the tree that cannot be read: nothing is known of them but their number.
    pub unknown_entries: u64,
    /// Some of the files; a part of the tree is named by its first path and ` …`.
    pub examples: Vec<String>,
}

/// What cannot be read because of a finding.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Affected {
    /// How many snapshots.
    pub snapshots_total: u64,
    /// The newest of them, at most [`SNAPSHOTS_MAX`].
    pub snapshots: Vec<AffectedSnapshot>,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The object's name, such as `packs/3f/3f9a…`.
    pub object: String,
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing it is.
    pub problem: Problem,
    /// What is wrong, for people.
    pub what: String,
    /// What cannot be read because of it.
    pub affected: Affected,
    /// What can be done.
    pub hint: Hint,
}

impl Finding {
    pub(super) fn new(
        object: &dyn Display,
        severity: Severity,
        problem: Problem,
        what: impl Into<String>,
        hint: Hint,
    ) -> Self {
        let affected = Affected::default();
        Self { object: object.to_string(), severity, problem, what: what.into(), affected, hint }
    }

    pub(super) fn damage(object: &dyn Display, problem: Problem, what: impl Into<String>, hint: Hint) -> Self {
        Self::new(object, Severity::Damage, problem, what, hint)
    }

    pub(super) fn note(object: &dyn Display, problem: Problem, what: impl Into<String>, hint: Hint) -> Self {
        Self::new(object, Severity::Note, problem, what, hint)
    }
}

/// What was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// Objects listed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that the index names.
    pub packs: u64,
    /// Blobs that the index names, copies counted.
    pub blobs: u64,
    /// Index segments.
    pub index_segments: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Metadata blobs (nodes, leaves, lists) that were opened for the structure.
    pub metadata_blobs: u64,
    /// Files in them, each leaf counted once however many snapshots share it.
    pub files: u64,
    /// References to data blobs that were looked up.
    pub references: u64,
    /// Objects whose bytes were read whole and compared with their names.
    pub objects_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Blobs whose sealed bytes were compared with the index.
    pub blobs_read: u64,
    /// Blobs that were decrypted, decompressed and compared with their ids.
    pub blobs_opened: u64,
}

/// What parity covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Cover {
    /// Packs that should be covered: those that the index names and no mark does.
    pub packs: u64,
    /// Those of them that are in a group which stands the loss of one more.
    pub covered: u64,
    /// Groups.
    pub groups: u64,
    /// Groups that stand less than they promise.
    pub short: u64,
    /// Parity objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How far a check went.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, read by machines")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Depth {
    /// A key was held: the index, the snapshots and the trees could be read.
    pub keyed: bool,
    /// The trees were followed.
    pub structure: bool,
    /// Percent of the packs that were read.
    pub read_percent: u8,
    /// An identity was held: what was read was also decrypted, content included.
    pub decrypted: bool,
    /// The repository's fingerprint was compared with a pinned one.
    pub verified: bool,
}

/// The result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The store's address.
    pub store: String,
    /// How far it went.
    pub depth: Depth,
    /// What was looked at.
    pub counts: Counts,
    /// What parity covers; `None` where there is none, and without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cover: Option<Cover>,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// Packs whose bytes are not those that their names promise, and that no mark names: `--mark-damaged` dooms them.
    pub unsound: Vec<ObjectId>,
    /// Snapshots of which every content blob was read, decrypted and compared with its id; empty unless all data was read with an identity.
    pub verified: Vec<ObjectId>,
}

impl Report {
    /// Whether anything is missing, changed or unreadable.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.worst() == Some(Severity::Damage)
    }

    /// The worst severity found.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Snapshots that lack something, each once; of damage that affects very many only the newest.
    #[must_use]
    pub fn damaged(&self) -> Vec<ObjectId> {
        let damage = self.findings.iter().filter(|finding| finding.severity == Severity::Damage);
        let found: BTreeSet<ObjectId> =
            damage.flat_map(|finding| finding.affected.snapshots.iter().map(|snapshot| snapshot.id)).collect();
        found.into_iter().collect()
    }

    pub(super) fn sort(&mut self) {
        self.findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.object.cmp(&b.object)));
    }
}

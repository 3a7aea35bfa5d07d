//! Which way each claim is captured: decided from facts and policy alone, as plain data with its reason.
//!
//! ```text
//! left out? (annotation of the claim, of its namespace, configuration) ─ has it data? ─ may it be read raw? ─ snapshot → clone → live ─ refused
//! ```
//! The first way that works is taken; a way that somebody asked for is the only one tried. Every claim gets an answer: none is passed over in silence.

pub mod live;
pub mod policy;
mod storage;
#[cfg(test)]
mod tests;
pub(crate) mod wish;

use serde::{Deserialize, Serialize};

use super::facts::{Claim, Facts, Namespace, Phase, Volume, Wishes};
use super::labels::{BACKUP, MODE};
use policy::{Mode, Policy};
use wish::{Wish, wish};

/// What is decided for one claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub claim: String,
    /// Its uid: another claim of that name is another matter.
    pub uid: String,
    /// The way.
    pub way: Way,
    /// Why this one, for the record.
    pub reason: String,
    /// What is not as good about it as one would wish.
    pub cautions: Vec<String>,
}

/// A way to capture a claim, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// By a CSI `VolumeSnapshot` that is handed over to our namespace.
    Snapshot {
        /// The `VolumeSnapshotClass`.
        class: String,
        /// The claim that is made from it.
        copy: Copy,
    },
    /// By a CSI clone in the claim's own namespace.
    Clone {
        /// The claim that is made from it.
        copy: Copy,
    },
    /// By mounting the claim itself, for reading.
    Live {
        /// The node that it has to happen on, by name (for an affinity to `metadata.name`, never for `nodeName`: the scheduler places the mover). Without
        /// one it is any that the volume can be mounted on, which the scheduler knows from the volume.
        node: Option<String>,
        /// The pod that uses it, in the claim's namespace, if one does.
        beside: Option<String>,
    },
    /// It never had a volume: there is nothing to capture, and this is so for certain.
    Empty,
    /// Somebody wants it left out.
    Excluded {
        /// Who: which annotation or configuration.
        by: String,
    },
    /// It cannot be captured. Whoever counts what is covered has to fail.
    Refused {
        /// Why.
        why: String,
        /// What its owner can do.
        mend: String,
    },
}

/// What a claim that is made from another is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    /// Its `StorageClass`.
    pub storage_class: String,
    /// Its least size in bytes.
    pub bytes: u64,
    /// Whether it is a raw block device.
    pub block: bool,
    /// Whether its volume is made only when a pod needs it.
    pub waits_for_consumer: bool,
}

/// A way that cannot be taken.
#[derive(Debug, Clone)]
pub(crate) struct No {
    pub(crate) why: String,
    pub(crate) mend: String,
}

/// A way that can be taken.
struct Yes {
    way: Way,
    reason: String,
    cautions: Vec<String>,
}

fn no<T>(why: impl Into<String>, mend: impl Into<String>) -> Result<T, No> {
    Err(No { why: why.into(), mend: mend.into() })
}

/// For every claim, in the order of the facts.
#[must_use]
pub fn choose(facts: &Facts, policy: &Policy) -> Vec<Choice> {
    facts.claims.iter().map(|claim| one(&Choosing { facts, policy, claim })).collect()
}

/// A claim that is decided about.
struct Choosing<'a> {
    facts: &'a Facts,
    policy: &'a Policy,
    claim: &'a Claim,
}

fn one(it: &Choosing<'_>) -> Choice {
    let Yes { way, reason, cautions } = it.decide().unwrap_or_else(|No { why, mend }| Yes {
        reason: why.clone(),
        way: Way::Refused { why, mend },
        cautions: Vec::new(),
    });
    let Claim { namespace, name, uid, .. } = it.claim;
    Choice { namespace: namespace.clone(), claim: name.clone(), uid: uid.clone(), way, reason, cautions }
}

fn plain(way: Way, reason: impl Into<String>) -> Yes {
    Yes { way, reason: reason.into(), cautions: Vec::new() }
}

fn excluded_by(by: String) -> Yes {
    Yes { reason: format!("left out by {by}"), way: Way::Excluded { by }, cautions: Vec::new() }
}

impl<'a> Choosing<'a> {
    fn decide(&self) -> Result<Yes, No> {
        if let Some(yes) = self.left_out()? {
            return Ok(yes);
        }
        let Some(volume) = self.data()? else {
            return Ok(plain(Way::Empty, "it never had a volume: there is no data"));
        };
        self.database()?;
        match self.mode()? {
            Some((mode, by)) => self
                .by(mode, volume, true)
                .map_err(|no| No { why: format!("{} (the only way that {by} allows)", no.why), mend: no.mend }),
            None => self.best(volume),
        }
    }

    fn namespace(&self) -> Option<&'a Namespace> {
        self.facts.namespaces.get(&self.claim.namespace)
    }

    /// Whether somebody wants it left out: the nearest wish counts.
    fn left_out(&self) -> Result<Option<Yes>, No> {
        let claim = self.claim;
        if let Some(run) = &claim.run {
            return Ok(Some(excluded_by(format!("homelab-dr: run {run} made it and removes it"))));
        }
        let nothing = Wishes::default();
        let space = self.namespace().map_or(&nothing, |namespace| &namespace.wishes);
        let excluded = self.policy.excludes(&claim.namespace, &claim.name);
        Ok(match wish(&claim.wishes, space, &claim.namespace, excluded)? {
            Wish::Out { by } => Some(excluded_by(by)),
            Wish::Taken => None,
            // Who says of a whole namespace that it is taken does not mean scratch space.
            Wish::Nothing => self.ephemeral(),
        })
    }

    /// Scratch space of a pod, which goes with it and cannot come back under its name.
    fn ephemeral(&self) -> Option<Yes> {
        let owner = self
            .facts
            .pods
            .iter()
            .find(|pod| pod.namespace == self.claim.namespace && pod.ephemeral.contains(&self.claim.name))?;
        Some(excluded_by(format!("pod {}: an ephemeral volume, deleted with it", owner.name)))
    }

    /// The volume that has its data; `None` if there never was one.
    fn data(&self) -> Result<Option<&'a Volume>, No> {
        let claim = self.claim;
        let dying = self.namespace().is_some_and(|namespace| namespace.dying);
        if claim.dying || dying {
            let what = if claim.dying { "it" } else { "its namespace" };
            return no(format!("{what} is being deleted"), "wait until it is gone; what still uses it keeps it");
        }
        let exclude = format!("or leave it out with the annotation {BACKUP}: \"false\"");
        match (claim.phase, &claim.volume, &claim.filled_from) {
            (Phase::Lost, volume, _) => {
                let volume = volume.as_deref().unwrap_or("its volume");
                no(format!("it lost its data: {volume} is gone"), format!("restore it, delete the claim, {exclude}"))
            }
            (Phase::Pending, Some(volume), _) => {
                let why = format!("it waits for the volume {volume} and is not bound");
                no(why, format!("see `kubectl describe` of the claim, {exclude}"))
            }
            (Phase::Pending, None, Some(source)) => {
                let why = format!("it is still to be filled from {source}");
                no(why, format!("start the pod that uses it, {exclude}"))
            }
            (Phase::Pending, None, None) => Ok(None),
            (Phase::Bound, name, _) => {
                let name = name.as_deref().unwrap_or_default();
                let Some(volume) = self.facts.volumes.get(name) else {
                    return no(
                        format!("its volume {name:?} is not there"),
                        "run again; the claim may have changed meanwhile",
                    );
                };
                if volume.claim_uid.as_ref().is_some_and(|uid| *uid != claim.uid) {
                    let why = format!("its volume {name} belongs to another claim");
                    return no(why, format!("see `kubectl describe pv {name}`, {exclude}"));
                }
                Ok(Some(volume))
            }
        }
    }

    /// Raw files of a database that an operator runs make a broken database: it is recovered through its operator.
    fn database(&self) -> Result<(), No> {
        const GROUP: &str = "postgresql.cnpg.io";
        const LABEL: &str = "cnpg.io/cluster";
        let owner = self.claim.owners.iter().find(|owner| owner.group == GROUP && owner.kind == "Cluster");
        let cluster = owner.map(|owner| owner.name.as_str()).or(self.claim.labels.get(LABEL).map(String::as_str));
        match cluster {
            Some(cluster) => no(
                format!(
                    "it belongs to the PostgreSQL cluster {cluster} of CloudNativePG, which raw files do not bring back"
                ),
                format!(
                    "back the database up through CloudNativePG or with pg_dump, and leave this claim out with {BACKUP}: \"false\", or name the dump under cnpg"
                ),
            ),
            None => Ok(()),
        }
    }

    /// The only way that is wanted, and by whom.
    fn mode(&self) -> Result<Option<(Mode, String)>, No> {
        let near = (self.claim.wishes.mode.as_deref(), "of the claim".to_owned());
        let far = self.namespace().and_then(|namespace| namespace.wishes.mode.as_deref());
        let far = (far, format!("of namespace {}", self.claim.namespace));
        for (wish, whose) in [near, far] {
            let Some(text) = wish else { continue };
            let Some(mode) = Mode::parse(text) else {
                let why = format!("annotation {MODE} {whose} is {text:?}");
                return no(why, format!("write snapshot, clone or live into {MODE}"));
            };
            return Ok(Some((mode, format!("annotation {MODE} {whose}"))));
        }
        Ok(None)
    }

    fn by(&self, mode: Mode, volume: &'a Volume, asked: bool) -> Result<Yes, No> {
        match mode {
            Mode::Snapshot => self.snapshot(volume),
            Mode::Clone => self.cloned(volume),
            Mode::Live => self.live(volume, asked),
        }
    }

    fn best(&self, volume: &'a Volume) -> Result<Yes, No> {
        let mut against = Vec::new();
        let mut mend = String::new();
        for (mode, name) in [(Mode::Snapshot, "snapshot"), (Mode::Clone, "clone"), (Mode::Live, "live mount")] {
            match self.by(mode, volume, false) {
                Ok(mut yes) => {
                    against.insert(0, yes.reason);
                    yes.reason = against.join("; ");
                    return Ok(yes);
                }
                Err(no) => {
                    against.push(format!("no {name}: {}", no.why));
                    // The last way is the one that nearly every volume has: what is in its way is what can be mended.
                    mend = no.mend;
                }
            }
        }
        no(against.join("; "), mend)
    }
}

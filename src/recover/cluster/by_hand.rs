//! Volumes that somebody has made, and claims that get one of them or wait for ever: what the controller that binds them will do. Pure.
//!
//! That a claim waits it says only where that is sure: not where something may make volumes out of disks later, and of several claims that would get the same free volume each is said to get it.

use serde_json::{Value, json};

use crate::cluster::object::{at, is_dying, items, name_of, namespace_of, text};
use crate::volumes::left::patch;
use crate::volumes::{kinds, quantity};

/// A volume of the cluster, as far as a claim has to know it.
#[derive(Debug)]
pub(super) struct Volume {
    name: String,
    labels: Value,
    class: String,
    modes: Vec<String>,
    bytes: Option<u64>,
    mode: String,
    is_dying: bool,
    has_failed: bool,
    claim: Option<Claimant>,
}

/// The claim that a volume is for.
#[derive(Debug)]
struct Claimant {
    namespace: String,
    name: String,
    /// For that very claim, not for any of its name.
    is_that_one: bool,
}

/// `Filesystem`, if nothing else is said.
fn mode(spec: &Value) -> String {
    Some(text(spec, &["volumeMode"])).filter(|mode| !mode.is_empty()).unwrap_or("Filesystem").to_owned()
}

fn modes(spec: &Value) -> Vec<String> {
    items(spec, &["accessModes"]).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Volume {
    pub(super) fn of(object: &Value) -> Self {
        let spec = at(object, &["spec"]);
        let claim = |field| text(spec, &["claimRef", field]).to_owned();
        let claimant = Claimant {
            namespace: claim("namespace"),
            name: claim("name"),
            is_that_one: !text(spec, &["claimRef", "uid"]).is_empty(),
        };
        Self {
            name: name_of(object).to_owned(),
            labels: at(object, &["metadata", "labels"]).clone(),
            class: text(spec, &["storageClassName"]).to_owned(),
            modes: modes(spec),
            bytes: quantity::bytes(text(spec, &["capacity", "storage"])),
            mode: mode(spec),
            is_dying: is_dying(object),
            has_failed: text(object, &["status", "phase"]) == "Failed",
            claim: Some(claimant).filter(|claimant| !claimant.name.is_empty()),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The class that claims get it by; none if no claim ever does.
    pub(super) fn class(&self) -> Option<&str> {
        (!self.class.is_empty() && !self.modes.is_empty()).then_some(&self.class)
    }

    fn claimant(&self, claim: &Value) -> Option<&Claimant> {
        let is = |of: &&Claimant| Some(of.namespace.as_str()) == namespace_of(claim) && of.name == name_of(claim);
        self.claim.as_ref().filter(is)
    }

    /// Whether the next claim of this name gets it, whatever class that asks for.
    fn waits_for(&self, claim: &Value) -> bool {
        !self.is_dying && self.fits(claim) && self.claimant(claim).is_some_and(|of| !of.is_that_one)
    }

    /// Large enough, as far as that is known, and of the same mode.
    fn fits(&self, claim: &Value) -> bool {
        let spec = at(claim, &["spec"]);
        let asked = quantity::bytes(text(spec, &["resources", "requests", "storage"]));
        asked.zip(self.bytes).is_none_or(|(asked, has)| has >= asked) && self.mode == mode(spec)
    }

    /// Whether it is still that of a claim of this name which is gone.
    fn is_kept_for(&self, claim: &Value) -> bool {
        !self.is_dying && self.claimant(claim).is_some_and(|of| of.is_that_one)
    }

    /// Whether it has the labels that the claim asks for by their values; expressions are not looked at.
    fn has_labels_for(&self, claim: &Value) -> bool {
        let wanted = at(claim, &["spec", "selector", "matchLabels"]).as_object();
        wanted.into_iter().flatten().all(|(label, value)| self.labels.get(label) == Some(value))
    }

    /// Whether any claim like this one may get it.
    fn is_free_for(&self, claim: &Value, class: &str) -> bool {
        self.claim.is_none()
            && !self.is_dying
            && !self.has_failed
            && self.class == class
            && self.fits(claim)
            && self.has_labels_for(claim)
            && modes(at(claim, &["spec"])).iter().all(|mode| self.modes.contains(mode))
    }
}

/// A claim that is about to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) claim: &'a Value,
    /// Its storage class, or the default one; empty for none.
    pub(super) class: &'a str,
    /// The class makes a volume for each claim.
    pub(super) is_provisioned: bool,
    /// The volume in the snapshot that somebody made for it.
    pub(super) own: Option<Own<'a>>,
}

/// The volume in a snapshot that a claim had.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) name: &'a str,
    /// What is chosen is named, and this is not; otherwise it is left out by name.
    pub(super) can_be_included: bool,
}

/// What becomes of a claim when it is made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It gets a volume that is there.
    Gets,
    /// It waits for ever: why.
    Waits(String),
    /// Somebody may make a volume for it.
    Unknown,
}

/// See the module.
pub(super) fn outlook(volumes: &[Volume], wanted: Wanted<'_>) -> Outlook {
    let Wanted { claim, class, is_provisioned, own } = wanted;
    if volumes.iter().any(|volume| volume.waits_for(claim)) {
        return Outlook::Gets;
    }
    // Before any that is free: that would be another's, or empty. Where the class makes volumes, the claim gets a new one.
    let kept = volumes.iter().find(|volume| volume.is_kept_for(claim) && volume.class == class && !is_provisioned);
    if let Some(volume) = kept {
        return Outlook::Waits(kept_for_another(&volume.name));
    }
    if volumes.iter().any(|volume| volume.is_free_for(claim, class)) {
        return Outlook::Gets;
    }
    if is_provisioned {
        return Outlook::Unknown;
    }
    let there = own.and_then(|own| volumes.iter().find(|volume| volume.name == own.name));
    match (there, own) {
        (Some(volume), _) if volume.is_dying => {
            Outlook::Waits(format!("PersistentVolume {}, which was its volume, is being deleted", volume.name))
        }
        (Some(Volume { name, claim: Some(of), .. }), _) => Outlook::Waits(format!(
            "PersistentVolume {name}, which was its volume, is that of the claim {}/{}",
            of.namespace, of.name
        )),
        (None, Some(own)) => Outlook::Waits(not_chosen(own)),
        _ if at(claim, &["spec", "storageClassName"]) == "" => {
            let why = "it asks for a volume that somebody has made (its storage class is ''), and none is free";
            Outlook::Waits(why.to_owned())
        }
        _ => Outlook::Unknown,
    }
}

fn not_chosen(own: Own<'_>) -> String {
    let name = own.name;
    let what = format!("it asks for a volume that somebody has made, and PersistentVolume {name}, which was its own,");
    if own.can_be_included {
        format!("{what} is not among what is chosen; include _cluster/persistentvolumes/{name} as well")
    } else {
        format!("{what} is excluded, and none is free")
    }
}

fn kept_for_another(name: &str) -> String {
    let free = patch(&kinds::volumes(), None, name, &json!({"spec": {"claimRef": {"uid": null}}}));
    format!(
        "PersistentVolume {name} was its volume, and is still that of the claim which is gone; if what is in it is not wanted, delete it, or name this claim in the claimRef of another; else this lets the next claim of that name have it, as it is: kubectl {free}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(class: &str, more: &Value) -> Volume {
        let mut object = json!({
            "metadata": {"name": "disk"},
            "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": "1Gi"}},
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            match field.as_str() {
                "metadata" => object["metadata"] = value.clone(),
                "status" => object["status"] = value.clone(),
                _ => object["spec"][field] = value.clone(),
            }
        }
        Volume::of(&object)
    }

    fn claim(class: &str) -> Value {
        json!({
            "metadata": {"namespace": "media", "name": "data"},
            "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        })
    }

    fn of(volumes: &[Volume], claim: &Value, is_provisioned: bool, own: Option<&str>) -> Outlook {
        let class = text(claim, &["spec", "storageClassName"]);
        let own = own.map(|name| Own { name, can_be_included: true });
        outlook(volumes, Wanted { claim, class, is_provisioned, own })
    }

    #[track_caller]
    fn waits(outlook: Outlook, words: &str) {
        match outlook {
            Outlook::Waits(why) => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?} instead of {words}"),
        }
    }

    fn reference(name: &str, uid: Option<&str>) -> Value {
        let mut reference = json!({"namespace": "media", "name": name});
        if let Some(uid) = uid {
            reference["uid"] = uid.into();
        }
        json!({"claimRef": reference})
    }

    #[test]
    fn a_volume_that_waits_for_a_claim_of_the_name_is_its_own_whatever_it_asks_for() {
        let waiting = [volume("other", &reference("data", None))];
        for class in ["", "by-hand"] {
            assert_eq!(of(&waiting, &claim(class), false, Some("disk")), Outlook::Gets, "{class}");
        }
        let another = [volume("", &reference("other", None))];
        waits(of(&another, &claim(""), false, None), "none is free");
        waits(of(&another, &claim(""), false, Some("disk")), "is that of the claim media/other");
    }

    #[test]
    fn one_that_is_kept_for_the_claim_that_is_gone_is_in_the_way_also_of_another_that_is_free() {
        let kept = || volume("", &reference("data", Some("u")));
        for volumes in [vec![kept()], vec![volume("", &json!({})), kept()]] {
            waits(
                of(&volumes, &claim(""), false, None),
                "kubectl patch persistentvolumes disk --type merge --patch '{",
            );
        }
        // Under another class a new one is wanted.
        assert_eq!(of(&[kept()], &claim("fast"), true, None), Outlook::Unknown);
        // Where the class makes volumes a new one is made, whoever made the old one.
        let of_class = |metadata: Value| {
            let mut more = reference("data", Some("u"));
            more["metadata"] = metadata;
            [volume("fast", &more)]
        };
        let by_hand = json!({"name": "disk"});
        let made = json!({"name": "disk", "annotations": {"pv.kubernetes.io/provisioned-by": "driver.example.org"}});
        assert_eq!(of(&of_class(made.clone()), &claim("fast"), true, None), Outlook::Unknown);
        assert_eq!(of(&of_class(by_hand.clone()), &claim("fast"), true, None), Outlook::Unknown);
        waits(of(&of_class(by_hand), &claim("fast"), false, None), "is still that of the claim which is gone");
        waits(of(&of_class(made), &claim("fast"), false, None), "is still that of the claim which is gone");
        let dying = json!({"name": "disk", "deletionTimestamp": "t"});
        waits(of(&of_class(dying), &claim("fast"), false, Some("disk")), "is being deleted");
    }

    #[test]
    fn a_free_volume_has_to_fit() {
        assert_eq!(of(&[volume("", &json!({}))], &claim(""), false, None), Outlook::Gets);
        for (what, more) in [
            ("too small", json!({"capacity": {"storage": "1023Mi"}})),
            ("a device", json!({"volumeMode": "Block"})),
            ("for reading alone", json!({"accessModes": ["ReadOnlyMany"]})),
            ("no modes", json!({"accessModes": []})),
            ("failed", json!({"status": {"phase": "Failed"}})),
            ("dying", json!({"metadata": {"name": "disk", "deletionTimestamp": "t"}})),
            ("of a class", json!({"storageClassName": "by-hand"})),
        ] {
            assert!(matches!(of(&[volume("", &more)], &claim(""), false, None), Outlook::Waits(_)), "{what}");
        }
        let mut by_label = claim("");
        by_label["spec"]["selector"] = json!({"matchLabels": {"disk": "ssd"}});
        let labelled = |label: &str| [volume("", &json!({"metadata": {"name": "disk", "labels": {"disk": label}}}))];
        assert_eq!(of(&labelled("ssd"), &by_label, false, None), Outlook::Gets);
        for volumes in [labelled("hdd"), [volume("", &json!({}))]] {
            waits(of(&volumes, &by_label, false, None), "none is free");
        }
        // A size that nobody understands is not judged.
        assert_eq!(of(&[volume("", &json!({"capacity": {"storage": "?"}}))], &claim(""), false, None), Outlook::Gets);
    }

    #[test]
    fn what_may_come_yet_is_not_refused() {
        waits(of(&[], &claim(""), false, None), "none is free");
        assert_eq!(of(&[], &claim("node-disk"), false, None), Outlook::Unknown, "something may make volumes of disks");
        waits(of(&[], &claim("node-disk"), false, Some("disk")), "include _cluster/persistentvolumes/disk as well");
        assert_eq!(of(&[], &claim("fast"), true, Some("disk")), Outlook::Unknown);
        let (claim, own) = (claim(""), Some(Own { name: "disk", can_be_included: false }));
        let wanted = Wanted { claim: &claim, class: "", is_provisioned: false, own };
        waits(outlook(&[], wanted), "is excluded");
    }
}

//! What the storage can do: snapshots and clones by a CSI driver.

use super::{Choosing, Copy, No, Way, Yes, no};
use crate::volumes::facts::{SnapshotClass, Snapshots, Source, Volume};

/// Drivers of which it is known that they clone volumes at one moment; no API says it. `*` stands for any beginning or end. Not among them: drivers that
/// clone by copying file by file (NFS, SMB), which is a live read with more steps.
const CLONING: [&str; 11] = [
    "driver.longhorn.io",
    "*rbd.csi.ceph.com",
    "*cephfs.csi.ceph.com",
    "linstor.csi.linbit.com",
    "org.democratic-csi.*",
    "csi.san.synology.com",
    "csi.trident.netapp.io",
    "cinder.csi.openstack.org",
    "zfs.csi.openebs.io",
    "cstor.csi.openebs.io",
    "hostpath.csi.k8s.io",
];
const LONGHORN: &str = "driver.longhorn.io";
const NFS: &str = "nfs.csi.k8s.io";

fn means(pattern: &str, driver: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => driver.ends_with(end),
        (_, Some(start)) => driver.starts_with(start),
        _ => pattern == driver,
    }
}

/// Why snapshots of a class are of no use, although the driver takes them.
fn unfit(class: &SnapshotClass) -> Option<String> {
    // Longhorn takes a class without a type for a backup: it would upload everything to Longhorn's own target first, not encrypted by us.
    let kind = class.parameters.get("type").map_or("bak", String::as_str);
    let is_unfit = class.driver == LONGHORN && kind != "snap";
    is_unfit.then(|| {
        format!("has parameters.type {kind:?}, which copies the volume to Longhorn's own target; \"snap\" is wanted")
    })
}

/// The driver of a volume that has one.
fn driver_of(volume: &Volume) -> Result<&str, No> {
    const MEND: &str = "use a StorageClass whose CSI driver takes snapshots";
    match &volume.source {
        Source::Csi(driver) => Ok(driver),
        Source::HostPath(_) | Source::Local(_) => no("it is a directory of a node, not a CSI volume", MEND),
        Source::Nfs(_) => no("it is an NFS share, not a CSI volume", MEND),
        Source::Other(kind) => no(format!("it is a volume of kind {kind}, not a CSI volume"), MEND),
    }
}

impl<'a> Choosing<'a> {
    /// What the claim that is made from it is like: of the same `StorageClass`, or, if that is gone or never was, of any of the same driver.
    fn copy(&self, driver: &str) -> Result<Copy, No> {
        let own = self.claim.storage_class.as_deref().unwrap_or_default();
        let classes = &self.facts.storage_classes;
        let fits = |name: &str| classes.get(name).is_some_and(|class| class.provisioner == driver);
        let name = if fits(own) { Some(own) } else { classes.keys().map(String::as_str).find(|name| fits(name)) };
        match name.and_then(|name| Some((name, classes.get(name)?))) {
            Some((name, class)) => Ok(Copy {
                storage_class: name.to_owned(),
                bytes: self.claim.bytes,
                block: self.claim.block,
                waits_for_consumer: class.waits_for_consumer,
            }),
            None => no(
                format!("no StorageClass makes volumes with {driver}"),
                format!("make a StorageClass with the provisioner {driver}"),
            ),
        }
    }

    /// Snapshots are handed over to our namespace, and the journal of everything that is made is there.
    fn at_home(&self) -> Result<(), No> {
        if self.policy.homeless {
            return no("no namespace of homelab-dr's own is configured", "set the source's `namespace`");
        }
        Ok(())
    }

    fn installed(&self, driver: &str) -> Result<(), No> {
        if self.facts.drivers.contains(driver) {
            return Ok(());
        }
        no(format!("the driver {driver} is not installed"), format!("install {driver} again"))
    }

    pub(super) fn snapshot(&self, volume: &'a Volume) -> Result<Yes, No> {
        let driver = driver_of(volume)?;
        self.at_home()?;
        let classes = match &self.facts.snapshots {
            Snapshots::Classes(classes) => classes,
            Snapshots::Missing => {
                return no(
                    "the cluster knows no VolumeSnapshots",
                    "install the definitions and the controller of kubernetes-csi/external-snapshotter; k3s comes without them",
                );
            }
            Snapshots::Unknown(why) => {
                return no(format!("nobody knows whether the cluster takes VolumeSnapshots: {why}"), "run again later");
            }
        };
        self.installed(driver)?;
        let name = self.snapshot_class(driver, classes)?;
        let cautions = if driver == NFS {
            vec![format!("{NFS} packs the files one after another: they are not of one moment")]
        } else {
            Vec::new()
        };
        let way = Way::Snapshot { class: name.to_owned(), copy: self.copy(driver)? };
        Ok(Yes { way, reason: format!("{driver} takes snapshots, by the class {name}"), cautions })
    }

    fn snapshot_class(
        &self,
        driver: &str,
        classes: &'a std::collections::BTreeMap<String, SnapshotClass>,
    ) -> Result<&'a str, No> {
        if let Some(wanted) = self.policy.snapshot_classes.get(driver) {
            let mend = "mend the source's `snapshot-class` for this driver";
            return match classes.get_key_value(wanted) {
                None => no(format!("there is no VolumeSnapshotClass {wanted}"), mend),
                Some((_, class)) if class.driver != driver => {
                    no(format!("the VolumeSnapshotClass {wanted} is for {}", class.driver), mend)
                }
                Some((name, class)) => match unfit(class) {
                    Some(why) => no(format!("the VolumeSnapshotClass {name} {why}"), mend),
                    None => Ok(name),
                },
            };
        }
        let of_driver = || classes.iter().filter(|(_, class)| class.driver == driver);
        let fit = || of_driver().filter(|(_, class)| unfit(class).is_none());
        if let Some((name, _)) = fit().find(|(_, class)| class.default).or_else(|| fit().next()) {
            return Ok(name);
        }
        let mend = if driver == LONGHORN {
            "make a VolumeSnapshotClass for driver.longhorn.io with parameters.type: snap".to_owned()
        } else {
            format!("make a VolumeSnapshotClass for {driver}, if it takes snapshots")
        };
        match of_driver().find_map(|(name, class)| Some((name, unfit(class)?))) {
            Some((name, why)) => no(format!("the VolumeSnapshotClass {name} {why}"), mend),
            None => no(format!("no VolumeSnapshotClass is for {driver}"), mend),
        }
    }

    pub(super) fn cloned(&self, volume: &'a Volume) -> Result<Yes, No> {
        let driver = driver_of(volume)?;
        self.at_home()?;
        let is_known = CLONING.iter().any(|pattern| means(pattern, driver));
        if !is_known {
            let why = format!("nobody knows whether {driver} can clone");
            return no(why, "take another way: this version has no setting that says so");
        }
        self.installed(driver)?;
        let copy = self.copy(driver)?;
        if self.claim.storage_class.as_deref() != Some(copy.storage_class.as_str()) {
            // Some drivers, and older Kubernetes, want the same class on both sides.
            return no("its StorageClass is not there, and a clone needs the same one", "make the StorageClass again");
        }
        let cautions = vec!["until it was read the clone takes up to as much space again in the storage".to_owned()];
        Ok(Yes { way: Way::Clone { copy }, reason: format!("{driver} clones volumes"), cautions })
    }
}

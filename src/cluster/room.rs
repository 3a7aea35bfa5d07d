//! How full disks are, by what a kubelet says (`Summary` of k8s.io/kubelet/pkg/apis/stats/v1alpha1). Pure: its answer in, numbers out.

use serde_json::Value;

use super::object::{items, text};

/// The room of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Free, in bytes.
    pub free: u64,
    /// In all, in bytes; 0 where it is not said.
    pub all: u64,
    /// Free and all places for files; `None` where the file system has as many as there is room.
    pub files: Option<(u64, u64)>,
}

fn share(free: u64, all: u64) -> u64 {
    u64::try_from(u128::from(free) * 100 / u128::from(all.max(1))).unwrap_or(u64::MAX)
}

impl Room {
    fn of(fs: &Value) -> Option<Self> {
        let number = |name: &str| fs.get(name).and_then(Value::as_u64);
        let files = number("inodesFree").zip(number("inodes")).filter(|(_, all)| *all > 0);
        Some(Self { free: number("availableBytes")?, all: number("capacityBytes").unwrap_or(0), files })
    }

    /// Percent of the bytes that are free, rounded down; `None` where nobody says how many there are.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        (self.all > 0).then(|| share(self.free, self.all))
    }

    /// Percent of the places for files that are free: a disk without any is full, whatever room it has.
    #[must_use]
    pub fn percent_of_files(&self) -> Option<u64> {
        self.files.map(|(free, all)| share(free, all))
    }
}

/// Of the disk that the kubelet has for itself and its pods.
#[must_use]
pub fn of_node(stats: &Value) -> Option<Room> {
    stats.pointer("/node/fs").and_then(Room::of)
}

/// Of the volume of a claim that a pod of the node uses; `None` where the kubelet does not measure it, as with folders of the node.
#[must_use]
pub fn of_claim(stats: &Value, namespace: &str, name: &str) -> Option<Room> {
    let volumes = items(stats, &["pods"]).iter().flat_map(|pod| items(pod, &["volume"]));
    let is = |volume: &&Value| {
        text(volume, &["pvcRef", "namespace"]) == namespace && text(volume, &["pvcRef", "name"]) == name
    };
    volumes.filter(is).find_map(Room::of)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn room_is_what_the_kubelet_says_and_nothing_is_guessed() {
        let stats = json!({
            "node": {"fs": {"availableBytes": 30, "capacityBytes": 1000, "inodesFree": 5, "inodes": 100}},
            "pods": [
                {"volume": [{"name": "tmp", "availableBytes": 1, "capacityBytes": 2}]},
                {"volume": [{"pvcRef": {"namespace": "media", "name": "data"}, "availableBytes": 7, "capacityBytes": 70}]},
                {"volume": [{"pvcRef": {"namespace": "home", "name": "odd"}, "capacityBytes": 70}]},
            ],
        });
        let node = of_node(&stats).expect("said");
        assert_eq!((node.percent(), node.percent_of_files()), (Some(3), Some(5)));
        let claim = of_claim(&stats, "media", "data").expect("said");
        assert_eq!((claim.percent(), claim.percent_of_files()), (Some(10), None));
        assert_eq!(of_claim(&stats, "home", "odd"), None, "without what is free nothing is known");
        assert_eq!(of_claim(&stats, "home", "data"), None);
        assert_eq!((of_node(&json!({})), of_claim(&json!({"pods": "x"}), "a", "b")), (None, None));
        let least = Room { free: u64::MAX, all: u64::MAX, files: None };
        assert_eq!(least.percent(), Some(100));
    }
}

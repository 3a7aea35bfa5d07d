//! No data of a volume passes through whoever starts its mover: the peak of its memory is the same, however large the volume is.

use super::*;
use crate::support::files::noise;
use crate::support::usage;

const SMALL_BYTES: usize = 1 << 20;
const LARGE_BYTES: usize = 128 << 20;
/// What two runs may differ by that do the same: far less than the large volume.
const NOISE_BYTES: u64 = 8 << 20;

impl Disaster {
    /// The peak of memory of a run, without its movers.
    async fn peak(&self, args: &[&str]) -> u64 {
        let mut command = self.world.lab.command(args);
        let (ran, peak, _) = tokio::task::spawn_blocking(move || usage::measured(&mut command)).await.unwrap();
        ran.exits(0);
        peak
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes, stores and reads 128 MiB: lane memory"]
async fn lane_memory_of_whoever_starts_movers_does_not_grow_with_their_volumes() {
    let disaster = Disaster::new().await;
    let folder = disaster.world.lab.path("");
    let config = format!("kubeconfig: {}/kubeconfig", folder.to_str().unwrap().trim_end_matches('/'));
    let volumes = |size: &str| format!("  {size}: {{volumes: {{{config}, image: '{IMAGE}', namespaces: [{size}]}}}}\n");
    let text = format!("sources:\n  cluster: {{resources: {{{config}}}}}\n{}{}", volumes("small"), volumes("large"));
    std::fs::write(disaster.world.lab.path("homelab-dr.yaml"), text).unwrap();
    let mut backups = Vec::new();
    for (size, bytes) in [("small", SMALL_BYTES), ("large", LARGE_BYTES)] {
        disaster.world.application(size, "data", "true").await;
        std::fs::write(disaster.world.folder(size, "data").join("noise"), noise(bytes as u64, bytes)).unwrap();
    }
    for size in ["small", "large"] {
        backups.push(disaster.peak(&["backup", "--no-progress", "--source", size]).await);
    }
    disaster.world.backup(&["--source", "cluster"]).await.exits(0);
    let mut restores = Vec::new();
    for (size, bytes) in [("small", SMALL_BYTES), ("large", LARGE_BYTES)] {
        let args = ["restore", "latest:cluster", "--cluster", "--kubeconfig", "new", "--yes", "--no-progress"];
        restores.push(disaster.peak(&[&args[..], &["--include", &format!("{size}/*/*")]].concat()).await);
        let restored = disaster.folder(size, "data").join("noise");
        assert!(std::fs::read(restored).unwrap() == noise(bytes as u64, bytes), "{size}");
    }
    for (what, peaks) in [("backup", backups), ("restore", restores)] {
        println!("{what}: {} KiB with 1 MiB, {} KiB with 128 MiB", peaks[0] >> 10, peaks[1] >> 10);
        assert!(peaks[1] <= peaks[0] + NOISE_BYTES, "{what}: {peaks:?}");
    }
}

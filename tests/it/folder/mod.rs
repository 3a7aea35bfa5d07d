//! A folder that stands for a cluster: backed up by the configuration, lost, and brought back into a folder and into a cluster.

mod coverage;
mod existing;
mod round;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::{Home, Ran};

/// A machine with a repository, a folder that stands for a cluster, and a configuration that backs it up.
struct Folder {
    home: Home,
}

/// A claim's manifest.
fn claim(namespace: &str, name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: {name}\n  namespace: {namespace}\n{more}\
         spec:\n  accessModes: [ReadWriteOnce]\n  storageClassName: local-path\n  resources: {{requests: {{storage: 64Mi}}}}\n"
    )
}

impl Folder {
    /// `more` is added to the fields of the source of volumes.
    fn new(more: &str) -> Self {
        let folder = Self { home: Home::new() };
        std::fs::create_dir_all(folder.path("cluster/manifests")).unwrap();
        folder.configure(&format!("  volumes: {{volumes: {{folder: DIR/cluster{more}}}}}\n"));
        folder
    }

    fn configure(&self, volumes: &str) {
        let dir = self.home.dir().to_str().unwrap();
        let text =
            format!("sources:\n  cluster: {{resources: {{folder: DIR/cluster}}}}\n{volumes}").replace("DIR", dir);
        std::fs::write(self.path("homelab-dr.yaml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path(name)
    }

    fn manifest(&self, file: &str, text: &str) {
        std::fs::write(self.path("cluster/manifests").join(file), text).unwrap();
    }

    /// The directory of a claim, made.
    fn volume(&self, namespace: &str, claim: &str) -> PathBuf {
        let path = self.path("cluster/volumes").join(namespace).join(claim);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// A claim with its data.
    fn claim(&self, namespace: &str, name: &str, more: &str) -> PathBuf {
        self.manifest(&format!("{namespace}-{name}.yaml"), &claim(namespace, name, more));
        let path = self.volume(namespace, name);
        std::fs::write(path.join("hello"), format!("of {namespace}/{name}\n")).unwrap();
        path
    }

    fn backup(&self, more: &[&str]) -> Ran {
        self.home.write(&[&["backup", "--no-progress"][..], more].concat())
    }

    fn restore(&self, into: &str, more: &[&str]) -> Ran {
        let args = ["restore", "latest:cluster", "--cluster", "--into-folder", into, "--no-progress"];
        self.home.read(&[&args[..], more].concat())
    }
}

/// The row of a source in the document of a backup.
#[track_caller]
pub(crate) fn row(document: &Value, source: &str) -> Value {
    let rows = document["sources"].as_array().unwrap_or_else(|| panic!("{document:#}"));
    rows.iter().find(|row| row["source"] == source).unwrap_or_else(|| panic!("no {source}: {document:#}")).clone()
}

/// The row of a volume in the document of a restore.
#[track_caller]
fn volume(document: &Value, namespace: &str, claim: &str) -> Value {
    let rows = document["report"]["volumes"].as_array().unwrap_or_else(|| panic!("{document:#}"));
    let is = |row: &&Value| row["claim"]["namespace"] == namespace && row["claim"]["name"] == claim;
    rows.iter().find(is).unwrap_or_else(|| panic!("no {namespace}/{claim}: {document:#}")).clone()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

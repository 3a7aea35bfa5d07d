//! The small files of the demonstration's homelab, as they lie in `fixtures/demo/`.
//!
//! The database is a real one, made with the `sqlite3` program; photos are drawn when the homelab is built (see `homelab`).

/// A file: where it belongs, and what is in it.
pub(super) type File = (&'static str, &'static [u8]);

macro_rules! files {
    ($prefix:literal: $($path:literal),+ $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../fixtures/demo/", $prefix, $path)))),+]
    };
}

/// The homelab on the first day.
pub(super) const FIRST_DAY: &[File] = files![
    "":
    "manifests/documents/certificate.yaml",
    "manifests/documents/deployment.yaml",
    "manifests/documents/ingress.yaml",
    "manifests/documents/namespace.yaml",
    "manifests/documents/network-policy.yaml",
    "manifests/documents/pvc-data.yaml",
    "manifests/documents/pvc-media.yaml",
    "manifests/documents/secret.yaml",
    "manifests/documents/service.yaml",
    "manifests/photos/certificate.yaml",
    "manifests/photos/deployment.yaml",
    "manifests/photos/ingress.yaml",
    "manifests/photos/namespace.yaml",
    "manifests/photos/network-policy.yaml",
    "manifests/photos/pvc-database.yaml",
    "manifests/photos/pvc-library.yaml",
    "manifests/photos/secret.yaml",
    "manifests/photos/service.yaml",
    "manifests/vaultwarden/certificate.yaml",
    "manifests/vaultwarden/deployment.yaml",
    "manifests/vaultwarden/ingress.yaml",
    "manifests/vaultwarden/namespace.yaml",
    "manifests/vaultwarden/network-policy.yaml",
    "manifests/vaultwarden/pvc-data.yaml",
    "manifests/vaultwarden/secret.yaml",
    "manifests/vaultwarden/service.yaml",
    "volumes/documents/data/config.json",
    "volumes/documents/media/archive/0001-birth-certificate.pdf",
    "volumes/documents/media/archive/0002-electricity-bill.pdf",
    "volumes/documents/media/originals/2023-insurance-house.txt",
    "volumes/documents/media/originals/2024-tax-return.txt",
    "volumes/documents/media/originals/2025-lease.txt",
    "volumes/photos/database/README.txt",
    "volumes/photos/database/immich-dump.sql",
    "volumes/vaultwarden/data/config.json",
    "volumes/vaultwarden/data/db.sqlite3",
];

/// What is different on the second.
pub(super) const SECOND_DAY: &[File] = files![
    "later/":
    "manifests/vaultwarden/deployment.yaml",
    "volumes/documents/media/originals/2025-lease.txt",
    "volumes/vaultwarden/data/db.sqlite3",
];

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn below(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { below(&path, found) } else { found.push(path) }
        }
    }

    #[test]
    fn every_file_of_the_fixture_is_in_the_program() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo");
        let mut found = Vec::new();
        below(&root, &mut found);
        found.sort();
        let first = FIRST_DAY.iter().map(|(path, _)| root.join(path));
        let mut known: Vec<_> = first.chain(SECOND_DAY.iter().map(|(path, _)| root.join("later").join(path))).collect();
        known.sort();
        assert_eq!(found, known);
    }

    #[test]
    fn the_second_day_changes_files_of_the_first() {
        for (path, content) in SECOND_DAY {
            assert!(FIRST_DAY.iter().any(|(first, before)| first == path && before != content), "{path}");
        }
    }
}

//! One homelab's disaster: captured, lost, restored into an empty cluster and into a folder, compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::clock::SystemClock;
use homelab_dr::cluster::capture::{Item, capture};
use homelab_dr::cluster::choice::Choice;
use homelab_dr::cluster::folder::Folder;
use serde_json::Value;

use super::compare::{Key, Objects, Table, compare, everything, named};
use super::load;
use super::order::{Log, now};
use crate::cli::Home;
use crate::cluster::restore::{between, outcome, restore};
use crate::cluster::run;
use crate::support::kube::server::KubeServer;

pub(super) struct Disaster {
    lab: &'static str,
    home: Home,
    old: KubeServer,
    /// What the lost cluster had.
    was: Objects,
    /// What the empty one had.
    there: Objects,
    /// What it has now.
    is: Objects,
    document: Value,
    left_out: BTreeSet<String>,
    pub(super) log: Log,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Until nothing has changed for a while: controllers have made what they make, and the collector has looked at every owner.
async fn rest(server: &KubeServer) {
    const QUIET: std::time::Duration = std::time::Duration::from_millis(500);
    let mut changed = server.shared.changed.subscribe();
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while tokio::time::timeout(QUIET, changed.changed()).await.is_ok() {
        assert!(std::time::Instant::now() < limit, "controllers do not come to rest");
    }
}

/// What a plan does not restore, and why: the words of the plan, and of whose making it is without the name.
fn skipped(document: &Value) -> BTreeMap<Key, String> {
    let skipped = document["plan"]["skipped"].as_array().expect("a plan").iter();
    skipped
        .map(|skipped| {
            let object = &skipped["object"];
            let key = (text(&object["kind"]), text(&object["namespace"]), text(&object["name"]));
            let by = text(&skipped["of"]);
            let by = by.split(' ').next().filter(|by| !by.is_empty()).map(|by| format!(" ({by})"));
            (key, text(&skipped["reason"]) + &by.unwrap_or_default())
        })
        .collect()
}

impl Disaster {
    pub(super) async fn of(lab: &'static str) -> Self {
        let begun = std::time::Instant::now();
        let (old, new) = (load::old(lab).await, load::fresh(lab).await);
        let loaded = begun.elapsed();
        let home = between(&old, &new);
        run(&home, &["backup"]).await.exits(0);
        let backed = begun.elapsed();
        super::propose::is_as_reviewed(lab, &home).await;
        let about = run(&home, &["cat", "latest:cluster:cluster.yaml"]).await.exits(0).out;
        let about: Value = serde_saphyr::from_str(&about).expect("YAML");
        let left_out = about["leftOut"].as_array().unwrap().iter().map(text).collect();
        let (was, there, start) = (everything(&old), everything(&new), now(&new));
        let document = restore(&home, "new", &["--empty-volumes", "--json"]).await.exits(0).json();
        let restored = begun.elapsed();
        rest(&new).await;
        let is = everything(&new);
        println!(
            "{lab}: loaded {loaded:?}, backed up {backed:?}, restored {restored:?}, at rest {:?}",
            begun.elapsed()
        );
        let made_anew = skipped(&document);
        let log = Log::since(&new, start).only(|key| was.contains_key(key) && !made_anew.contains_key(key));
        Self { lab, home, old, was, there, is, document, left_out, log }
    }

    pub(super) fn has(&self, table: &str, namespace: &str, name: &str) -> bool {
        let key = (table.to_owned(), namespace.to_owned(), name.to_owned());
        assert!(self.was.contains_key(&key), "the lost cluster had no {}", named(&key));
        self.is.contains_key(&key)
    }

    pub(super) fn is(&self, table: &str, namespace: &str, name: &str) -> &Value {
        let key = (table.to_owned(), namespace.to_owned(), name.to_owned());
        self.is.get(&key).unwrap_or_else(|| panic!("there is no {}", named(&key)))
    }

    pub(super) fn outcome(&self, object: &str) -> String {
        outcome(&self.document, object)
    }

    /// Why an object of the lost cluster may be absent.
    fn absent<'a>(&'a self, skipped: &'a BTreeMap<Key, String>) -> impl Fn(&Key) -> Option<String> + 'a {
        move |key| {
            if self.left_out.contains(&key.0) {
                return Some("not in the backup: its kind is left out".to_owned());
            }
            let labels = &self.was[key]["metadata"]["labels"];
            let manager = text(&labels["endpointslice.kubernetes.io/managed-by"]);
            if key.0.starts_with("endpointslices.") && manager.ends_with("controller.k8s.io") {
                return Some("not in the backup: a controller wrote it".to_owned());
            }
            skipped.get(key).cloned()
        }
    }

    /// The table of this homelab is the one that was reviewed.
    pub(super) async fn check_table(&self) {
        let skipped = skipped(&self.document);
        let new: Objects = self
            .was
            .iter()
            .filter(|(key, _)| !self.there.contains_key(*key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let table = compare(&new, &self.is, &self.absent(&skipped));
        assert_eq!(table.wrong, Vec::<String>::new());
        self.check_untouched();
        self.check_no_strangers();
        let folder = self.through_a_folder().await;
        let text = format!("into an empty cluster: {table}\n\ninto a folder: {folder}");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/cluster/homelabs/{}.txt", self.lab));
        if std::env::var_os("HOMELAB_DR_BLESS").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        let reviewed = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(text, reviewed, "{} changed; review it, then bless", golden.display());
    }

    /// What was in the empty cluster is as it was.
    fn check_untouched(&self) {
        for (key, object) in &self.there {
            let is = self.is.get(key).unwrap_or_else(|| panic!("{} is gone", named(key)));
            for field in ["spec", "data", "rules", "metadata"] {
                let of = |object: &Value| {
                    let mut value = object[field].clone();
                    if let Some(fields) = value.as_object_mut() {
                        fields.retain(|name, _| {
                            !["resourceVersion", "managedFields", "annotations"].contains(&name.as_str())
                        });
                    }
                    value
                };
                assert_eq!(of(is), of(object), "{} {field}", named(key));
            }
        }
    }

    /// What the lost cluster did not have is of the new one's controllers.
    fn check_no_strangers(&self) {
        const MADE: [&str; 4] = ["pods", "replicasets.apps", "controllerrevisions.apps", "persistentvolumes"];
        for key in self.is.keys().filter(|key| !self.was.contains_key(*key) && !self.there.contains_key(*key)) {
            assert!(MADE.contains(&key.0.as_str()), "{} is nobody's", named(key));
        }
    }

    /// Restored into a folder, captured from there again, and compared.
    async fn through_a_folder(&self) -> Table {
        let args = ["restore", "latest:cluster", "--cluster", "--into-folder", "out", "--yes", "--json"];
        let document = run(&self.home, &args).await.exits(0).json();
        let folder = Folder::open(&self.home.path("out")).expect("a folder");
        let (items, mut taken) = tokio::sync::mpsc::channel(16);
        let reading = tokio::spawn(async move {
            let mut objects = Vec::new();
            while let Some(item) = taken.recv().await {
                if let Item::Document { path, text, .. } = item
                    && path.display().starts_with("resources/")
                {
                    objects.push(serde_saphyr::from_str::<Value>(&text).expect("a manifest"));
                }
            }
            objects
        });
        let captured =
            capture(&folder, "a folder", &Choice::default(), &items, &Arc::new(Cancel::default()), &SystemClock).await;
        assert!(captured.expect("it is captured").missing.is_empty());
        drop(items);
        let objects = reading.await.expect("documents");
        let files = std::process::Command::new("find").arg(self.home.path("out")).args(["-name", "*.yaml"]).output();
        let files = String::from_utf8(files.expect("find runs").stdout).unwrap().lines().count();
        assert_eq!(objects.len(), files, "everything in the folder is captured again");
        let table_of = |object: &Value| {
            self.old.shared.with(|state| {
                state.kind(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap()).unwrap().table()
            })
        };
        let is =
            objects.into_iter().map(|object| (super::compare::key_of(&table_of(&object), &object), object)).collect();
        let skipped = skipped(&document);
        let table = compare(&self.was, &is, &self.absent(&skipped));
        assert_eq!(table.wrong, Vec::<String>::new(), "in the folder");
        table
    }
}

//! A list of one moment, read page by page.

use serde_json::Value;

use super::object::{label, namespace_of};
use super::{Cluster, ClusterError, Kind};

/// Objects of a kind that are taken at most. Far more than a cluster at home has; it keeps a server that never ends from taking all memory.
pub const OBJECTS_MAX: usize = 50_000;
/// How often a list is begun anew when its moment is too long ago for the server.
pub const ANEW_MAX: u32 = 3;

/// Which objects of a kind are wanted: all, those of one namespace, those with some labels. It is the server that chooses, so that nobody reads a whole cluster for a few.
#[derive(Debug, Clone, Copy, Default)]
pub struct Which<'a> {
    /// The namespace; all without one.
    pub namespace: Option<&'a str>,
    /// Labels and their values, all of which an object has.
    pub labels: &'a [(&'a str, &'a str)],
}

impl<'a> Which<'a> {
    /// Those of a namespace, or of all.
    #[must_use]
    pub const fn of(namespace: Option<&'a str>) -> Self {
        Self { namespace, labels: &[] }
    }

    /// Those with some labels.
    #[must_use]
    pub const fn labelled(labels: &'a [(&'a str, &'a str)]) -> Self {
        Self { namespace: None, labels }
    }

    fn takes(&self, object: &Value) -> bool {
        self.namespace.is_none_or(|namespace| namespace_of(object) == Some(namespace))
            && self.labels.iter().all(|(name, value)| label(object, name) == *value)
    }
}

/// What `take` makes of the objects of a kind; pages are dropped as they are read. It stops as soon as there are more than `most`.
pub async fn collect<T: Send>(
    cluster: &dyn Cluster,
    kind: &Kind,
    most: usize,
    take: impl Fn(Value) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, ClusterError> {
    collect_of(cluster, kind, Which::default(), most, take).await
}

/// The same of those that are wanted.
pub async fn collect_of<T: Send>(
    cluster: &dyn Cluster,
    kind: &Kind,
    which: Which<'_>,
    most: usize,
    take: impl Fn(Value) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, ClusterError> {
    // Not every cluster chooses, and whoever changes what is found has to be sure.
    let take = |object: Value| if which.takes(&object) { take(object) } else { None };
    let (mut taken, mut next, mut anew) = (Vec::new(), None::<String>, 0);
    loop {
        match cluster.list_of(kind, which, next.as_deref()).await {
            Ok(page) => {
                taken.extend(page.objects.into_iter().filter_map(&take));
                next = page.next;
                if next.is_none() || taken.len() > most {
                    return Ok(taken);
                }
            }
            Err(error) if error.is_expired() && anew < ANEW_MAX => {
                anew += 1;
                next = None;
                taken.clear();
            }
            Err(error) => return Err(error),
        }
    }
}

/// What `take` makes of all objects of a kind. A list that is longer than [`OBJECTS_MAX`] is refused and not cut: what is not seen could be the pod that writes, or the claim that is not
/// backed up.
pub async fn whole<T: Send>(
    cluster: &dyn Cluster,
    kind: &Kind,
    take: impl Fn(Value) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, ClusterError> {
    whole_of(cluster, kind, Which::default(), take).await
}

/// The same of those that are wanted.
pub async fn whole_of<T: Send>(
    cluster: &dyn Cluster,
    kind: &Kind,
    which: Which<'_>,
    take: impl Fn(Value) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, ClusterError> {
    at_most(cluster, kind, which, OBJECTS_MAX, take).await
}

async fn at_most<T: Send>(
    cluster: &dyn Cluster,
    kind: &Kind,
    which: Which<'_>,
    limit: usize,
    take: impl Fn(Value) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, ClusterError> {
    let taken = collect_of(cluster, kind, which, limit, take).await?;
    if taken.len() > limit { Err(ClusterError::TooMany { kind: kind.to_string(), limit }) } else { Ok(taken) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::folder::Folder;

    #[tokio::test]
    async fn a_list_that_is_too_long_is_refused_and_not_cut() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(dir.path().join("manifests")).expect("made");
        let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: a}}\n");
        let text = ["one", "two", "three"].map(map).join("---\n");
        std::fs::write(dir.path().join("manifests/all.yaml"), text).expect("written");
        let folder = Folder::open(dir.path()).expect("read");
        let maps = Kind::known("", "v1", "configmaps", "ConfigMap", true);
        assert_eq!(at_most(&folder, &maps, Which::default(), 3, Some).await.expect("all").len(), 3);
        let refused = at_most(&folder, &maps, Which::default(), 2, Some).await;
        assert!(matches!(refused, Err(ClusterError::TooMany { limit: 2, .. })), "{refused:?}");
    }
}

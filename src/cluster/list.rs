//! A list of one moment, read page by page.

use serde_json::Value;

use super::{Cluster, ClusterError, Kind};

/// How often a list is begun anew when its moment is too long ago for the server.
pub const ANEW_MAX: u32 = 3;

/// What `take` makes of the objects of a kind; pages are dropped as they are read. It stops as soon as there are more than `most`.
pub async fn collect<T: Send>(
    cluster: &dyn Cluster,
    kind: &Kind,
    most: usize,
    take: impl Fn(Value) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, ClusterError> {
    let (mut taken, mut next, mut anew) = (Vec::new(), None::<String>, 0);
    loop {
        match cluster.list(kind, next.as_deref()).await {
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

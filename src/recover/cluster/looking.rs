//! A mover that looks at what is in a volume and changes nothing: it mounts it read-only, on the node where it is used, if it is.

use super::movers::{ByMovers, Not, mend_of};
use super::volumes::{Filling, Outcome};
use crate::backup::volumes::claims::is_device;
use crate::base::causes::in_one_line;
use crate::base::secret::random;
use crate::cluster::object::{items, name_of, text};
use crate::recover::sessions;
use crate::volumes::mover::{Made, MoverError, Result as Said};
use crate::volumes::protocol::{Task, VerifyJob};
use crate::volumes::run::name_for;

/// What a mover saw: whether it is as it should be, and in words; or why it could not look.
type Looked = Result<(bool, String), String>;

/// The mode of a claim that one pod may use, and nobody beside it.
const ONE_POD: &str = "ReadWriteOncePod";

impl ByMovers<'_> {
    /// Has one look. `compares`: with the snapshot, whose keys it is given then. Also what could not be taken away afterwards.
    pub async fn look(
        &self,
        filling: &Filling,
        compares: bool,
        job: &(dyn Fn([u8; 16], &str) -> Option<VerifyJob> + Sync),
    ) -> (Looked, Vec<String>) {
        let mut made = Made::default();
        let looked = tokio::select! {
            looked = self.looking(filling, compares, job, &mut made) => looked,
            () = self.crew.cancel.cancelled() => Err(Not::Mover(MoverError::Cancelled)),
        };
        let left = made.remove(&self.crew).await.iter().map(ToString::to_string).collect();
        let looked = looked.map_err(|not| match not {
            Not::Mover(error) => format!("{}; {}", in_one_line(&error), mend_of(&error)),
            not => match Outcome::from(not) {
                Outcome::Unknown { why, mend, .. } => format!("{why}; {mend}"),
                _ => "nobody knows why".to_owned(),
            },
        });
        (looked, left)
    }

    async fn looking(
        &self,
        filling: &Filling,
        compares: bool,
        job: &(dyn Fn([u8; 16], &str) -> Option<VerifyJob> + Sync),
        made: &mut Made,
    ) -> Result<(bool, String), Not> {
        let (namespace, claim) = (filling.claim.namespace.clone().unwrap_or_default(), &filling.claim.name);
        if is_device(&filling.object) {
            let mend = "leave the check out, or have one of the application's own";
            return Err(Not::other("it is a block device: nothing in it can be looked at", mend));
        }
        let users = self.users(filling).await.map_err(|error| Not::other(in_one_line(&error), "see the cluster"))?;
        let is_for_one = items(&filling.object, &["spec", "accessModes"]).iter().any(|mode| mode == ONE_POD);
        if let Some(user) = users.first().filter(|_| is_for_one) {
            let why = format!("pod {} uses it, and {ONE_POD} lets nobody else in", name_of(user));
            return Err(Not::other(why, "verify it before anything uses it, or scale what made that pod to zero"));
        }
        // Where it is attached already: a volume of one node cannot be on another.
        let node = users.iter().map(|pod| text(pod, &["spec", "nodeName"])).find(|node| !node.is_empty());
        let node = node.map(str::to_owned);
        let filling = &Filling { consumers: users, node, ..filling.clone() };
        let plan = self.pod(filling, name_for(&self.run, &namespace, &format!("{claim}/verify")), false).await?;
        let asked = job(random().map_err(MoverError::from)?, &plan.name);
        let mut asked = asked.ok_or_else(|| Not::other("a mover cannot look at that", "see the check"))?;
        let mut keys = Vec::new();
        if compares {
            keys = sessions::keys(&self.reader, filling.data.root, &self.within, self.crew.cancel)
                .await
                .map_err(|error| Not::unreadable(&error))?;
            asked.against = Some(self.job(&plan.name, filling)?);
        }
        let task = Task::verify(&plan.name, asked, keys).map_err(MoverError::from)?;
        match self.crew.attend(&plan, &self.handed.reach, async { Ok(task) }, None, made).await? {
            (Said::Verified(holds, seen), _) => Ok((holds, seen)),
            _ => Err(Not::other("the mover says that it did something else", "run it again")),
        }
    }
}

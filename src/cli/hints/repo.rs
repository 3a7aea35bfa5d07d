//! Advice for what can be wrong with a repository.

use crate::cli::exit::Exit;
use crate::cli::hints::{Advice, Advise};
use crate::repo::{RepoError, layout};

const CHECK: &str =
    "run `homelab-dr check --read-data` to see how much is affected; a copy made by `replicate` may hold it intact";

/// The file never changes, and holds nothing that is not known elsewhere.
const FORMAT: &str = "put back format.json of any copy that `replicate` made, or an older version of it in the bucket: it is the same everywhere and never changes. Without one, make it anew: one line, {\"magic\":\"homelab-dr\",\"version\":1,\"repository\":\"ID\"}, with the id of the repository from the recovery kit";

/// Small, and everything rests on it.
const EPOCH: &str = "do not write to it: the record is damaged, or was not made by the owner of this repository. `homelab-dr check --repair --from REPLICA` brings it back from a copy, or from an older version in the bucket; with --identity it is signed anew where all that it said is known. If it was not damaged, ask who else can write here";

/// Whether the record of an epoch does not read.
fn is_of_epoch(error: &RepoError) -> bool {
    match error {
        RepoError::Damaged { key }
        | RepoError::TooLarge { key, .. }
        | RepoError::Sealed { key, .. }
        | RepoError::Record { key, .. } => key.as_str().starts_with(layout::EPOCHS),
        _ => false,
    }
}

impl Advise for RepoError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::Store(error) => return error.advice(),
            Self::Cancelled => return None,
            Self::Wrap(error) => return error.advice(),
            Self::NoIdentity { source, .. } => return source.advice(),
            Self::NoRepository { .. } => Advice::new(
                Exit::Unreachable,
                "see whether the address is right and the disk or share mounted; `homelab-dr init` makes a new repository in an empty place",
            ),
            Self::NotEmpty { .. } => {
                Advice::new(Exit::Refused, "nothing was changed; take an empty folder or another prefix of the bucket")
            }
            Self::Version { .. } => Advice::new(Exit::Error, "a later version of homelab-dr may know it"),
            Self::Format { .. } => Advice::new(Exit::Damaged, FORMAT),
            Self::OtherRepository { .. } => Advice::new(
                Exit::Key,
                "the key belongs to another repository, or another repository lies here: see --repo and --writer-key-file",
            ),
            Self::Forged { .. } => Advice::new(
                Exit::Refused,
                "do not use it: somebody put another repository in the place of yours, or the address or fingerprint is of another one. Your recovery kit shows the right fingerprint",
            ),
            Self::Epoch { .. } => Advice::new(Exit::Refused, EPOCH),
            Self::Retired { .. } => Advice::new(
                Exit::Key,
                "nothing was lost: the owner rotated the writer key (`homelab-dr keys rotate-writer`). Install the new one here, which that command wrote into a file, such as in the Secret of the cluster, and run this again. If nobody rotated it, the record is damaged (`homelab-dr check --repair --from REPLICA` brings it back), or somebody wrote to the store: `homelab-dr keys list` with an identity shows the epochs",
            ),
            Self::Unfinished { .. } => Advice::new(
                Exit::Refused,
                "nothing is damaged: run `homelab-dr keys rotate-writer` with an identity again, which goes on where it was cut off, with the same new key. Until then only reading with an identity works",
            ),
            Self::Removed { .. } => Advice::new(
                Exit::Key,
                "if it was, nothing is damaged: give the identity of a recipient that stayed. If it never was, the newer object below access/ is gone: bring it back from a replica that has it. What was stored before can still be restored with this one",
            ),
            Self::NoAccess { .. } => Advice::new(
                Exit::Damaged,
                "the objects below access/ are gone; bring them back from a copy (`replicate`), or from an older version in the bucket",
            ),
            Self::IdentityNeeded => Advice::new(
                Exit::Usage,
                "give --identity FILE (or HOMELAB_DR_IDENTITY_FILE): the age or SSH key of one of the recipients",
            ),
            Self::Damaged { .. }
            | Self::TooLarge { .. }
            | Self::Blob { .. }
            | Self::Missing { .. }
            | Self::Tree { .. }
            | Self::Sealed { .. }
            | Self::Record { .. }
            | Self::Pack { .. }
            | Self::Parity { .. }
            | Self::Session { .. } => Advice::new(Exit::Damaged, if is_of_epoch(self) { EPOCH } else { CHECK }),
            Self::NotHanded { .. } => Advice::new(
                Exit::Key,
                "a mover was given the keys of another snapshot; restore the snapshot with an identity: `homelab-dr restore SNAPSHOT --target DIR`",
            ),
            Self::Index { .. } => Advice::new(
                Exit::Damaged,
                "run `homelab-dr check --rebuild-index` with the writer key: it makes the segment anew from the packs; then run the same command again. Reading (`restore`, `ls`, `cat`) works as it is",
            ),
            Self::Vanished { .. } => Advice::new(
                Exit::Damaged,
                "something was deleted beneath this run; run it again, then `homelab-dr check`, and see who else can delete here",
            ),
            Self::Unconfirmed { snapshot, source } => {
                let exit = source.advice().map_or(Exit::Error, |advice| advice.exit);
                let help = format!(
                    "run the backup again: the next snapshot does not rest on this one. `homelab-dr check` says whether {0} is whole; if not, `homelab-dr forget {0}`",
                    snapshot.short()
                );
                Advice::new(exit, help)
            }
            Self::NotRetracted { snapshot, .. } => Advice::new(
                Exit::Damaged,
                format!(
                    "run `homelab-dr forget {}`, since that snapshot cannot be restored whole; then run the backup again, and see who else can delete here",
                    snapshot.short()
                ),
            ),
            Self::NotLocked { .. } => Advice::new(
                Exit::Error,
                "the store took the longer lock and does not show it: look at the bucket's object lock settings and the key's rights",
            ),
            Self::Randomness(_) | Self::Seal(_) => {
                Advice::new(Exit::Error, "nothing can be encrypted without; see the system's log")
            }
            Self::Compression(_) => {
                Advice::new(Exit::Error, "there may be too little memory; see the limit of the pod or user")
            }
            Self::Worker { .. } => {
                Advice::new(Exit::Error, "this is a bug in homelab-dr: please report it with the command that you ran")
            }
        })
    }
}

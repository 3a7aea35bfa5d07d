//! What a mover is to bring back, and with which keys.

use minicbor::{Decode, Encode};

use super::job::{Credential, SecretText, receipt};
use crate::base::id::ObjectId;
use crate::crypto::content::HandedKey;

/// What a mover is to bring back into its volume.
#[derive(Encode, Decode)]
#[cbor(map)]
pub struct RestoreJob {
    /// Tells one sending from another, as [`super::Job::salt`] does.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// The run.
    #[n(1)]
    pub run: String,
    /// The address of the store, with all its parameters.
    #[n(2)]
    pub address: String,
    /// What opens it.
    #[n(3)]
    pub credentials: Vec<Credential>,
    /// The line of the writer key: it opens names and places, and proves ids; it opens no content.
    #[n(4)]
    pub writer_key: SecretText,
    /// The snapshot.
    #[n(5)]
    pub snapshot: ObjectId,
    /// The directory of it that becomes the volume's top; empty for all of it.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub within: Vec<u8>,
    /// How many messages with keys follow.
    #[n(7)]
    pub parts: u32,
    /// Bytes a second from the store.
    #[n(8)]
    pub limit_download: Option<u64>,
    /// What is in the volume makes way: else it has to be empty.
    #[n(9)]
    pub in_place: bool,
    /// The volume was made for the claim that is filled, and for nobody before: what a raw one holds is nobody's.
    #[n(10)]
    #[cbor(default)]
    pub fresh: bool,
}

impl RestoreJob {
    /// What the mover answers when it has this job and all of its keys.
    #[must_use]
    pub fn receipt(&self) -> String {
        receipt(&self.salt)
    }
}

/// Content keys of sessions that the snapshot uses.
#[derive(Encode, Decode)]
#[cbor(map)]
pub struct Keys {
    /// Of the job that they are for.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// Which message of them it is, from 0.
    #[n(1)]
    pub number: u32,
    /// The keys.
    #[n(2)]
    pub keys: Vec<HandedKey>,
}

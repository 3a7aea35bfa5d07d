//! What a mover is to do, and with which credentials: CBOR with small integer keys, as records of the repository are.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

/// Text that is wiped, and neither printed nor cloned.
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes over a secret.
    #[must_use]
    pub fn new(text: impl Into<Zeroizing<String>>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A second holder of the same text, said out loud.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> Encode<C> for SecretText {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for SecretText {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Ok(Self(Zeroizing::new(d.str()?.to_owned())))
    }
}

/// A credential of the store.
#[derive(Encode, Decode)]
#[cbor(map)]
pub struct Credential {
    /// Which: the name of the variable that would hold it, such as `AWS_SECRET_ACCESS_KEY`.
    #[n(0)]
    pub name: String,
    /// The credential.
    #[n(1)]
    pub value: SecretText,
}

/// What a mover is to do.
#[derive(Encode, Decode)]
#[cbor(map)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a message")]
pub struct Job {
    /// Tells one sending from another: the mover answers with its hash, so that whoever waits knows that this job arrived and no other.
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
    /// The line of the writer key.
    #[n(4)]
    pub writer_key: SecretText,
    /// The name of the source, `pvc/NAMESPACE/CLAIM`.
    #[n(5)]
    pub source: String,
    /// The name of the machine in the snapshot.
    #[n(6)]
    pub host: String,
    /// Tags of the snapshot.
    #[n(7)]
    pub tags: BTreeMap<String, String>,
    /// Patterns of what is left out.
    #[n(8)]
    pub exclude: Vec<String>,
    /// Read every file.
    #[n(9)]
    pub reread: bool,
    /// Bytes a second to the store.
    #[n(10)]
    pub limit_upload: Option<u64>,
    /// Bytes a second from it.
    #[n(11)]
    pub limit_download: Option<u64>,
    /// Nobody writes to the volume: it is a copy of one moment. What a crash would leave of a database is there whole.
    #[n(12)]
    pub still: bool,
    /// Whoever sends this holds still what is read, and says at the end whether it did: before that the mover commits nothing.
    #[n(13)]
    #[cbor(default)]
    pub held: bool,
    /// The source whose dump stands for data of PostgreSQL in it, and whether that has a snapshot.
    #[n(14)]
    #[cbor(default)]
    pub dumped: Option<Dump>,
    /// Whoever writes to it may have locks that are not seen here.
    #[n(15)]
    #[cbor(default)]
    pub apart: bool,
    /// The run of `backup`, for the record: what is made together says the same.
    #[n(16)]
    pub together: Option<String>,
    /// Bytes of the blocks of databases and images, if it was asked for some.
    #[n(17)]
    pub blocks: Option<u32>,
}

/// A dump that stands for the data of a database.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Dump {
    /// The source.
    #[n(0)]
    pub source: String,
    /// Whether it made a snapshot in this run.
    #[n(1)]
    pub succeeded: bool,
}

pub(super) fn encode<T: Encode<()>>(message: &T) -> Zeroizing<Vec<u8>> {
    // Room for all of it at once: a buffer that grows leaves what it held behind.
    let mut out = Zeroizing::new(Vec::with_capacity(super::MESSAGE_BYTES_MAX));
    #[expect(clippy::expect_used, reason = "writing to a Vec cannot fail")]
    minicbor::encode(message, &mut *out).expect("writing to memory");
    out
}

pub(super) fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Option<T> {
    minicbor::decode(bytes).ok()
}

/// What a mover answers when it has got what goes with a salt.
pub(super) fn receipt(salt: &[u8; 16]) -> String {
    let hash = blake3::derive_key("homelab-dr v1 mover receipt", salt);
    data_encoding::HEXLOWER.encode(hash.first_chunk::<8>().map_or(&[][..], |head| head))
}

impl Job {
    /// What the mover answers when it has got this job.
    #[must_use]
    pub fn receipt(&self) -> String {
        receipt(&self.salt)
    }
}

#[cfg(test)]
pub(super) fn example(run: &str) -> Job {
    let secret = |text: &str| SecretText::new(text.to_owned());
    Job {
        salt: [7; 16],
        run: run.to_owned(),
        address: "s3://box/home?endpoint=https://nas:9000".into(),
        credentials: vec![Credential { name: "AWS_SECRET_ACCESS_KEY".into(), value: secret("hunter2") }],
        writer_key: secret("homelab-dr-writer-1-abc"),
        source: "pvc/media/jellyfin".into(),
        host: "lab".into(),
        tags: BTreeMap::from([("kind".into(), "pvc".into())]),
        exclude: vec!["lost+found/".into()],
        reread: false,
        limit_upload: Some(1 << 20),
        limit_download: None,
        still: false,
        held: false,
        dumped: None,
        apart: false,
        together: None,
        blocks: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_goes_both_ways_and_what_is_cut_off_does_not() {
        let job = example("r");
        let bytes = encode(&job);
        let back: Job = decode(&bytes).expect("its own bytes");
        assert_eq!(
            (back.address.as_str(), back.writer_key.expose()),
            (job.address.as_str(), "homelab-dr-writer-1-abc")
        );
        assert_eq!((back.receipt(), back.limit_upload, back.tags), (job.receipt(), Some(1 << 20), job.tags));
        let dumped = Some(Dump { source: "pg/app".into(), succeeded: true });
        let back: Job = decode(&encode(&Job { dumped: dumped.clone(), ..example("r") })).expect("its own bytes");
        assert_eq!(back.dumped, dumped);
        for cut in 0..bytes.len() {
            assert!(decode::<Job>(&bytes[..cut]).is_none(), "cut at {cut}");
        }
    }

    /// A program of before, which says nothing of it, is not waited for.
    #[test]
    fn a_job_that_does_not_say_that_it_is_held_is_not() {
        let mut bytes = encode(&Job { held: true, apart: true, ..example("r") });
        assert!(decode::<Job>(&bytes).is_some_and(|job| job.held && job.apart));
        // A map of few entries has their number in its first byte; the last entries are the keys 13 and 15 with a boolean each.
        assert_eq!(bytes.split_last_chunk().map(|(_, last)| *last), Some([13, 0xf5, 15, 0xf5]));
        bytes[0] -= 2;
        assert!(decode::<Job>(&bytes[..bytes.len() - 4]).is_some_and(|job| !job.held && !job.apart && job.run == "r"));
    }
}

//! Newtypes for the ids of the repository, so that a pack's id is never taken for a blob's.
//!
//! All are opaque bytes, shown in lower-case hex. Nothing here computes an id: see `crypto::hash`.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

/// Text that is not the hex of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: {bytes} bytes in lower-case hex are expected")]
pub struct IdError {
    /// Which id was expected.
    pub what: &'static str,
    /// How many bytes it has.
    pub bytes: usize,
    /// The text that was given.
    pub text: String,
}

/// Characters of the name of a recovery or a drill.
pub const RUN_CHARS: usize = 8;

/// Whether a text can be such a name: so none leads out of the folder that things of the run are in.
#[must_use]
pub fn is_run(text: &str) -> bool {
    text.len() == RUN_CHARS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Of an id in hex the first 8 digits, the form shown to people.
#[must_use]
pub fn short_hex(hex: &str) -> &str {
    hex.get(..8).unwrap_or(hex)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $bytes;

            /// Wraps raw bytes.
            #[must_use]
            pub const fn new(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// The raw bytes if the slice has the right length.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Lower-case hex, the form in object names and in `--json`.
            #[must_use]
            pub fn hex(&self) -> String {
                HEXLOWER.encode(&self.0)
            }

            /// The first 8 hex digits, the form shown to people.
            #[must_use]
            pub fn short(&self) -> String {
                HEXLOWER.encode(self.0.get(..4).unwrap_or(&self.0))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                HEXLOWER
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|raw| Self::from_slice(&raw))
                    .ok_or_else(|| IdError { what: $what, bytes: $bytes, text: text.to_owned() })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                Self::from_slice(d.bytes()?)
                    .ok_or_else(|| minicbor::decode::Error::message(concat!($what, " of a wrong length")))
            }
        }
    };
}

id!(
    /// Random id of a repository, the only thing an observer learns of it.
    RepositoryId, 16, "repository id"
);
id!(
    /// Keyed BLAKE3 of a chunk's plaintext; names a blob wherever it is stored.
    BlobId, 32, "blob id"
);
id!(
    /// BLAKE3 of an object's stored bytes; the last part of its name.
    ObjectId, 32, "object id"
);
id!(
    /// One-way commitment to a session's content key.
    SessionId, 32, "session id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways_and_short_is_its_start() {
        let id = BlobId::new([0xab; 32]);
        assert_eq!(id.hex().parse::<BlobId>(), Ok(id));
        assert_eq!(id.short(), "abababab");
    }

    #[test]
    fn foreign_text_is_refused_and_named() {
        for text in ["", "ab", "AB", &"AB".repeat(32), &"zz".repeat(32), &"ab".repeat(33)] {
            let error = text.parse::<BlobId>().expect_err(text);
            assert!(error.to_string().contains("blob id"), "{error}");
        }
    }
}

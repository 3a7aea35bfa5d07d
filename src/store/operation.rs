//! The methods of a store as values, for the wrappers that count or choose calls.

use std::fmt;

/// One method of [`Store`](crate::store::Store).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the method of the same name")]
pub enum Operation {
    PutNew,
    PutOver,
    Get,
    GetRange,
    List,
    Stat,
    Delete,
    Versions,
    GetVersion,
    Retention,
    ExtendRetention,
}

impl Operation {
    /// The verb in messages.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::PutNew => "write",
            Self::PutOver => "put right",
            Self::Get | Self::GetRange => "read",
            Self::List => "list",
            Self::Stat => "look up",
            Self::Delete => "delete",
            Self::Versions => "list the versions of",
            Self::GetVersion => "read an old version of",
            Self::Retention => "read the lock of",
            Self::ExtendRetention => "extend the lock of",
        }
    }

    /// Whether it changes the store.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::PutNew | Self::PutOver | Self::Delete | Self::ExtendRetention)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb())
    }
}

//! What a sealed thing is. The number goes into the associated data of every seal, so that one thing cannot stand for another.

/// Kinds of blobs, which live in packs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A chunk of file content; sealed under a session's content key.
    Data = 1,
    /// A leaf of a tree: entries.
    Leaf = 2,
    /// An inner node of a tree: its children.
    Node = 3,
    /// A list of pieces of a large file.
    List = 4,
}

impl Kind {
    /// From its number in a pack table.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Data),
            2 => Some(Self::Leaf),
            3 => Some(Self::Node),
            4 => Some(Self::List),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether it lives in metadata packs, readable with the writer key.
    #[must_use]
    pub const fn is_metadata(self) -> bool {
        !matches!(self, Self::Data)
    }
}

/// Kinds of sealed records, each an object of its own or a part of a pack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RecordKind {
    /// The table of a pack.
    PackTable = 16,
    /// The last bytes of a pack, which say where the table is.
    PackTrailer = 17,
    /// An index segment.
    Index = 18,
    /// A snapshot record or a tombstone.
    Snapshot = 19,
    /// A checkpoint of a running backup.
    Checkpoint = 20,
    /// A mark of the two-phase deletion.
    Doomed = 21,
    /// An epoch record.
    Epoch = 22,
    /// A session.
    Session = 23,
    /// A proof that an identity opened the repository.
    KeyDrill = 24,
    /// Snapshots of which all content was read back.
    Verified = 25,
    /// What a drill of a recovery came to.
    Rehearsal = 26,
}

impl RecordKind {
    /// Whether it is read although the key that sealed it was retired: what lies in packs that stay as they are, and what proves itself by other means (a
    /// session by the key in it, an epoch by its signature). Everything else is sealed anew when a writer key is retired (docs/format.md §8.1).
    #[must_use]
    pub const fn outlives_its_key(self) -> bool {
        matches!(self, Self::PackTable | Self::PackTrailer | Self::Epoch | Self::Session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_both_ways_and_only_data_is_no_metadata() {
        for number in 0..=255 {
            assert_eq!(Kind::from_number(number).map(Kind::number), (1..=4).contains(&number).then_some(number));
        }
        let metadata = [Kind::Data, Kind::Leaf, Kind::Node, Kind::List].map(Kind::is_metadata);
        assert_eq!(metadata, [false, true, true, true]);
    }

    /// The list of docs/format.md §8.1.
    #[test]
    fn what_proves_itself_outlives_its_key() {
        use RecordKind::{
            Checkpoint, Doomed, Epoch, Index, KeyDrill, PackTable, PackTrailer, Rehearsal, Session, Snapshot, Verified,
        };
        assert!([PackTable, PackTrailer, Epoch, Session].into_iter().all(RecordKind::outlives_its_key));
        let others = [Index, Snapshot, Checkpoint, Doomed, KeyDrill, Verified, Rehearsal];
        assert!(!others.into_iter().any(RecordKind::outlives_its_key));
    }
}

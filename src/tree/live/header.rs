//! What the first bytes of a file say. <https://www.sqlite.org/fileformat2.html> §1.3, §3, §4.1.

/// Bytes of a database's header.
pub(super) const HEAD_BYTES: usize = 100;
/// The shortest database: one page of the smallest size.
pub(super) const DATABASE_BYTES_MIN: u64 = 512;
/// What a rollback journal begins with; and ends with, if the transaction went over several databases.
pub(super) const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// A database of SQLite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    /// Changes go to a write-ahead log.
    pub wal: bool,
}

/// Whether a file that begins so is a database. A text that merely begins with the sixteen letters is none: the header has fields that never differ.
/// One of a version that is not known yet is one.
pub(super) fn judge(head: &[u8]) -> Option<Header> {
    let head = head.first_chunk::<HEAD_BYTES>()?;
    let page = u16::from_be_bytes([*head.get(16)?, *head.get(17)?]);
    let pages = page == 1 || (page >= 512 && page.is_power_of_two());
    let is_one = head.starts_with(b"SQLite format 3\0") && pages && head.get(21..24)? == [64, 32, 32];
    is_one.then_some(Header { wal: head.get(18..20)?.contains(&2) })
}

/// Whether a write-ahead log begins so.
pub(super) fn is_wal(head: &[u8]) -> bool {
    matches!(head.first_chunk::<4>(), Some([0x37, 0x7f, 0x06, 0x82 | 0x83]))
}

/// Whether a rollback journal with something in it begins so.
pub(super) fn is_journal(head: &[u8]) -> bool {
    head.starts_with(&JOURNAL_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Vec<u8> {
        let mut head = b"SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20".to_vec();
        head.resize(HEAD_BYTES, 0);
        head
    }

    #[test]
    fn a_header_is_known_by_more_than_its_first_letters() {
        assert_eq!(judge(&head()), Some(Header { wal: false }));
        for (at, byte, wal) in [(18, 2, true), (19, 2, true), (18, 9, false), (16, 2, false)] {
            let mut head = head();
            head[at] = byte;
            assert_eq!(judge(&head), Some(Header { wal }), "{at}");
        }
        for (at, byte) in [(0, b's'), (16, 3), (17, 7), (21, 63), (22, 0), (23, 33)] {
            let mut head = head();
            head[at] = byte;
            assert_eq!(judge(&head), None, "{at}");
        }
        assert_eq!(judge(&head()[..99]), None);
        let mut text = b"SQLite format 3\0 is what a database begins with.".to_vec();
        text.resize(200, b'x');
        assert_eq!(judge(&text), None);
    }
}

//! Leaves, nodes, lists and paths.

use homelab_dr::base::id::BlobId;
use homelab_dr::format::entry::{Content, Entry, Kind, Piece, TreePath};
use homelab_dr::repo::tree_read::{decode_leaf, decode_list, decode_node};
use homelab_dr::repo::tree_write::Child;

use crate::fuzz::mutate::Shape;
use crate::fuzz::records::cbor;
use crate::fuzz::samples::{entries, path, pieces};
use crate::fuzz::{IN_PROPORTION, fuzz};

const ID: BlobId = BlobId::new([6; 32]);

fn encoded<T: minicbor::Encode<()>>(value: T) -> Vec<u8> {
    minicbor::to_vec(value).expect("memory")
}

/// A path that came through a check can be joined below any directory and stays there.
fn stays_below(path: &TreePath) {
    assert!(path.names().all(|name| !name.is_empty() && name != b".." && name != b"." && !name.contains(&0)));
    assert!(!path.as_bytes().starts_with(b"/"));
    assert!(!path.display().chars().any(char::is_control));
    if let Some(parent) = path.parent() {
        assert!(parent.join(path.name()).as_ref() == Ok(path) && path.is_within(&parent) && parent < *path);
    }
}

#[test]
fn entry() {
    let corpus: Vec<_> = entries().iter().map(encoded).collect();
    for (sample, entry) in corpus.iter().zip(entries()) {
        assert_eq!(minicbor::decode::<Entry>(sample).expect("what was written"), entry);
    }
    fuzz("entry", Shape::Cbor, &corpus, IN_PROPORTION, |bytes| cbor::<Entry>(bytes).is_some());
}

#[test]
fn leaf() {
    let corpus = [encoded(entries()), encoded(Vec::<Entry>::new()), encoded(&entries()[..2])];
    fuzz("leaf", Shape::Cbor, &corpus, IN_PROPORTION, |bytes| {
        let Ok(entries) = decode_leaf(&ID, bytes) else { return false };
        assert!(entries.is_sorted_by(|a, b| a.path < b.path));
        for entry in &entries {
            stays_below(&entry.path);
            match &entry.kind {
                Kind::HardLink { target } => stays_below(target),
                Kind::File { size, content: Content::Inline(pieces) } => {
                    assert_eq!(pieces.iter().map(|piece| u128::from(piece.length())).sum::<u128>(), u128::from(*size));
                }
                _ => {}
            }
        }
        assert_eq!(decode_leaf(&ID, &encoded(&entries)).expect("what was written"), entries);
        true
    });
}

#[test]
fn node() {
    let child = |first| Child { first, blob: ID, entries: 3, bytes: u64::MAX };
    let corpus =
        [encoded(vec![child(TreePath::root()), child(path("a")), child(path("a/b"))]), encoded(vec![child(path("z"))])];
    fuzz("node", Shape::Cbor, &corpus, IN_PROPORTION, |bytes| {
        let Ok(children) = decode_node(&ID, bytes) else { return false };
        assert!(!children.is_empty() && children.is_sorted_by(|a, b| a.first < b.first));
        children.iter().for_each(|child| stays_below(&child.first));
        assert_eq!(decode_node(&ID, &encoded(&children)).expect("what was written"), children);
        true
    });
}

#[test]
fn list() {
    let corpus = [encoded(pieces()), encoded(Vec::<Piece>::new())];
    fuzz("list", Shape::Cbor, &corpus, IN_PROPORTION, |bytes| {
        let Ok(pieces) = decode_list(&ID, bytes) else { return false };
        assert_eq!(decode_list(&ID, &encoded(&pieces)).expect("what was written"), pieces);
        true
    });
}

#[test]
fn tree_path() {
    let corpus = [b"".to_vec(), b"a".to_vec(), b"a/b.c/\xff\x1b[2J".to_vec(), vec![b'n'; 255]];
    let words = ["/", "..", ".", "\0", "//", "a/../b", "\u{1b}[2J", "\u{85}", "\u{202e}"];
    fuzz("tree_path", Shape::Text(&words), &corpus, IN_PROPORTION, |bytes| {
        let Ok(path) = TreePath::new(bytes) else { return false };
        assert_eq!(path.as_bytes(), bytes);
        stays_below(&path);
        true
    });
}

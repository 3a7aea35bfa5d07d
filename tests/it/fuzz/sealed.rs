//! Seals and what opens them: nothing opens but what was sealed.

use std::cell::RefCell;
use std::sync::Arc;

use homelab_dr::base::id::{BlobId, ObjectId};
use homelab_dr::compress::{Packing, Unpacking};
use homelab_dr::crypto::content::{CONTENT_HEAD, ContentKey, ContentSealer, epoch_public};
use homelab_dr::crypto::meta::{META_OVERHEAD, MetaKeys, Subject};
use homelab_dr::crypto::recipients::{IdentitySource, NoPrompt, PLAINTEXT_BYTES_MAX, Prompt, unwrap, wrap};
use homelab_dr::format::kind::{Kind, RecordKind};
use homelab_dr::format::record;
use homelab_dr::repo::packer::{open_table, open_trailer};

use crate::fuzz::mutate::Shape;
use crate::fuzz::samples::{REPOSITORY, secret, tables};
use crate::fuzz::{IN_PROPORTION, Memory, fuzz};

const ID: BlobId = BlobId::new([6; 32]);

fn meta_keys() -> MetaKeys {
    MetaKeys::new(REPOSITORY, 1, secret(1))
}

#[test]
fn unpacking() {
    const LIMIT: usize = 1 << 20;
    let plains =
        [b"all work and no play ".repeat(1000), vec![0; LIMIT], (0..=255).collect(), Vec::new(), vec![0; LIMIT + 1]];
    let corpus: Vec<Vec<u8>> = plains
        .iter()
        .zip([3, 19, 1, 3, 22])
        .map(|(plain, level)| {
            let mut out = Vec::new();
            Packing::new(level).expect("setup").append(plain, &mut out);
            out
        })
        .collect();
    let unpacking = RefCell::new(Unpacking::new().expect("setup"));
    let open = |bytes: &[u8]| unpacking.borrow_mut().open(bytes, LIMIT).map(<[u8]>::to_vec);
    for (plain, stored) in plains.iter().zip(&corpus) {
        assert_eq!(open(stored).ok().as_ref(), Some(plain).filter(|plain| plain.len() <= LIMIT));
    }
    let memory = Memory { fixed: LIMIT as u64 + (64 << 10), each: 4 };
    fuzz("unpacking", Shape::Raw, &corpus[..4], memory, |bytes| open(bytes).is_ok_and(|plain| plain.len() <= LIMIT));
}

#[test]
fn metadata_seal() {
    let keys = meta_keys();
    let subject = Subject::Blob(Kind::Leaf, &ID);
    let corpus: Vec<_> =
        [&b"names"[..], b"", &[7; 5000]].iter().map(|plain| keys.seal(subject, plain).expect("random")).collect();
    fuzz("metadata_seal", Shape::Raw, &corpus, Memory { fixed: 4096, each: 4 }, |bytes| {
        assert!(keys.open(Subject::Record(RecordKind::Index), bytes).is_err(), "opened as something else");
        let opened = keys.open(subject, bytes).is_ok();
        assert!(!opened || corpus.iter().any(|sealed| sealed == bytes), "forged");
        opened
    });
}

#[test]
fn content_seal_and_wrap() {
    let private = secret(2);
    let (sealer, wrapped) = ContentSealer::new(REPOSITORY, 1, &epoch_public(&private)).expect("random");
    let corpus: Vec<_> = [&b"content"[..], b"", &[7; 5000]]
        .iter()
        .map(|plain| {
            let mut buffer = vec![0; CONTENT_HEAD];
            buffer.extend_from_slice(plain);
            sealer.seal(&ID, &mut buffer).expect("short");
            buffer
        })
        .collect();
    let key = ContentKey::unwrap(REPOSITORY, 1, &private, &wrapped).expect("its own key");
    fuzz("content_seal", Shape::Raw, &corpus, Memory { fixed: 4096, each: 4 }, |bytes| {
        let opened = key.open(&ID, bytes, &mut Vec::new()).is_ok();
        assert!(!opened || corpus.iter().any(|sealed| sealed == bytes), "forged");
        opened
    });
    fuzz("content_wrap", Shape::Raw, &[wrapped.to_vec()], IN_PROPORTION, |bytes| {
        let opened = ContentKey::unwrap(REPOSITORY, 1, &private, bytes).is_ok();
        assert!(!opened || bytes == wrapped, "forged");
        opened
    });
}

/// As a holder of the writer key could forge them: sealed well, with anything inside.
#[test]
fn pack_trailer_and_table() {
    let keys = meta_keys();
    let pack = ObjectId::new([1; 32]);
    let seal = |kind, plain: &[u8]| keys.seal(Subject::Record(kind), plain).expect("random");
    let trailers = [[4096_u32, 8192], [0, 0], [u32::MAX, u32::MAX]]
        .map(|pair| [pair.map(u32::to_le_bytes).concat(), vec![7; 32]].concat());
    fuzz("pack_trailer", Shape::Raw, &trailers, IN_PROPORTION, |plain| {
        let Ok(place) = open_trailer(&keys, &pack, &seal(RecordKind::PackTrailer, plain)) else {
            return plain.len() == 40; // refused for what it says
        };
        assert!(place.range.start <= place.range.end);
        true
    });
    let tables: Vec<_> = tables().iter().map(|table| record::encode(table, META_OVERHEAD)).collect();
    let place = open_trailer(&keys, &pack, &seal(RecordKind::PackTrailer, &trailers[0])).expect("its own trailer");
    fuzz("sealed_table", Shape::Record, &tables, IN_PROPORTION, |plain| {
        let sealed = keys.seal(Subject::Hidden(RecordKind::PackTable, &[7; 32]), plain).expect("random");
        open_table(&keys, &pack, &place, &sealed).is_ok_and(|table| table.check().is_ok())
    });
}

#[test]
fn age_file() {
    let secret = b"AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
    let identity = [IdentitySource::parse("test", secret).expect("a key")];
    let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
    let recipients = identity[0].recipients();
    let plains = [b"keys".to_vec(), Vec::new(), vec![7; 70_000]];
    let corpus: Vec<_> = plains.iter().map(|plain| wrap(plain, &recipients).expect("memory")).collect();
    let fixed = 2 * PLAINTEXT_BYTES_MAX as u64 + (1 << 20);
    fuzz(
        "age_file",
        Shape::Text(&["-> ", "-> X25519 ", "-> scrypt c2FsdA 30\n", "---", "\n", "age-encryption.org/v1\n"]),
        &corpus,
        Memory { fixed, each: 128 },
        |bytes| {
            let Ok(opened) = unwrap(bytes, &identity, &prompt) else { return false };
            assert!(plains.iter().any(|plain| *plain == *opened.plaintext), "opened to what was never wrapped");
            true
        },
    );
}

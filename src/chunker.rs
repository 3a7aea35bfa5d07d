//! Layer 1: where files are cut into chunks, so that what did not change is cut alike and stored once.
//!
//! Three ways, chosen by what a file is: *paged* (databases and disk images are rewritten page by page: fixed blocks, so that a changed page costs
//! one block), *stream* (content-defined, `FastCDC` with a gear table that only this repository has), *small* (many small files share a chunk; which
//! ones is decided by their names, so that it is known before they are read).

use fastcdc::v2020::{Normalization, cut_gear, select_masks};

use crate::base::secret::Secret;
use crate::base::units::{KIB, MIB, parse_size};

/// Files below this many bytes share chunks.
pub const SMALL_BYTES: u64 = 192 * KIB;
/// A shared chunk is closed when it holds this many bytes.
pub const BATCH_BYTES_MAX: u64 = MIB;
/// Longest chunk, in bytes; every buffer is bounded by it.
pub const CHUNK_BYTES_MAX: usize = 4 << 20;
const CHUNK_BYTES_MAX_U32: u32 = 4 << 20;
/// Files of whole pages at least this long are cut in blocks.
const PAGED_BYTES_MIN: u64 = MIB;

/// How a file is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Blocks of this many bytes, at multiples of it.
    Paged(u32),
    /// Content-defined with this average.
    Stream {
        /// Shortest chunk in bytes.
        min: u32,
        /// Average.
        average: u32,
        /// Longest.
        max: u32,
    },
}

impl Cut {
    /// The longest chunk, in bytes: what has to be at hand to know where the next one ends.
    #[must_use]
    pub const fn longest(self) -> usize {
        match self {
            Self::Paged(block) => block as usize,
            Self::Stream { max, .. } => max as usize,
        }
    }
}

/// The blocks of databases and images: at least so many bytes, at least so many more above 16 GiB. A power of two from 64 KiB to [`CHUNK_BYTES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockSize(u32);

impl BlockSize {
    /// What can be chosen, as it is written.
    pub const WORDS: [&str; 7] = ["64KiB", "128KiB", "256KiB", "512KiB", "1MiB", "2MiB", "4MiB"];

    /// Of so many bytes; `None` if that cannot be chosen.
    #[must_use]
    pub fn new(bytes: u64) -> Option<Self> {
        let least = u64::from(Self::default().0);
        let chosen = u32::try_from(bytes).ok().filter(|size| size.is_power_of_two() && *size <= CHUNK_BYTES_MAX_U32);
        chosen.filter(|size| u64::from(*size) >= least).map(Self)
    }

    /// As it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_size(text).ok().and_then(Self::new)
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }
}

impl Default for BlockSize {
    fn default() -> Self {
        Self(64 << 10)
    }
}

/// Media and archives: compressed, never changed in place; few large chunks.
const MEDIA: Cut = Cut::Stream { min: 512 << 10, average: 1 << 20, max: CHUNK_BYTES_MAX_U32 };
/// Everything else: an insertion costs about this much.
const GENERAL: Cut = Cut::Stream { min: 64 << 10, average: 256 << 10, max: 1 << 20 };

/// Bytes at the start of a file that [`choose`] wants to see.
pub const HEAD_BYTES: usize = 16;

/// How to cut a file of `size` bytes that begins with `head`.
#[must_use]
pub fn choose(head: &[u8], size: u64, blocks: BlockSize) -> Cut {
    const MEDIA_MAGIC: [&[u8]; 14] = [
        b"\xff\xd8\xff",       // JPEG
        b"\x89PNG",            //
        b"GIF8",               //
        b"RIFF",               // WebP, AVI, WAV
        b"\x1a\x45\xdf\xa3",   // Matroska, WebM
        b"ID3",                // MP3
        b"\xff\xfb",           // MP3 without a tag
        b"OggS",               //
        b"fLaC",               //
        b"PK\x03\x04",         // zip and what is built on it
        b"\x1f\x8b",           // gzip
        b"\xfd7zXZ",           //
        b"\x28\xb5\x2f\xfd",   // zstd
        b"7z\xbc\xaf\x27\x1c", //
    ];
    let sqlite = head.starts_with(b"SQLite format 3\0");
    let media = MEDIA_MAGIC.iter().any(|magic| head.starts_with(magic)) || head.get(4..8) == Some(b"ftyp");
    if !media && size >= PAGED_BYTES_MIN && (sqlite || size.is_multiple_of(4096)) {
        return paged(size, blocks);
    }
    if media { MEDIA } else { GENERAL }
}

/// How to cut what is known to be rewritten page by page, whatever it begins with: a device.
#[must_use]
pub fn paged(size: u64, blocks: BlockSize) -> Cut {
    // A terabyte of image must not need sixteen million blocks.
    Cut::Paged(if size > 16 << 30 { blocks.0.max(256 << 10) } else { blocks.0 })
}

/// Cuts with the repository's own gear table.
pub struct Chunker {
    gear: Box<[u64; 256]>,
    shifted: Box<[u64; 256]>,
    batch_key: [u8; 32],
}

impl Chunker {
    /// From the repository's chunker key: 256 words of BLAKE3 output under `homelab-dr v1 gear`.
    #[must_use]
    pub fn new(chunker_key: &Secret) -> Self {
        let mut words =
            blake3::Hasher::new_derive_key("homelab-dr v1 gear").update(chunker_key.expose()).finalize_xof();
        let mut gear = Box::new([0_u64; 256]);
        for word in gear.iter_mut() {
            let mut raw = [0; 8];
            words.fill(&mut raw);
            *word = u64::from_le_bytes(raw);
        }
        let mut shifted = gear.clone();
        for word in shifted.iter_mut() {
            *word <<= 1;
        }
        Self { gear, shifted, batch_key: *chunker_key.derive("homelab-dr v1 batch").expose() }
    }

    /// Length of the next chunk at the start of `buffer`, which lies at `offset` in the file and holds [`Cut::longest`] bytes or all that is left.
    #[must_use]
    pub fn next(&self, cut: Cut, offset: u64, buffer: &[u8]) -> usize {
        match cut {
            Cut::Paged(block) => {
                let into = usize::try_from(offset % u64::from(block)).unwrap_or(0);
                buffer.len().min(block as usize - into)
            }
            Cut::Stream { min, average, max } => {
                let (min, average, max) = (min as usize, average as usize, max as usize);
                let (mask_small, mask_large) = select_masks(average, Normalization::Level1);
                let length = buffer.len().min(max);
                let head = buffer.get(..length).unwrap_or(buffer);
                if length <= min {
                    return length;
                }
                let (_, end) = cut_gear(
                    head,
                    min,
                    average,
                    max,
                    mask_small,
                    mask_large,
                    mask_small << 1,
                    mask_large << 1,
                    self.gear.as_slice(),
                    self.shifted.as_slice(),
                );
                end.clamp(1, length)
            }
        }
    }

    /// Whether the batch of small files ends with the file of this name (one in 64 does, the same ones wherever the directory lies).
    #[must_use]
    pub fn batch_ends(&self, name: &[u8]) -> bool {
        blake3::keyed_hash(&self.batch_key, name).as_bytes().first().is_some_and(|byte| byte.trailing_zeros() >= 6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u8, length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut out);
        out
    }

    fn chunks<'a>(chunker: &Chunker, cut: Cut, mut data: &'a [u8]) -> Vec<&'a [u8]> {
        let mut out = Vec::new();
        let whole = data.len();
        while !data.is_empty() {
            let offset = (whole - data.len()) as u64;
            let (chunk, rest) = data.split_at(chunker.next(cut, offset, &data[..data.len().min(CHUNK_BYTES_MAX)]));
            out.push(chunk);
            data = rest;
        }
        out
    }

    #[test]
    fn an_insertion_changes_few_chunks_and_another_key_changes_all() {
        let chunker = Chunker::new(&Secret::new([1; 32]));
        let data = noise(7, 8 << 20);
        let mut inserted = data.clone();
        inserted.splice(3_000_000..3_000_000, *b"a few bytes more");
        let before = chunks(&chunker, GENERAL, &data);
        let after = chunks(&chunker, GENERAL, &inserted);
        let new = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!((16..=64).contains(&before.len()), "{} chunks of 8 MiB", before.len());
        assert!(new <= 3, "{new} new chunks for one insertion");
        let other = chunks(&Chunker::new(&Secret::new([2; 32])), GENERAL, &data);
        assert!(other.iter().filter(|chunk| before.contains(chunk)).count() <= 1);
    }

    #[test]
    fn limits_hold_for_every_way_to_cut() {
        let chunker = Chunker::new(&Secret::new([1; 32]));
        for data in [noise(1, 9 << 20), vec![0; 9 << 20]] {
            for cut in [MEDIA, GENERAL, Cut::Paged(64 << 10)] {
                let parts = chunks(&chunker, cut, &data);
                assert_eq!(parts.concat(), data);
                assert!(parts.iter().all(|part| part.len() <= CHUNK_BYTES_MAX));
                if let Cut::Stream { min, .. } = cut {
                    assert!(parts[..parts.len() - 1].iter().all(|part| part.len() >= min as usize));
                }
            }
        }
    }

    #[test]
    fn databases_and_images_are_paged_media_is_not() {
        assert!(matches!(choose(b"SQLite format 3\0", 8 << 20, BlockSize::default()), Cut::Paged(_)));
        assert!(matches!(choose(&[0; 16], 8 << 20, BlockSize::default()), Cut::Paged(_)));
        assert_eq!(choose(b"\xff\xd8\xff\xe0", 8 << 20, BlockSize::default()), MEDIA);
        assert_eq!(choose(b"\0\0\0\x20ftypisom", 8 << 20, BlockSize::default()), MEDIA);
        assert_eq!(choose(b"{\"a\": 1}", (8 << 20) + 1, BlockSize::default()), GENERAL);
    }

    #[test]
    fn blocks_are_as_long_as_was_asked_and_longer_in_huge_files() {
        let words: Vec<_> = BlockSize::WORDS.iter().map(|word| BlockSize::parse(word).map(BlockSize::bytes)).collect();
        assert_eq!(words, [16, 17, 18, 19, 20, 21, 22].map(|power| Some(1 << power)));
        for wrong in ["0", "4KiB", "32KiB", "100KiB", "3MiB", "8MiB", "8GiB", "x", ""] {
            assert_eq!(BlockSize::parse(wrong), None, "{wrong}");
        }
        let asked = |word| BlockSize::parse(word).expect("one of the words");
        let huge = (16 << 30) + 4096;
        assert_eq!(paged(16 << 30, BlockSize::default()), Cut::Paged(64 << 10));
        assert_eq!(paged(huge, BlockSize::default()), Cut::Paged(256 << 10));
        assert_eq!(paged(huge, asked("128KiB")), Cut::Paged(256 << 10));
        assert_eq!(paged(huge, asked("1MiB")), Cut::Paged(1 << 20));
        assert_eq!(choose(&[0; 16], 8 << 20, asked("4MiB")), Cut::Paged(4 << 20));
        assert_eq!(choose(b"\xff\xd8\xff\xe0", 8 << 20, asked("4MiB")), MEDIA, "media has no pages");
    }
}

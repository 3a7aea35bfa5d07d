//! Layer 1: zstd within limits. The first byte of a blob's plaintext says how the rest is stored: 0 as it is, 1–22 zstd at that level.

use zstd::bulk::{Compressor, Decompressor};

/// The level when none is asked for.
pub const LEVEL_DEFAULT: i32 = 3;
/// Stored as it is.
const RAW: u8 = 0;

/// Why stored bytes did not decompress.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// Nothing there, or a marker that no version writes.
    #[error("the compression marker {0:?} is unknown")]
    Marker(Option<u8>),
    /// More than the limit, or not what zstd writes.
    #[error("the bytes do not decompress to at most {limit} bytes")]
    Broken {
        /// The limit in bytes.
        limit: usize,
        /// What zstd says.
        #[source]
        source: std::io::Error,
    },
    /// zstd could not begin (out of memory).
    #[error("zstd could not be set up")]
    Setup(#[source] std::io::Error),
}

/// Compresses blobs one after another with one context.
pub struct Packing {
    level: u8,
    zstd: Compressor<'static>,
    scratch: Vec<u8>,
}

impl Packing {
    /// `level` is 1 to 22; other values become the nearest.
    pub fn new(level: i32) -> Result<Self, CompressError> {
        let level = level.clamp(1, 22);
        let zstd = Compressor::new(level).map_err(CompressError::Setup)?;
        Ok(Self { level: u8::try_from(level).unwrap_or(3), zstd, scratch: Vec::new() })
    }

    /// Appends marker and stored bytes of `plain` to `out`; raw when compressing gains less than 1/32.
    pub fn append(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        self.scratch.clear();
        self.scratch.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        let worth = plain.len() - plain.len() / 32;
        match self.zstd.compress_to_buffer(plain, &mut self.scratch) {
            Ok(length) if length < worth => {
                out.push(self.level);
                out.extend_from_slice(&self.scratch);
            }
            _ => {
                out.push(RAW);
                out.extend_from_slice(plain);
            }
        }
    }
}

/// The longest chunk that writers make.
const ONE_FOR_ALL: usize = 4 << 20;

/// Decompresses blobs one after another with one context.
pub struct Unpacking {
    zstd: Decompressor<'static>,
    plain: Vec<u8>,
}

impl Unpacking {
    /// A fresh context.
    pub fn new() -> Result<Self, CompressError> {
        Ok(Self { zstd: Decompressor::new().map_err(CompressError::Setup)?, plain: Vec::new() })
    }

    /// The plaintext of what [`Packing::append`] wrote, until the next call; at most `limit` bytes, allocated only as far as the frame says (in steps).
    pub fn open<'a>(&'a mut self, stored: &'a [u8], limit: usize) -> Result<&'a [u8], CompressError> {
        let too_long = || CompressError::Broken { limit, source: std::io::Error::other("longer than its limit") };
        match stored.split_first() {
            Some((&RAW, body)) if body.len() > limit => Err(too_long()),
            Some((&RAW, body)) => Ok(body),
            Some((1..=22, body)) => {
                let capacity = match zstd::zstd_safe::get_frame_content_size(body) {
                    Ok(Some(size)) => usize::try_from(size).unwrap_or(usize::MAX).min(limit),
                    _ => limit,
                };
                self.plain.clear();
                // One buffer for nearly all there are, whose unused pages take no memory: one that grows with every longer blob leaves holes behind it.
                self.plain.reserve_exact(if capacity > ONE_FOR_ALL / 16 {
                    capacity.max(ONE_FOR_ALL.min(limit))
                } else {
                    capacity
                });
                self.zstd
                    .decompress_to_buffer(body, &mut self.plain)
                    .map_err(|source| CompressError::Broken { limit, source })?;
                // The buffer may be larger than what was asked for.
                if self.plain.len() > limit { Err(too_long()) } else { Ok(&self.plain) }
            }
            marker => Err(CompressError::Marker(marker.map(|(marker, _)| *marker))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both_ways(plain: &[u8]) -> usize {
        let mut stored = Vec::new();
        Packing::new(LEVEL_DEFAULT).expect("setup").append(plain, &mut stored);
        let length = stored.len();
        let mut unpack = Unpacking::new().expect("setup");
        assert_eq!(unpack.open(&stored, plain.len()).expect("what was written"), plain);
        length
    }

    #[test]
    fn text_shrinks_and_noise_costs_one_byte() {
        assert!(both_ways(&b"all work and no play ".repeat(1000)) < 200);
        let noise: Vec<u8> = blake3::Hasher::new().finalize_xof().bytes(10_000);
        assert_eq!(both_ways(&noise), noise.len() + 1);
        assert_eq!(both_ways(b""), 1);
    }

    trait Bytes {
        fn bytes(self, count: usize) -> Vec<u8>;
    }
    impl Bytes for blake3::OutputReader {
        fn bytes(mut self, count: usize) -> Vec<u8> {
            let mut out = vec![0; count];
            self.fill(&mut out);
            out
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_rubbish_is_an_error() {
        let mut bomb = Vec::new();
        Packing::new(19).expect("setup").append(&vec![0; 50_000_000], &mut bomb);
        let mut unpack = Unpacking::new().expect("setup");
        assert!(matches!(unpack.open(&bomb, 1_000_000), Err(CompressError::Broken { .. })));
        assert!(matches!(unpack.open(&[], 10), Err(CompressError::Marker(None))));
        assert!(matches!(unpack.open(&[99, 1, 2], 10), Err(CompressError::Marker(Some(99)))));
        assert!(matches!(unpack.open(&[3, 1, 2], 10), Err(CompressError::Broken { .. })));
        assert!(matches!(unpack.open(&[0, 1, 2], 1), Err(CompressError::Broken { .. })));
    }
}

//! What a thread needs to open blobs one after another: its buffers and the context of zstd.

use crate::compress::{CompressError, Unpacking};

/// Opens blobs, one at a time; the plaintext lives until the next one.
#[derive(Default)]
pub struct Opener {
    stored: Vec<u8>,
    unpacking: Option<Unpacking>,
}

impl Opener {
    /// Where compressed bytes go, and what decompresses them.
    pub(super) fn parts(&mut self) -> Result<(&mut Vec<u8>, &mut Unpacking), CompressError> {
        let unpacking = match self.unpacking.take() {
            Some(unpacking) => unpacking,
            None => Unpacking::new()?,
        };
        Ok((&mut self.stored, self.unpacking.insert(unpacking)))
    }
}

//! The end of what a program writes, which has to have a text in it where somebody says so: a dump that says itself that it is whole.

/// Bytes at the end of an output in which the text may be.
pub const TAIL_BYTES: usize = 1024;

/// Watches an output.
#[derive(Debug)]
pub struct Tail {
    wanted: Option<String>,
    last: Vec<u8>,
}

impl Tail {
    /// What has to be there; nothing, if it is not known.
    #[must_use]
    pub const fn new(wanted: Option<String>) -> Self {
        Self { wanted, last: Vec::new() }
    }

    /// The next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        if self.wanted.is_some() {
            let bytes = bytes.get(bytes.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
            self.last.extend_from_slice(bytes);
            let over = self.last.len().saturating_sub(TAIL_BYTES);
            self.last.drain(..over);
        }
    }

    /// The text that should be at the end, and is not.
    #[must_use]
    pub fn lacks(&self) -> Option<&str> {
        let wanted = self.wanted.as_deref()?;
        let is_there = self.last.windows(wanted.len().max(1)).any(|window| window == wanted.as_bytes());
        (!is_there).then_some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_looked_for_in_the_last_bytes_however_they_come() {
        let lacks = |pieces: &[&[u8]]| {
            let mut tail = Tail::new(Some("whole".to_owned()));
            for piece in pieces {
                tail.take(piece);
            }
            tail.lacks().is_some()
        };
        let much = [b'x'; TAIL_BYTES];
        let rest = &much[5..];
        assert!(lacks(&[]) && lacks(&[b"who"]) && lacks(&[b"whole", &much]) && lacks(&[b"whole", rest, b"x"]));
        assert!(!lacks(&[b"whole"]) && !lacks(&[&much, b"wh", b"ole"]) && !lacks(&[b"whole", rest]));
        assert!(!lacks(&[&[&much[..], b"whole\n"].concat()]));
        let mut any = Tail::new(None);
        any.take(b"x");
        assert!(any.lacks().is_none() && any.last.is_empty());
    }
}

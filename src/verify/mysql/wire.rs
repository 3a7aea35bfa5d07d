//! Packets: three bytes of length, a number that counts them, and the content. And what is in them, read with a look at how much is left.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Longest packet that is taken: one row of an answer to a check.
const PACKET_BYTES_MAX: usize = 4 << 20;

pub(super) struct Wire<S> {
    stream: S,
    sequence: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, sequence: 0 }
    }

    /// The stream, and which number comes next: TLS goes on with it.
    pub(super) fn into_parts(self) -> (S, u8) {
        (self.stream, self.sequence)
    }

    pub(super) const fn going_on(stream: S, sequence: u8) -> Self {
        Self { stream, sequence }
    }

    /// A command begins a new count.
    pub(super) const fn begin(&mut self) {
        self.sequence = 0;
    }

    pub(super) async fn send(&mut self, content: &[u8]) -> Result<(), String> {
        let length = u32::try_from(content.len()).ok().filter(|length| *length < 0x00ff_ffff);
        let [a, b, c, _] = length.ok_or_else(|| "the query is too long".to_owned())?.to_le_bytes();
        let packet = [&[a, b, c, self.sequence], content].concat();
        self.sequence = self.sequence.wrapping_add(1);
        let sent = async {
            self.stream.write_all(&packet).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| format!("the connection was cut off: {error}"))
    }

    /// The next packet. It is read as it comes: a length that nothing follows takes no memory.
    pub(super) async fn packet(&mut self) -> Result<Vec<u8>, String> {
        let cut = |error: std::io::Error| format!("the connection was cut off: {error}");
        let head = self.stream.read_u32_le().await.map_err(cut)?;
        let [a, b, c, sequence] = head.to_le_bytes();
        let length = u32::from_le_bytes([a, b, c, 0]);
        if length as usize > PACKET_BYTES_MAX || sequence != self.sequence {
            return Err(super::strange("a packet that is too long or out of turn"));
        }
        self.sequence = sequence.wrapping_add(1);
        let mut content = Vec::new();
        (&mut self.stream).take(u64::from(length)).read_to_end(&mut content).await.map_err(cut)?;
        if content.len() == length as usize { Ok(content) } else { Err("the connection was cut off".to_owned()) }
    }
}

/// Bytes of a packet that are still to be read.
pub(super) struct Reading<'a>(pub &'a [u8]);

impl<'a> Reading<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes, the least first.
    pub(super) fn number(&mut self, count: usize) -> Option<u64> {
        Some(self.take(count)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A number of one byte, or of as many as its first byte says.
    pub(super) fn length(&mut self) -> Option<u64> {
        match self.number(1)? {
            0xfc => self.number(2),
            0xfd => self.number(3),
            0xfe => self.number(8),
            small @ 0..=0xfa => Some(small),
            _ => None,
        }
    }

    /// Up to a zero byte, which is passed over; all of it if there is none.
    pub(super) fn text(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let text = self.take(end).unwrap_or_default();
        let _ = self.take(1);
        text
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

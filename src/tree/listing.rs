//! The names in a directory, sorted, in little memory: one buffer for all of them and 16 bytes each.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::RawDir;
use rustix::io::Result;

/// What one `getdents64` fills: about a thousand names.
const BUFFER_BYTES: usize = 32 * 1024;

/// Names in byte order, handed out one after another.
#[derive(Default)]
pub(crate) struct Names {
    /// All names, each with its closing NUL.
    bytes: Vec<u8>,
    /// Start and length with NUL, last name first.
    spans: Vec<(usize, usize)>,
}

impl Names {
    /// Lists an open directory; `.` and `..` are left out.
    pub(crate) fn list(directory: impl AsFd) -> Result<Self> {
        let mut names = Self::default();
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        let mut raw = RawDir::new(directory.as_fd(), buffer.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            names.push(entry?.file_name());
        }
        names.sort();
        Ok(names)
    }

    /// A single name.
    pub(crate) fn only(name: &CStr) -> Self {
        let mut names = Self::default();
        let bytes = name.to_bytes_with_nul();
        names.spans.push((0, bytes.len()));
        names.bytes.extend_from_slice(bytes);
        names
    }

    fn push(&mut self, name: &CStr) {
        if !matches!(name.to_bytes(), b"." | b".." | b"") {
            let bytes = name.to_bytes_with_nul();
            self.spans.push((self.bytes.len(), bytes.len()));
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        // With its NUL a name sorts before every longer name that it begins, as without.
        self.spans.sort_unstable_by(|a, b| slice(bytes, *b).cmp(slice(bytes, *a)));
    }

    /// The next name in byte order.
    pub(crate) fn next(&mut self) -> Option<&CStr> {
        let span = self.spans.pop()?;
        CStr::from_bytes_with_nul(slice(&self.bytes, span)).ok()
    }

    /// The next name, and for each of `endings` whether the name with it is still to come.
    pub(crate) fn next_with<const N: usize>(&mut self, endings: [&[u8]; N]) -> Option<(&CStr, [bool; N])> {
        let span = self.spans.pop()?;
        let name = slice(&self.bytes, (span.0, span.1.saturating_sub(1)));
        let there = endings.map(|ending| {
            let wanted = || name.iter().chain(ending).chain(&[0]);
            self.spans.binary_search_by(|span| wanted().cmp(slice(&self.bytes, *span))).is_ok()
        });
        Some((CStr::from_bytes_with_nul(slice(&self.bytes, span)).ok()?, there))
    }

    /// Whether `name` is still to come.
    pub(crate) fn contains(&self, name: &CStr) -> bool {
        let wanted = name.to_bytes_with_nul();
        self.spans.binary_search_by(|span| wanted.cmp(slice(&self.bytes, *span))).is_ok()
    }
}

fn slice(bytes: &[u8], (start, length): (usize, usize)) -> &[u8] {
    bytes.get(start..start.saturating_add(length)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_byte_order() {
        let mut names = Names::default();
        for name in [c"b", c"..", c"a.b", c"a", c"\xff", c".", c"a-"] {
            names.push(name);
        }
        names.sort();
        assert!(names.contains(c"a.b") && names.contains(c"a") && !names.contains(c"a.") && !names.contains(c"z"));
        assert_eq!(names.next_with([b".b", b".", b"-", b""]), Some((c"a", [true, false, true, false])));
        names.push(c"a");
        names.sort();
        let mut seen = Vec::new();
        while let Some(name) = names.next() {
            seen.push(name.to_bytes().to_vec());
        }
        assert_eq!(seen, [&b"a"[..], b"a-", b"a.b", b"b", b"\xff"]);
    }
}

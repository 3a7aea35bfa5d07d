//! The signed JSON: `{"report":…,"signature":{"key":…,"value":…}}`, where the signature is over the bytes of the report exactly as they stand there.
//!
//! Who verifies cuts these bytes out and never writes them anew, so it does not matter how anybody's JSON library would write them. They are printable ASCII without `<`, `>`
//! and `&`: they survive mail and editors, and can stand in a page of HTML as they are.

use std::fmt::Write as _;

use super::document::Document;
use crate::crypto::report_key::ReportKey;
use crate::runs::plan;

/// What a signature of the JSON is for.
pub(super) const REPORT: &str = "homelab-dr v1 report";
/// What a signature of a page around it is for.
pub(super) const PAGE: &str = "homelab-dr v1 report page";
pub(super) const BEGINS: &str = "{\"report\":";
pub(super) const SIGNATURE: &str = ",\"signature\":";
pub(super) const KEY: &str = "{\"key\":\"";
pub(super) const VALUE: &str = "\",\"value\":\"";
pub(super) const ENDS: &str = "\"}";

/// A signed report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The envelope, without a line end.
    pub(super) envelope: String,
    /// BLAKE3 of the report's bytes, in hex.
    pub(super) digest: String,
}

impl Signed {
    /// The content of the file: the envelope as one line.
    #[must_use]
    pub fn json(&self) -> String {
        format!("{}\n", self.envelope)
    }

    /// BLAKE3 of what is signed, in hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// Signs a report.
///
/// # Errors
/// None but by a bug: every field has a form in JSON.
pub fn sign(document: &Document, key: &ReportKey) -> Result<Signed, serde_json::Error> {
    let report = ascii(&serde_json::to_string(document)?);
    let value = data_encoding::BASE64.encode(&key.sign(REPORT, report.as_bytes()));
    let envelope = format!("{BEGINS}{report}{SIGNATURE}{KEY}{}{VALUE}{value}{ENDS}}}", key.public());
    Ok(Signed { digest: plan::digest(&report), envelope })
}

/// JSON in which every sign that is not printable ASCII, or means something to HTML, is escaped. Such signs stand in texts only.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, ' '..='~') && !matches!(c, '<' | '>' | '&') {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// A line at the end of a page, with a signature over everything before it.
pub(super) fn page_signature(page: &str, key: &ReportKey) -> String {
    let value = data_encoding::BASE64.encode(&key.sign(PAGE, page.as_bytes()));
    format!("{PAGE_BEGINS}{} {value}{PAGE_ENDS}\n", key.public())
}

pub(super) const PAGE_BEGINS: &str = "<!-- homelab-dr report page, signed: ";
pub(super) const PAGE_ENDS: &str = " -->";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_the_same_in_ascii() {
        let text = "ü \u{1f600} </script> \u{202e} \" \\ \n &";
        let json = ascii(&serde_json::to_string(text).expect("a text"));
        assert!(json.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !json.contains('<'), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
    }
}

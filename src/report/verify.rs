//! Is a report as the machine of its key wrote it?
//!
//! Says by which key a file is signed and that no byte of it differs; whether that is the key that one trusts is for who asks.

use super::envelope::{BEGINS, ENDS, KEY, PAGE, PAGE_BEGINS, PAGE_ENDS, REPORT, SIGNATURE, VALUE};
use super::page::{DATA_BEGINS, DATA_ENDS};
use crate::crypto::report_key::ReportPublic;
use crate::runs::plan;

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// The signed JSON.
    Json,
    /// A page of HTML with the signed JSON in it.
    Html,
    /// Markdown.
    Markdown,
}

/// A file that is as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The key that signed it.
    pub key: ReportPublic,
    /// Its form.
    pub form: Form,
    /// What is signed as JSON; Markdown has none in it.
    pub report: Option<Reported>,
}

/// What is signed as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// BLAKE3 of its bytes, in hex.
    pub digest: String,
    /// The run.
    pub run: String,
    /// The runbook's title.
    pub title: String,
}

/// Why a file is not verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Something else altogether.
    #[error("this is no report: it is neither the JSON nor a page that `report show` writes")]
    NoReport,
    /// It was a report.
    #[error("the report was ALTERED: {0}")]
    Altered(&'static str),
}

/// Both in the one way in which they are written: no byte of a file may differ, also none of its signature, but for the end of its last line.
fn signature(key: &str, value: &str) -> Option<(ReportPublic, [u8; 64])> {
    let value = data_encoding::BASE64.decode(value.as_bytes()).ok()?;
    let read: ReportPublic = key.parse().ok()?;
    (read.to_string() == key).then_some((read, value.try_into().ok()?))
}

/// Verifies a file, whatever it holds.
pub fn verify(file: &[u8]) -> Result<Verified, VerifyError> {
    let text = std::str::from_utf8(file).map_err(|_| no_report(&String::from_utf8_lossy(file)))?;
    if text.starts_with(BEGINS) {
        let envelope = text.strip_suffix('\n').unwrap_or(text);
        let (key, report) = envelope_of(envelope)?;
        return Ok(Verified { key, form: Form::Json, report: Some(report) });
    }
    let text = text.strip_suffix('\n').unwrap_or(text);
    let (page, line) =
        text.rfind(PAGE_BEGINS).and_then(|at| text.split_at_checked(at)).ok_or_else(|| no_report(text))?;
    let signed = line.strip_prefix(PAGE_BEGINS).and_then(|line| line.strip_suffix(PAGE_ENDS));
    let signed = signed.and_then(|line| line.split_once(' ')).and_then(|(key, value)| signature(key, value));
    let (key, value) = signed.ok_or(VerifyError::Altered("the line with its signature is damaged"))?;
    key.verify(PAGE, page.as_bytes(), &value)
        .map_err(|_| VerifyError::Altered("its bytes are not those that were signed"))?;
    let Some((_, rest)) = page.split_once(DATA_BEGINS) else {
        return Ok(Verified { key, form: Form::Markdown, report: None });
    };
    let envelope = rest.split_once(DATA_ENDS).map(|(envelope, _)| envelope);
    let envelope = envelope.ok_or(VerifyError::Altered("the JSON in the page has no end"))?;
    let (own, report) = envelope_of(envelope)?;
    if own != key {
        return Err(VerifyError::Altered("the page and the JSON in it are signed with different keys"));
    }
    Ok(Verified { key, form: Form::Html, report: Some(report) })
}

/// Of a file that is not formed like a report: whether it was one.
fn no_report(text: &str) -> VerifyError {
    if text.contains("\"homelab_dr_report\"") || text.contains(PAGE_BEGINS) {
        VerifyError::Altered("it is not formed as it was written")
    } else {
        VerifyError::NoReport
    }
}

/// The key of an envelope, and what is signed with it. The bytes are cut out at the first brace and the last signature: what stands between is the report or is not signed.
fn envelope_of(envelope: &str) -> Result<(ReportPublic, Reported), VerifyError> {
    let altered = VerifyError::Altered;
    let body = envelope.strip_prefix(BEGINS).and_then(|rest| rest.strip_suffix('}'));
    let parts = body.and_then(|body| body.rfind(SIGNATURE).and_then(|at| body.split_at_checked(at)));
    let (report, signed) = parts.ok_or(altered("its signature is missing"))?;
    let signed = signed.strip_prefix(SIGNATURE).and_then(|json| json.strip_prefix(KEY)?.strip_suffix(ENDS));
    let signed = signed.and_then(|json| json.split_once(VALUE)).and_then(|(key, value)| signature(key, value));
    let (key, value) = signed.ok_or(altered("its signature is damaged"))?;
    key.verify(REPORT, report.as_bytes(), &value).map_err(|_| altered("its bytes are not those that were signed"))?;
    let json: serde_json::Value = serde_json::from_str(report).map_err(|_| altered("what was signed is no report"))?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let pick = |path: &str| json.pointer(path).map(text).unwrap_or_default();
    Ok((key, Reported { digest: plan::digest(report), run: pick("/run"), title: pick("/runbook/title") }))
}

//! `report verify`: is a report as the machine of its key wrote it, and is that key the one that one trusts?

use std::path::PathBuf;

use serde::Serialize;

use super::JournalsArgs;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::read_file;
use crate::crypto::report_key::ReportPublic;
use crate::format::entry::escape;
use crate::report::{self, Form, Verified, key_file};

/// Longest report: that of the longest journal, several times over.
const BYTES_MAX: u64 = 256 << 20;

const EXAMPLES: &str = "\
Examples:
  homelab-dr report verify report.html
  homelab-dr report verify report.json --key hdr-report1-…

Without --key the report has to be of this machine. Exit code 4: altered since it was signed; 6:
signed with another key, so by whoever.";

/// Say by which key a report is signed, whether it is the right one, and whether a byte was changed
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The report: JSON, HTML or Markdown
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The public key that it has to be signed with [default: that of this machine]
    #[arg(long, value_name = "PUBLIC")]
    key: Option<String>,
    #[command(flatten)]
    journals: JournalsArgs,
}

#[derive(Serialize)]
struct VerifyDocument<'a> {
    file: String,
    form: Form,
    key: ReportPublic,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
}

/// What a report has to be signed with, and how that is called.
fn trusted(args: &Args) -> Result<(Option<ReportPublic>, &'static str), Failure> {
    if let Some(key) = &args.key {
        return Ok((Some(key.parse::<ReportPublic>()?), "the key that was given"));
    }
    // A machine without a home has no key of its own either.
    let own = args.journals.folder().ok().map(|dir| key_file::existing(&dir)).transpose()?.flatten();
    Ok((own.map(|key| key.public()), "the key of this machine"))
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<Exit, Failure> {
    let (trusted, called) = trusted(args)?;
    let bytes = read_file::bytes(&args.file, BYTES_MAX, "the report")?;
    let Verified { key, form, report } = report::verify(&bytes)?;
    match trusted {
        Some(trusted) if trusted == key => {}
        Some(trusted) => {
            return Err(Failure::new(
                Exit::Key,
                format!("the report is whole, and signed with another key than {called}: {key}"),
                format!(
                    "{trusted} was expected: anybody can sign a report with a key of their own; ask whose {key} is, and give it with --key if it is the right one"
                ),
            ));
        }
        None => {
            return Err(Failure::new(
                Exit::Key,
                format!("the report is whole, and signed with {key}; there is no key to compare that with"),
                "this machine has none of its own: give the public key of the machine that made it with --key; `homelab-dr report list` shows it there",
            ));
        }
    }
    if context.out.json {
        let (run, digest) = report.as_ref().map(|report| (report.run.as_str(), report.digest.as_str())).unzip();
        context.out.document(&VerifyDocument { file: args.file.display().to_string(), form, key, run, digest })?;
        return Ok(Exit::Done);
    }
    if let Some(report) = &report {
        let title = escape(report.title.as_bytes());
        context.out.line(&format!("report of run {}: {title}", escape(report.run.as_bytes())))?;
        context.out.line(&format!("BLAKE3 of the JSON: {}", report.digest))?;
    }
    context.out.line(&format!("signed with {key}, which is {called}"))?;
    context.summary(false, "unaltered: every byte is as it was signed")?;
    Ok(Exit::Done)
}

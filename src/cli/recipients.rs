//! The options that name recipients, shared by `init` and `keys add`.

use std::path::PathBuf;

use crate::cli::failure::Failure;
use crate::cli::read_file;
use crate::crypto::recipients::{Recipient, RecipientError, parse_recipients_file};

/// Who is to read the repository.
#[derive(Debug, clap::Args)]
#[group(id = "recipients", required = true, multiple = true)]
pub(crate) struct Args {
    /// Who can read the backups: age1…, or an ssh-ed25519 or ssh-rsa public key in quotes; may be repeated
    #[arg(long, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// A file with one recipient a line
    #[arg(long, value_name = "FILE")]
    recipients_file: Vec<PathBuf>,
}

impl Args {
    /// The recipients, each once.
    pub(crate) fn parse(&self) -> Result<Vec<Recipient>, Failure> {
        let mut all = Vec::new();
        for text in &self.recipient {
            let recipient = match Recipient::parse(text) {
                Err(RecipientError::Unknown { .. }) if std::path::Path::new(text).is_file() => {
                    let what = format!("{text} is a file, and --recipient takes the recipient itself");
                    return Err(Failure::usage(what, format!("give --recipients-file {text}")));
                }
                parsed => parsed?,
            };
            if !all.contains(&recipient) {
                all.push(recipient);
            }
        }
        for file in &self.recipients_file {
            let text = read_file::list(file, "the recipients")?;
            for recipient in parse_recipients_file(&text)? {
                if !all.contains(&recipient) {
                    all.push(recipient);
                }
            }
        }
        Ok(all)
    }
}

//! The recovery kit: one page of HTML to print and to put where the house cannot burn it.
//!
//! Everything is in the one file: no script, no font, no picture from elsewhere (a content security policy in the page
//! forbids it, whatever an address holds). What must be typed in is there as a QR code and as text in groups of four,
//! after what all keys of its kind begin with; a fingerprint has groups of its own. The groups are set apart by margins,
//! not by spaces, so that copying from a browser gives the text itself. A PDF may give spaces for the margins: a key
//! typed in with them is taken nevertheless (`crypto::recipients`).
//!
//! Two sheets hold what a person has: two addresses, an age identity, two recipients; on A4 and on US letter paper.
//!
//! The commands come from the caller, whose own tests prove that they parse.

mod html;
mod qr;
mod style;
#[cfg(test)]
mod tests;

use crate::base::clock::Time;
use crate::base::id::RepositoryId;
use crate::crypto::recipients::{Recipient, SecretText};

pub use html::render;

/// All that the kit says.
#[derive(Debug)]
pub struct Kit {
    /// Where the repository is; the first is the one the commands use, the others are its copies.
    pub addresses: Vec<String>,
    /// The repository's id.
    pub repository: RepositoryId,
    /// What opening it must show.
    pub fingerprint: String,
    /// Who can read it.
    pub recipients: Vec<NamedRecipient>,
    /// The secret, or where it is.
    pub identity: Identity,
    /// Version of the program that wrote the kit.
    pub program_version: String,
    /// Version of the repository's format.
    pub format_version: u32,
    /// When the kit was made.
    pub created: Time,
    /// What to run, in order: obtain, drill, snapshots, restore, check.
    pub steps: [Step; 5],
}

/// A recipient and what people call it.
#[derive(Debug, Clone)]
pub struct NamedRecipient {
    /// `laptop`, `paper in the safe`; may be empty.
    pub name: String,
    /// The public key.
    pub recipient: Recipient,
}

/// The secret half on the kit.
#[derive(Debug)]
pub enum Identity {
    /// Printed: whoever holds the paper can read the backups.
    Printed(SecretText),
    /// Not printed; says where it is, or leaves a line to fill in if empty.
    Elsewhere(String),
}

/// One command and why it is run.
#[derive(Debug, Clone)]
pub struct Step {
    /// A short sentence.
    pub what: String,
    /// The command line, or several lines.
    pub command: String,
}

//! Who can read a repository: age recipients, identities, and the small files wrapped to them.
//!
//! The only user of the `age` crate. A [`Recipient`] is public and lies in the configuration; an [`IdentitySource`] is
//! the secret half and never leaves the laptop. [`wrap`] writes binary age files that the `age` program opens too.
//!
//! It reads no file: the caller reads, so that limits and messages stay in one place. Plugins are the exception: age
//! runs `age-plugin-NAME` from `PATH`.

use std::fmt;

use age::ssh::ParseRecipientKeyError;
use age::{plugin, ssh, tag, tagpq, x25519};

mod identity;
mod prompt;
mod unwrap;
mod wrap;

#[cfg(test)]
mod lane;
#[cfg(test)]
mod ssh_tests;
#[cfg(test)]
mod tests;

pub use identity::{
    GeneratedIdentity, IDENTITY_BYTES_MAX, IdentityError, IdentitySource, SecretText, generate_identity,
};
pub use prompt::{NoPrompt, Prompt};
pub use unwrap::{Opened, UnwrapError, unwrap};
pub use wrap::{AGE_BYTES_MAX, PLAINTEXT_BYTES_MAX, WrapError, wrap};

/// A public key that repositories are wrapped to.
#[derive(Clone)]
pub struct Recipient {
    key: Key,
    text: String,
    comment: Option<String>,
}

#[derive(Clone)]
enum Key {
    X25519(x25519::Recipient),
    Tag(Box<tag::Recipient>),
    TagPq(Box<tagpq::Recipient>),
    Ssh(Box<ssh::Recipient>),
    Plugin(plugin::Recipient),
}

/// Text that is no recipient. Shows what was given only where it begins like a public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// A secret was pasted where a public key belongs; it is not repeated here.
    #[error("this is a private key, not a recipient")]
    PrivateKey,
    /// Neither `age1…` nor `ssh-…`.
    #[error("this is no recipient ({chars} characters): it begins neither with age1 nor with ssh-")]
    Unknown {
        /// Its length; the text itself might be a secret.
        chars: usize,
    },
    /// Begins like a recipient, but its checksum or its key is wrong.
    #[error("recipient {start:?}… is damaged or cut off")]
    Damaged {
        /// The first characters.
        start: String,
    },
    /// An SSH key of a kind age cannot encrypt to.
    #[error("SSH keys of type {kind:?} cannot be recipients")]
    SshKind {
        /// Its type, such as `ecdsa-sha2-nistp256`.
        kind: String,
    },
    /// An RSA key shorter than 2048 or longer than 4096 bits.
    #[error("the RSA key of recipient {start:?}… has fewer than 2048 or more than 4096 bits")]
    RsaSize {
        /// The first characters.
        start: String,
    },
}

/// A list of recipients that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipientsFileError {
    /// One line is no recipient.
    #[error("line {line} of the recipients is unusable")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Why.
        #[source]
        source: RecipientError,
    },
    /// Only comments and empty lines.
    #[error("the list of recipients is empty")]
    Empty,
}

impl Recipient {
    /// Parses `age1…` (X25519, tagged, post-quantum tagged, or a plugin's), `ssh-ed25519 …` or `ssh-rsa …`.
    ///
    /// What follows an SSH key is its comment, which is kept apart from the canonical text. Spaces within `age1…` mean
    /// nothing: people type it in from paper, in groups.
    pub fn parse(text: &str) -> Result<Self, RecipientError> {
        let text = text.trim();
        if looks_private(text) {
            return Err(RecipientError::PrivateKey);
        }
        if text.starts_with("age1") {
            return Self::parse_age(&text.split_whitespace().collect::<String>());
        }
        match text.split_whitespace().next() {
            Some(kind) if ["ssh-", "ecdsa-", "sk-"].iter().any(|p| kind.starts_with(p)) => Self::parse_ssh(kind, text),
            _ => Err(RecipientError::Unknown { chars: text.chars().count() }),
        }
    }

    fn parse_age(text: &str) -> Result<Self, RecipientError> {
        let key = if let Ok(key) = text.parse::<x25519::Recipient>() {
            Key::X25519(key)
        } else if let Ok(key) = text.parse::<tag::Recipient>() {
            Key::Tag(Box::new(key))
        } else if let Ok(key) = text.parse::<tagpq::Recipient>() {
            Key::TagPq(Box::new(key))
        } else {
            match text.parse::<plugin::Recipient>() {
                // A tagged recipient that only a plugin would accept is a damaged one.
                Ok(key) if !matches!(key.plugin(), "tag" | "tagpq") => Key::Plugin(key),
                _ => return Err(RecipientError::Damaged { start: start(text) }),
            }
        };
        Ok(Self { text: key.to_string(), key, comment: None })
    }

    fn parse_ssh(kind: &str, text: &str) -> Result<Self, RecipientError> {
        if !matches!(kind, "ssh-ed25519" | "ssh-rsa") {
            return Err(RecipientError::SshKind { kind: kind.chars().take(40).collect() });
        }
        let mut words = text.split_whitespace();
        let blob = words.by_ref().nth(1).unwrap_or_default();
        let comment = words.collect::<Vec<_>>().join(" ");
        let key = format!("{kind} {blob}").parse::<ssh::Recipient>().map_err(|error| match error {
            ParseRecipientKeyError::RsaModulusTooLarge | ParseRecipientKeyError::RsaModulusTooSmall => {
                RecipientError::RsaSize { start: start(text) }
            }
            _ => RecipientError::Damaged { start: start(text) },
        })?;
        let key = Key::Ssh(Box::new(key));
        let canonical = key.to_string();
        // age stops reading at the first character that is not base64; what we keep must be what was given.
        if canonical.strip_prefix(kind).map(str::trim_start) != Some(blob) {
            return Err(RecipientError::Damaged { start: start(text) });
        }
        Ok(Self { key, text: canonical, comment: (!comment.is_empty()).then_some(comment) })
    }

    /// The canonical text: `age1…`, or the SSH key without its comment.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The comment of an SSH key, usually `user@host`.
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// What sort of key it is, in a word or two: `X25519`, `ssh-ed25519`, `plugin yubikey`.
    pub fn kind(&self) -> String {
        match &self.key {
            Key::X25519(_) => "X25519".to_owned(),
            Key::Tag(_) => "tagged P-256".to_owned(),
            Key::TagPq(_) => "tagged post-quantum".to_owned(),
            Key::Ssh(_) => self.text.split(' ').next().unwrap_or_default().to_owned(),
            Key::Plugin(key) => format!("plugin {}", key.plugin()),
        }
    }

    /// How many characters all recipients of its kind begin with: `age1`, `age1yubikey1`, or the type of an SSH key and the
    /// head of its encoding.
    pub fn common_chars(&self) -> usize {
        /// Of `ssh-ed25519`: 4 + 11 + 4 bytes in base64, but for the bits that belong to the key.
        const ED25519: usize = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI".len();
        /// Of `ssh-rsa`: type, the exponent 65537 and the head of the modulus.
        const RSA: usize = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ".len();
        match &self.key {
            Key::Ssh(_) if self.text.starts_with("ssh-rsa") => RSA,
            Key::Ssh(_) => ED25519,
            // Bech32: the last 1 ends what is readable, the data has none.
            _ => self.text.rfind('1').map_or(0, |at| at + 1),
        }
    }

    /// Long enough to tell one recipient from another, short enough for a line: `age1qyqszqg…7x4s2k`.
    pub fn short(&self) -> String {
        let chars: Vec<char> = self.text.chars().collect();
        match (chars.get(..12), chars.len().checked_sub(8).and_then(|at| chars.get(at..))) {
            (Some(head), Some(tail)) if chars.len() > 24 => {
                // The first characters of an SSH key are the same for all of its type.
                let head: String =
                    if self.text.starts_with("ssh-") { self.kind() + " " } else { head.iter().collect() };
                format!("{head}…{}", tail.iter().collect::<String>())
            }
            _ => self.text.clone(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X25519(key) => key.fmt(f),
            Self::Tag(key) => fmt::Display::fmt(key, f),
            Self::TagPq(key) => fmt::Display::fmt(key, f),
            Self::Ssh(key) => key.fmt(f),
            Self::Plugin(key) => key.fmt(f),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.short())
    }
}

impl PartialEq for Recipient {
    /// The same key; comments do not count.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Recipient {}

/// Anything that is plainly a secret, whatever its case and whatever stands before it (quotes, a prompt).
fn looks_private(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    ["SECRET-KEY", "AGE-PLUGIN-", "PRIVATE KEY", "-----BEGIN"].iter().any(|mark| upper.contains(mark))
}

/// The first characters of what is taken for a public key.
fn start(text: &str) -> String {
    text.chars().take(16).collect()
}

/// Parses a list, one recipient a line; empty lines and lines that begin with `#` are skipped, doubles are dropped.
pub fn parse_recipients_file(text: &str) -> Result<Vec<Recipient>, RecipientsFileError> {
    let mut recipients = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let recipient = Recipient::parse(line)
            .map_err(|source| RecipientsFileError::Line { line: index.saturating_add(1), source })?;
        if !recipients.contains(&recipient) {
            recipients.push(recipient);
        }
    }
    if recipients.is_empty() { Err(RecipientsFileError::Empty) } else { Ok(recipients) }
}

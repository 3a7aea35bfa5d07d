//! The secret halves: reading what people keep in identity files and SSH keys, and making new ones.
//!
//! Nothing here prints a secret, and no error repeats a line of an identity file. The `age` crate copies key text while
//! it parses and does not wipe every copy; ours are wiped.

use std::fmt;
use std::io::Read as _;

use age::secrecy::ExposeSecret as _;
use age::{armor, plugin, ssh, x25519};
use zeroize::Zeroizing;

use crate::base::clock::Time;

use super::Recipient;

/// Longest identity file that is read; real ones have a few hundred bytes, an encrypted RSA key some 4 KiB.
pub const IDENTITY_BYTES_MAX: usize = 256 * 1024;

/// Longest SSH private key that is read: one of RSA with 16,384 bits takes 13 KiB. The parser's time grows with the square of the length.
const SSH_KEY_BYTES_MAX: usize = 16 * 1024;

/// Text that must not be shown: wiped when dropped, not cloneable, its `Debug` empty.
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes over the text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself; the name is meant to be seen in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// Why something is no identity. The name is the caller's (`file /root/key.txt`, `variable HOMELAB_DR_IDENTITY`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// More than [`IDENTITY_BYTES_MAX`].
    #[error("{name} has {bytes} bytes, too many for an identity")]
    TooLong {
        /// Where it came from.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// Not UTF-8 and not an encrypted age file.
    #[error("{name} holds binary data that is no identity")]
    Binary {
        /// Where it came from.
        name: String,
    },
    /// Only comments and empty lines.
    #[error("{name} holds no identity")]
    Empty {
        /// Where it came from.
        name: String,
    },
    /// A line that is neither comment nor identity; it may be a mangled secret and is not repeated.
    #[error("line {line} of {name} is no identity")]
    Line {
        /// Where it came from.
        name: String,
        /// Counted from 1.
        line: usize,
    },
    /// The public half was given.
    #[error("line {line} of {name} is a recipient, the public half, not an identity")]
    Public {
        /// Where it came from.
        name: String,
        /// Counted from 1.
        line: usize,
    },
    /// A PEM block that is damaged or no SSH key.
    #[error("the private key in {name} is damaged or no SSH key")]
    SshDamaged {
        /// Where it came from.
        name: String,
    },
    /// A kind of SSH key that age cannot use.
    #[error("the SSH key in {name} cannot be used: {kind}")]
    SshUnsupported {
        /// Where it came from.
        name: String,
        /// Its type, cipher or old format.
        kind: String,
    },
    /// An age file that is encrypted to keys instead of to a passphrase.
    #[error("{name} is encrypted, but not to a passphrase")]
    NotPassphrase {
        /// Where it came from.
        name: String,
    },
}

/// One place that identities come from, read and parsed, possibly still locked with a passphrase.
pub struct IdentitySource {
    pub(super) name: String,
    pub(super) entries: Vec<Entry>,
}

/// One identity of a source.
pub(super) enum Entry {
    Native(x25519::Identity),
    /// Always `ssh::Identity::Unencrypted`; age does not export the type inside.
    Ssh(Box<ssh::Identity>),
    LockedSsh(Box<ssh::EncryptedKey>),
    Plugin(plugin::Identity),
    /// A whole identity file, encrypted to a passphrase, no longer armored.
    LockedFile(Vec<u8>),
}

impl fmt::Debug for IdentitySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentitySource({:?}, {} entries)", self.name, self.entries.len())
    }
}

impl IdentitySource {
    /// Parses an age identity file (comments, several identities, plugins'), an OpenSSH private key, or an identity
    /// file encrypted to a passphrase (armored or not). `name` says where it came from, in errors and prompts.
    pub fn parse(name: impl Into<String>, content: &[u8]) -> Result<Self, IdentityError> {
        let name = name.into();
        if content.len() > IDENTITY_BYTES_MAX {
            return Err(IdentityError::TooLong { name, bytes: content.len() });
        }
        let trimmed = content.trim_ascii();
        if trimmed.starts_with(b"age-encryption.org/") || trimmed.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----") {
            let entries = vec![locked_file(&name, content)?];
            return Ok(Self { name, entries });
        }
        let Ok(text) = std::str::from_utf8(content) else { return Err(IdentityError::Binary { name }) };
        let entries = if text.trim_start().starts_with("-----BEGIN") {
            vec![ssh_key(&name, text.trim_start())?]
        } else {
            lines(&name, text)?
        };
        Ok(Self { name, entries })
    }

    /// Where it came from, as given to [`Self::parse`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether using it asks somebody for a passphrase.
    pub fn is_locked(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::LockedSsh(_) | Entry::LockedFile(_)))
    }

    /// The public halves that can be told without asking: not those of plugins or of encrypted identity files.
    pub fn recipients(&self) -> Vec<Recipient> {
        self.entries.iter().filter_map(Entry::recipient).collect()
    }
}

impl Entry {
    /// The public half, if it can be told without a passphrase or a plugin.
    pub(super) fn recipient(&self) -> Option<Recipient> {
        let text = match self {
            Self::Native(key) => key.to_public().to_string(),
            Self::Ssh(key) => ssh_public((**key).clone())?,
            Self::LockedSsh(key) => ssh_public(ssh::Identity::Encrypted((**key).clone()))?,
            Self::Plugin(_) | Self::LockedFile(_) => return None,
        };
        Recipient::parse(&text).ok()
    }
}

fn ssh_public(identity: ssh::Identity) -> Option<String> {
    ssh::Recipient::try_from(identity).ok().map(|recipient| recipient.to_string())
}

fn locked_file(name: &str, content: &[u8]) -> Result<Entry, IdentityError> {
    let mut binary = Vec::new();
    let read = armor::ArmoredReader::new(content.trim_ascii_start()).read_to_end(&mut binary);
    match (read, age::Decryptor::new(&*binary)) {
        (Ok(_), Ok(decryptor)) if decryptor.is_scrypt() => Ok(Entry::LockedFile(binary)),
        (Ok(_), Ok(_)) => Err(IdentityError::NotPassphrase { name: name.to_owned() }),
        _ => Err(IdentityError::Binary { name: name.to_owned() }),
    }
}

fn ssh_key(name: &str, text: &str) -> Result<Entry, IdentityError> {
    if text.len() > SSH_KEY_BYTES_MAX {
        return Err(IdentityError::SshDamaged { name: name.to_owned() });
    }
    let unsupported = |kind: String| IdentityError::SshUnsupported { name: name.to_owned(), kind };
    match ssh::Identity::from_buffer(text.as_bytes(), Some(name.to_owned())) {
        Ok(key @ ssh::Identity::Unencrypted(_)) => Ok(Entry::Ssh(Box::new(key))),
        Ok(ssh::Identity::Encrypted(key)) => Ok(Entry::LockedSsh(Box::new(key))),
        Ok(ssh::Identity::Unsupported(key)) => Err(unsupported(match key {
            ssh::UnsupportedKey::EncryptedPem => "encrypted in the old PEM format".to_owned(),
            ssh::UnsupportedKey::EncryptedSsh(cipher) => format!("encrypted with {cipher}"),
            ssh::UnsupportedKey::Hardware(kind) => format!("{kind} lives in a security key"),
            ssh::UnsupportedKey::Type(kind) => format!("its type is {kind}"),
        })),
        Err(_) => Err(IdentityError::SshDamaged { name: name.to_owned() }),
    }
}

/// Parses an unencrypted age identity file. Spaces within a key mean nothing: it may have been typed in from the recovery
/// kit, group by group, or copied from its PDF.
pub(super) fn lines(name: &str, text: &str) -> Result<Vec<Entry>, IdentityError> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (line, number) = (line.trim(), index.saturating_add(1));
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = without_spaces(line);
        entries.push(if let Ok(key) = key.parse::<x25519::Identity>() {
            Entry::Native(key)
        } else if let Ok(key) = key.parse::<plugin::Identity>() {
            Entry::Plugin(key)
        } else if Recipient::parse(line).is_ok() {
            return Err(IdentityError::Public { name: name.to_owned(), line: number });
        } else {
            return Err(IdentityError::Line { name: name.to_owned(), line: number });
        });
    }
    if entries.is_empty() { Err(IdentityError::Empty { name: name.to_owned() }) } else { Ok(entries) }
}

/// A key's line without the spaces in it. Reserved before it is filled, so that growing leaves no copy behind.
fn without_spaces(line: &str) -> Zeroizing<String> {
    let mut joined = Zeroizing::new(String::with_capacity(line.len()));
    line.split_whitespace().for_each(|group| joined.push_str(group));
    joined
}

/// A new identity and its public half.
#[derive(Debug)]
pub struct GeneratedIdentity {
    /// `AGE-SECRET-KEY-1…`, one line without its end.
    pub secret: SecretText,
    /// Its public half.
    pub recipient: Recipient,
}

impl GeneratedIdentity {
    /// The text of an identity file as `age-keygen` writes it.
    pub fn file_text(&self, created: Time) -> SecretText {
        SecretText::new(format!("# created: {created}\n# public key: {}\n{}\n", self.recipient, self.secret.expose()))
    }
}

/// Draws a new X25519 identity from the operating system's randomness (by age itself, which takes no other).
pub fn generate_identity() -> GeneratedIdentity {
    let identity = x25519::Identity::generate();
    let public = identity.to_public();
    GeneratedIdentity {
        secret: SecretText::new(identity.to_string().expose_secret().to_owned()),
        recipient: Recipient { text: public.to_string(), key: super::Key::X25519(public), comment: None },
    }
}

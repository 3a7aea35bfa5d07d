//! Encrypting a small plaintext to all recipients at once.

use std::collections::BTreeMap;
use std::io::Write as _;

use age::{EncryptError, Encryptor, NoCallbacks, plugin};

use super::{Key, Recipient};

/// Longest plaintext that is wrapped; keys and keyrings take a few KiB, so this is a bound against a hostile store.
pub const PLAINTEXT_BYTES_MAX: usize = 1024 * 1024;
/// Longest age file that is written or read: the plaintext and room for some hundred recipients (at most 1.6 KiB each).
pub const AGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Why nothing could be wrapped.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// A file that nobody could open.
    #[error("wrapping needs at least one recipient")]
    NoRecipients,
    /// More than [`PLAINTEXT_BYTES_MAX`] or, with its recipients, [`AGE_BYTES_MAX`].
    #[error("{bytes} bytes are too many to wrap, the limit is {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit that was passed.
        limit: usize,
    },
    /// `age-plugin-NAME` is not in `PATH`.
    #[error("wrapping to recipient {recipient} needs the program age-plugin-{plugin}, which is not in PATH")]
    PluginMissing {
        /// The plugin's short name.
        plugin: String,
        /// The first recipient that needs it.
        recipient: String,
    },
    /// Post-quantum recipients beside ones that are not.
    #[error("these recipients cannot be used together")]
    Incompatible(#[source] EncryptError),
    /// Anything else age or a plugin reports.
    #[error("wrapping to the recipients")]
    Age(#[source] EncryptError),
}

/// Encrypts to all `recipients`; any one of their identities opens the result, a binary age file.
///
/// Nobody is asked anything: a plugin that wants an answer while encrypting is told there is none.
pub fn wrap(plaintext: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>, WrapError> {
    within(plaintext.len(), PLAINTEXT_BYTES_MAX)?;
    let mut keys: Vec<Box<dyn age::Recipient>> = Vec::new();
    let mut plugins: BTreeMap<&str, Vec<plugin::Recipient>> = BTreeMap::new();
    for recipient in recipients {
        match &recipient.key {
            Key::X25519(key) => keys.push(Box::new(key.clone())),
            Key::Tag(key) => keys.push(key.clone()),
            Key::TagPq(key) => keys.push(key.clone()),
            Key::Ssh(key) => keys.push(key.clone()),
            Key::Plugin(key) => plugins.entry(key.plugin()).or_default().push(key.clone()),
        }
    }
    for (name, list) in plugins {
        let missing = |_| WrapError::PluginMissing {
            plugin: name.to_owned(),
            recipient: list.first().map(ToString::to_string).unwrap_or_default(),
        };
        keys.push(Box::new(plugin::RecipientPluginV1::new(name, &list, &[], NoCallbacks).map_err(missing)?));
    }
    let encryptor = Encryptor::with_recipients(keys.iter().map(|key| &**key)).map_err(|error| match error {
        EncryptError::MissingRecipients => WrapError::NoRecipients,
        EncryptError::IncompatibleRecipients { .. } => WrapError::Incompatible(error),
        other => WrapError::Age(other),
    })?;
    let mut out = Vec::new();
    write_all(encryptor, plaintext, &mut out).map_err(|error| WrapError::Age(EncryptError::Io(error)))?;
    within(out.len(), AGE_BYTES_MAX)?;
    Ok(out)
}

fn write_all(encryptor: Encryptor, plaintext: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut writer = encryptor.wrap_output(out)?;
    writer.write_all(plaintext)?;
    writer.finish().map(|_| ())
}

fn within(bytes: usize, limit: usize) -> Result<(), WrapError> {
    if bytes > limit { Err(WrapError::TooLong { bytes, limit }) } else { Ok(()) }
}

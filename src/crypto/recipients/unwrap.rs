//! Opening a wrapped file with whatever identities there are.
//!
//! Quiet keys go first, then locked SSH keys that the file is addressed to, then locked identity files, then plugins:
//! nobody is asked for a passphrase or a touch that is not needed. One unusable identity does not keep the next from
//! being tried; what went wrong is reported only if none opens the file.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, plugin, scrypt, ssh};
use zeroize::Zeroizing;

use super::identity::{Entry, IdentityError, IdentitySource, lines};
use super::prompt::{Asking, Prompt};
use super::wrap::{AGE_BYTES_MAX, PLAINTEXT_BYTES_MAX, wrap};

/// Highest scrypt work factor accepted in an encrypted identity file: 1 GiB of memory; age itself writes 18.
const WORK_FACTOR_MAX: u8 = 20;

/// What was inside, and which identity opened it.
pub struct Opened {
    /// The plaintext; wiped when dropped.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The opener's public half, or `plugin NAME` where that cannot be told. No secret.
    pub by: String,
    /// Where that identity came from: the name of its source.
    pub source_name: String,
}

/// Why a wrapped file stayed closed.
#[derive(Debug, thiserror::Error)]
pub enum UnwrapError {
    /// The bytes are no age file, altered, or cut off.
    #[error("the wrapped keys are damaged")]
    Damaged(#[source] DecryptError),
    /// Longer than [`AGE_BYTES_MAX`], or than [`PLAINTEXT_BYTES_MAX`] inside.
    #[error("the wrapped keys are longer than {limit} bytes")]
    TooLong {
        /// The limit that was passed.
        limit: usize,
    },
    /// No identity was given at all.
    #[error("there is no identity to open the wrapped keys with")]
    NoIdentities,
    /// The file is addressed to others.
    #[error("none of the identities opens the wrapped keys (tried {})", tried.join(", "))]
    NoMatch {
        /// The sources' names.
        tried: Vec<String>,
    },
    /// The passphrase does not unlock the identity.
    #[error("the passphrase does not unlock {name}")]
    WrongPassphrase {
        /// The source's name.
        name: String,
    },
    /// A passphrase is needed and nobody could be asked, or the question was declined.
    #[error("{name} is locked and no passphrase was given")]
    NoPassphrase {
        /// The source's name.
        name: String,
    },
    /// The locked identity file asks for more memory than is allowed.
    #[error("unlocking {name} takes a scrypt work factor of {required}, the limit is {limit}")]
    ExcessiveWork {
        /// The source's name.
        name: String,
        /// Its factor, the logarithm of the work.
        required: u8,
        /// The highest that is accepted.
        limit: u8,
    },
    /// What the passphrase unlocked is no identity file.
    #[error("{name} was unlocked, but what is inside is unusable")]
    Inside {
        /// The source's name.
        name: String,
        /// Why.
        #[source]
        source: IdentityError,
    },
    /// `age-plugin-NAME` is not in `PATH`.
    #[error("the identity in {name} needs the program age-plugin-{plugin}, which is not in PATH")]
    PluginMissing {
        /// The source's name.
        name: String,
        /// The plugin's short name.
        plugin: String,
    },
    /// The plugin ran and reported an error or died.
    #[error("age-plugin-{plugin} could not use the identity in {name}")]
    PluginFailed {
        /// The source's name.
        name: String,
        /// The plugin's short name.
        plugin: String,
        /// What it said.
        #[source]
        source: DecryptError,
    },
}

/// Opens a binary age file with the first identity that can.
pub fn unwrap(
    age_bytes: &[u8],
    identities: &[IdentitySource],
    prompt: &Arc<dyn Prompt>,
) -> Result<Opened, UnwrapError> {
    if age_bytes.len() > AGE_BYTES_MAX {
        return Err(UnwrapError::TooLong { limit: AGE_BYTES_MAX });
    }
    if identities.is_empty() {
        return Err(UnwrapError::NoIdentities);
    }
    Decryptor::new_buffered(age_bytes).map_err(UnwrapError::Damaged)?;
    let mut attempt = Attempt { age_bytes, prompt: Asking(Arc::clone(prompt)), failures: Vec::new() };
    for stage in [Stage::Quiet, Stage::LockedSsh, Stage::LockedFile, Stage::Plugin] {
        for source in identities {
            if let Some(opened) = attempt.try_entries(stage, &source.name, &source.entries)? {
                return Ok(opened);
            }
        }
    }
    // The first failure is the likeliest cause: stages go from sure to unsure.
    Err(attempt.failures.into_iter().next().unwrap_or_else(|| UnwrapError::NoMatch {
        tried: identities.iter().map(|source| source.name.clone()).collect(),
    }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Quiet,
    LockedSsh,
    LockedFile,
    Plugin,
}

struct Attempt<'a> {
    age_bytes: &'a [u8],
    prompt: Asking,
    /// Why identities could not be used, in the order they were tried.
    failures: Vec<UnwrapError>,
}

impl Attempt<'_> {
    /// Tries what belongs to one stage; an error ends everything (the file itself is bad), a failure is noted.
    fn try_entries(&mut self, stage: Stage, name: &str, entries: &[Entry]) -> Result<Option<Opened>, UnwrapError> {
        let mut plugins: BTreeMap<&str, Vec<plugin::Identity>> = BTreeMap::new();
        for entry in entries {
            let by = || entry.recipient().map(|public| public.as_str().to_owned()).unwrap_or_default();
            let opened = match (stage, entry) {
                (Stage::Quiet, Entry::Native(key)) => self.open(key, name, by())?,
                (Stage::Quiet, Entry::Ssh(key)) => self.open(&**key, name, by())?,
                (Stage::LockedSsh, Entry::LockedSsh(key)) if self.addressed_to(entry) => {
                    match self.unlock_ssh(name, key) {
                        Some(key) => self.open(&key, name, by())?,
                        None => None,
                    }
                }
                (Stage::LockedFile, Entry::LockedFile(file)) => match self.unlock_file(name, file) {
                    Some(inner) => match self.try_entries(Stage::Quiet, name, &inner)? {
                        Some(opened) => Some(opened),
                        None => self.try_entries(Stage::Plugin, name, &inner)?,
                    },
                    None => None,
                },
                (Stage::Plugin, Entry::Plugin(key)) => {
                    plugins.entry(key.plugin()).or_default().push(key.clone());
                    None
                }
                _ => None,
            };
            if opened.is_some() {
                return Ok(opened);
            }
        }
        for (plugin, list) in plugins {
            let Ok(identity) = plugin::IdentityPluginV1::new(plugin, &list, self.prompt.clone()) else {
                self.failures.push(UnwrapError::PluginMissing { name: name.to_owned(), plugin: plugin.to_owned() });
                continue;
            };
            match self.decrypt(&identity) {
                Ok(plaintext) => {
                    let (by, source_name) = (format!("plugin {plugin}"), name.to_owned());
                    return Ok(Some(Opened { plaintext: within(plaintext)?, by, source_name }));
                }
                Err(DecryptError::NoMatchingKeys) => {}
                Err(source) => self.failures.push(UnwrapError::PluginFailed {
                    name: name.to_owned(),
                    plugin: plugin.to_owned(),
                    source,
                }),
            }
        }
        Ok(None)
    }

    /// A key that says "not mine" leads on; any other failure means the file was altered, since the key matched.
    fn open(&self, key: &dyn age::Identity, name: &str, by: String) -> Result<Option<Opened>, UnwrapError> {
        match self.decrypt(key) {
            Ok(plaintext) => Ok(Some(Opened { plaintext: within(plaintext)?, by, source_name: name.to_owned() })),
            Err(DecryptError::NoMatchingKeys) => Ok(None),
            Err(error) => Err(UnwrapError::Damaged(error)),
        }
    }

    fn decrypt(&self, key: &dyn age::Identity) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        read_limited(Decryptor::new_buffered(self.age_bytes)?, key, self.age_bytes.len())
    }

    /// Whether the file has a stanza for this SSH key, told without its passphrase.
    ///
    /// age keeps the key's tag to itself, but writes it into every file: it is read off an empty one.
    fn addressed_to(&self, entry: &Entry) -> bool {
        let Some(sample) = entry.recipient().and_then(|public| wrap(&[], &[public]).ok()) else { return true };
        let ours = ssh_stanzas(&sample);
        ssh_stanzas(self.age_bytes).iter().any(|stanza| ours.contains(stanza))
    }

    fn ask(&mut self, name: &str) -> Option<SecretString> {
        let answer = age::Callbacks::request_passphrase(&self.prompt, name);
        if answer.is_none() {
            self.failures.push(UnwrapError::NoPassphrase { name: name.to_owned() });
        }
        answer
    }

    fn unlock_ssh(&mut self, name: &str, key: &ssh::EncryptedKey) -> Option<ssh::Identity> {
        let passphrase = self.ask(name)?;
        let unlocked = key.decrypt(passphrase).ok().map(ssh::Identity::Unencrypted);
        if unlocked.is_none() {
            self.failures.push(UnwrapError::WrongPassphrase { name: name.to_owned() });
        }
        unlocked
    }

    fn unlock_file(&mut self, name: &str, file: &[u8]) -> Option<Vec<Entry>> {
        let mut key = scrypt::Identity::new(self.ask(name)?);
        key.set_max_work_factor(WORK_FACTOR_MAX);
        let name = name.to_owned();
        let inside = |source| UnwrapError::Inside { name: name.clone(), source };
        let failure =
            match Decryptor::new_buffered(file).and_then(|decryptor| read_limited(decryptor, &key, file.len())) {
                Ok(plaintext) => match std::str::from_utf8(&plaintext) {
                    Ok(text) => match lines(&name, text) {
                        Ok(entries) => return Some(entries),
                        Err(source) => inside(source),
                    },
                    Err(_) => inside(IdentityError::Binary { name: name.clone() }),
                },
                Err(DecryptError::ExcessiveWork { required, .. }) => {
                    UnwrapError::ExcessiveWork { name, required, limit: WORK_FACTOR_MAX }
                }
                Err(DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed) => {
                    UnwrapError::WrongPassphrase { name }
                }
                Err(_) => inside(IdentityError::Binary { name: name.clone() }),
            };
        self.failures.push(failure);
        None
    }
}

/// Type and tag of the SSH stanzas in an age header.
fn ssh_stanzas(age_bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let header = age_bytes.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"---"));
    header
        .filter_map(|line| {
            let mut words = line.strip_prefix(b"-> ")?.split(|byte| *byte == b' ');
            Some((words.next().filter(|kind| kind.starts_with(b"ssh-"))?, words.next()?))
        })
        .collect()
}

/// What a file of `length` bytes holds.
fn read_limited(
    decryptor: Decryptor<&[u8]>,
    key: &dyn age::Identity,
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    let reader = decryptor.decrypt(std::iter::once(key))?;
    // Reserved at once: a vector that grows leaves copies behind that nobody wipes. The plaintext is shorter than the file; what is reserved is wiped, byte by byte.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(length.min(PLAINTEXT_BYTES_MAX.saturating_add(1))));
    let limit = u64::try_from(PLAINTEXT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(limit).read_to_end(&mut plaintext).map_err(DecryptError::Io)?;
    Ok(plaintext)
}

fn within(plaintext: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
    if plaintext.len() > PLAINTEXT_BYTES_MAX {
        Err(UnwrapError::TooLong { limit: PLAINTEXT_BYTES_MAX })
    } else {
        Ok(plaintext)
    }
}

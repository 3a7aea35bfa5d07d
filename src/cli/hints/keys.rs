//! Advice for recipients, identities, writer keys and fingerprints.

use crate::cli::exit::Exit;
use crate::cli::hints::{Advice, Advise};
use crate::crypto::fingerprint::FingerprintError;
use crate::crypto::recipients::{IdentityError, RecipientError, RecipientsFileError, UnwrapError, WrapError};
use crate::crypto::writer_key::WriterKeyError;

impl Advise for RecipientError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::PrivateKey => {
                "a recipient is the public half (age1… or ssh-…); keep the private key to yourself, and where it may have been seen (a shell's history), make a new one"
            }
            Self::Unknown { .. } => {
                "a recipient begins with age1 or ssh-; `homelab-dr keys new --out FILE` makes a key and prints its recipient"
            }
            Self::Damaged { .. } => "copy it again, whole: a character is missing or wrong",
            Self::SshKind { .. } => {
                "use an ssh-ed25519 or ssh-rsa key, or make one with `homelab-dr keys new --out FILE`"
            }
            Self::RsaSize { .. } => "use an RSA key of 2048 to 4096 bits, or an ssh-ed25519 key",
        };
        Some(Advice::new(Exit::Usage, help))
    }
}

impl Advise for RecipientsFileError {
    fn advice(&self) -> Option<Advice> {
        match self {
            Self::Line { source, .. } => source.advice(),
            Self::Empty => Some(Advice::new(Exit::Usage, "write one recipient (age1… or ssh-…) a line")),
        }
    }
}

impl Advise for WriterKeyError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::Prefix => {
                "give the file that `homelab-dr init --writer-key FILE` wrote; an identity goes to --identity"
            }
            Self::Checksum => "copy the key again, whole and on one line",
            Self::Version(_) => "a later version of homelab-dr made it: update this one",
        };
        Some(Advice::new(Exit::Usage, help))
    }
}

impl Advise for FingerprintError {
    fn advice(&self) -> Option<Advice> {
        Some(Advice::new(Exit::Usage, "`init` showed it, and it is on the recovery kit; copy it whole"))
    }
}

impl Advise for IdentityError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::TooLong { .. } | Self::Binary { .. } => "give an age identity file or an OpenSSH private key",
            Self::Empty { .. } => {
                "the file should hold a line that begins with AGE-SECRET-KEY-1, or an OpenSSH private key"
            }
            Self::Line { .. } => {
                "a line is AGE-SECRET-KEY-1…, AGE-PLUGIN-…, or a comment after #; see that it was copied whole"
            }
            Self::Public { .. } => "give the file with the private half; the public half is what --recipient takes",
            Self::SshDamaged { .. } => "copy the key again, with its first and last line",
            Self::SshUnsupported { .. } => {
                "use an ssh-ed25519 or ssh-rsa key in the OpenSSH format (`ssh-keygen -p -f KEY` rewrites old ones)"
            }
            Self::NotPassphrase { .. } => {
                "decrypt it with the `age` program first, or give the key that it is encrypted to"
            }
        };
        Some(Advice::new(Exit::Usage, help))
    }
}

impl Advise for UnwrapError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::Damaged(_) | Self::TooLong { .. } => Advice::new(
                Exit::Damaged,
                "take the objects below access/ from a copy of the repository, or an older version in the bucket",
            ),
            Self::NoIdentities => Advice::new(
                Exit::Usage,
                "give --identity FILE (or HOMELAB_DR_IDENTITY_FILE): the age or SSH key of one of the recipients",
            ),
            Self::NoMatch { .. } => Advice::new(
                Exit::Key,
                "the repository was made for other recipients; give the identity of one of them, as the recovery kit lists them",
            ),
            Self::WrongPassphrase { .. } => {
                Advice::new(Exit::Key, "run the command again and type the passphrase of this file")
            }
            Self::NoPassphrase { .. } => {
                Advice::new(Exit::Key, "run the command on a terminal, where the passphrase can be asked for")
            }
            Self::ExcessiveWork { .. } => {
                Advice::new(Exit::Key, "decrypt the file with the `age` program on a machine with enough memory")
            }
            Self::Inside { source, .. } => return source.advice(),
            Self::PluginMissing { plugin, .. } => {
                Advice::new(Exit::Key, format!("install age-plugin-{plugin} and put it into PATH"))
            }
            Self::PluginFailed { .. } => {
                Advice::new(Exit::Key, "see that the device is plugged in and the plugin works with the `age` program")
            }
        })
    }
}

impl Advise for WrapError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::NoRecipients => {
                "give at least one --recipient; `homelab-dr keys new --out FILE` makes a key and prints its recipient"
                    .to_owned()
            }
            Self::TooLong { .. } => "there are too many recipients: a few hundred fit".to_owned(),
            Self::PluginMissing { plugin, .. } => format!("install age-plugin-{plugin} and put it into PATH"),
            Self::Incompatible(_) => "use either only post-quantum recipients or none".to_owned(),
            Self::Age(_) => "see whether the `age` program encrypts to these recipients".to_owned(),
        };
        Some(Advice::new(Exit::Usage, help))
    }
}

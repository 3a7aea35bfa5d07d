//! The options that every command takes: where the repository is, which keys open it, how to talk.
//!
//! Secrets are never values on the command line, where `ps` and a shell's history would show them: they come from files or from the environment.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use zeroize::Zeroizing;

use crate::base::units::{parse_rate, parse_size};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Color;
use crate::cli::read_file;
use crate::crypto::fingerprint::Fingerprint;
use crate::crypto::recipients::{IDENTITY_BYTES_MAX, IdentitySource};
use crate::crypto::writer_key::WriterKey;

/// Longest writer key file that is read; real ones have some 300 bytes.
const WRITER_KEY_BYTES_MAX: u64 = 64 << 10;

const WRITER_KEY_HELP: &str = "The writer key: adds, lists, prunes and checks, but reads no content \
    [env: HOMELAB_DR_WRITER_KEY_FILE, or HOMELAB_DR_WRITER_KEY for the key itself]";
const IDENTITY_HELP: &str = "An age identity or SSH private key, which reads everything; may be repeated \
    [env: HOMELAB_DR_IDENTITY_FILE, or HOMELAB_DR_IDENTITY for the identity itself]";

const REPO_HELP: &str = "Where the repository is: its name in the configuration, or a path, file:///path, s3://bucket/prefix?endpoint=…&region=… or b2://bucket/prefix?region=…";

/// An identity's text and where it came from.
type NamedText = (String, Zeroizing<Vec<u8>>);

/// See the module.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct Globals {
    /// The configuration [default: /etc/homelab-dr/homelab-dr.yaml if it is there, else ./homelab-dr.yaml]
    #[arg(long, global = true, value_name = "FILE", env = "HOMELAB_DR_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// The address of the repository.
    #[arg(help = REPO_HELP, long, global = true, value_name = "URL", env = "HOMELAB_DR_REPO", hide_env_values = true)]
    pub repo: Option<OsString>,

    #[arg(long, global = true, value_name = "FILE", help = WRITER_KEY_HELP)]
    /// The file of the writer key.
    pub writer_key_file: Option<PathBuf>,

    #[arg(long, global = true, value_name = "FILE", help = IDENTITY_HELP)]
    /// The files of identities.
    pub identity: Vec<PathBuf>,

    /// The fingerprint that the repository must have (hdr1-…); a writer key holds it already
    #[arg(long, global = true, value_name = "HDR1", env = "HOMELAB_DR_FINGERPRINT", hide_env_values = true)]
    pub fingerprint: Option<String>,

    /// Read what was stored first under each name, whatever hides it or lies over it since (a bucket with versions)
    #[arg(long, global = true)]
    pub first_versions: bool,

    /// Upload no faster on average, such as 2MiB/s
    #[arg(long, global = true, value_name = "SIZE/s", value_parser = parse_rate)]
    pub limit_upload: Option<NonZeroU64>,

    /// Download no faster on average
    #[arg(long, global = true, value_name = "SIZE/s", value_parser = parse_rate)]
    pub limit_download: Option<NonZeroU64>,

    /// Where to keep what was read, still sealed, so that looking again asks the store little [default: ~/.cache/homelab-dr for a bucket, none for a folder]
    #[arg(long, global = true, value_name = "DIR", env = "HOMELAB_DR_CACHE", hide_env_values = true)]
    pub cache: Option<PathBuf>,

    /// Keep no more than this there; 0 for nothing
    #[arg(long, global = true, value_name = "SIZE", default_value = "2GiB", value_parser = parse_size)]
    pub cache_size: u64,

    /// Print the result, and an error too, as JSON on standard output
    #[arg(long, global = true)]
    pub json: bool,

    /// Say nothing but warnings and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,

    /// Show no progress
    #[arg(long, global = true)]
    pub no_progress: bool,

    /// Use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub color: Color,

    /// What the configuration says where no option does.
    #[arg(skip)]
    pub(crate) configured: Configured,
}

/// What the configuration says of the repository that is used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Configured {
    /// The writer key's file.
    pub(crate) writer_key_file: Option<PathBuf>,
    /// For how long `init` has objects locked.
    pub(crate) object_lock: Option<Duration>,
}

/// A variable of the environment; an empty one counts as not set, as an optional reference in a pod gives it.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn text_of(bytes: &[u8], origin: &str) -> Result<Zeroizing<String>, Failure> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Failure::usage(format!("{origin} is no text"), "see whether it is the right file")),
    }
}

impl Globals {
    /// The writer key, if one was given in any of the three ways, or by the configuration.
    pub fn writer_key(&self) -> Result<Option<WriterKey>, Failure> {
        let file = self.writer_key_file.clone().or_else(|| variable("HOMELAB_DR_WRITER_KEY_FILE").map(PathBuf::from));
        let text = match (file, variable("HOMELAB_DR_WRITER_KEY")) {
            (Some(file), _) => {
                let bytes = read_file::bytes(&file, WRITER_KEY_BYTES_MAX, "the writer key")?;
                text_of(&bytes, &file.display().to_string())?
            }
            (None, Some(value)) => Zeroizing::new(value.to_string_lossy().into_owned()),
            (None, None) => match &self.configured.writer_key_file {
                // One file for the cluster and for the laptop, which has an identity and no writer key.
                Some(file) if !file.exists() && !self.identity_texts()?.is_empty() => return Ok(None),
                Some(file) => {
                    let bytes = read_file::bytes(file, WRITER_KEY_BYTES_MAX, "the writer key")?;
                    text_of(&bytes, &file.display().to_string())?
                }
                None => return Ok(None),
            },
        };
        Ok(Some(WriterKey::parse(&text)?))
    }

    /// The files and variables that identities come from, unparsed, each with its name.
    pub(crate) fn identity_texts(&self) -> Result<Vec<NamedText>, Failure> {
        let mut files = self.identity.clone();
        if files.is_empty() {
            files.extend(variable("HOMELAB_DR_IDENTITY_FILE").map(PathBuf::from));
        }
        let mut texts = Vec::new();
        for file in &files {
            let bytes = read_file::bytes(file, IDENTITY_BYTES_MAX as u64, "the identity")?;
            texts.push((file.display().to_string(), bytes));
        }
        if texts.is_empty()
            && let Some(value) = variable("HOMELAB_DR_IDENTITY")
        {
            let bytes = Zeroizing::new(value.into_encoded_bytes());
            texts.push(("HOMELAB_DR_IDENTITY".to_owned(), bytes));
        }
        Ok(texts)
    }

    /// The files of keys that are in use, and what each holds.
    pub(crate) fn key_files(&self) -> Vec<(PathBuf, &'static str)> {
        let mut identities = self.identity.clone();
        if identities.is_empty() {
            identities.extend(variable("HOMELAB_DR_IDENTITY_FILE").map(PathBuf::from));
        }
        let writer = self.writer_key_file.clone().or_else(|| variable("HOMELAB_DR_WRITER_KEY_FILE").map(PathBuf::from));
        let identities = identities.into_iter().map(|file| (file, "the identity"));
        identities.chain(writer.map(|file| (file, "the writer key"))).collect()
    }

    /// The identities that were given.
    pub fn identities(&self) -> Result<Vec<IdentitySource>, Failure> {
        let texts = self.identity_texts()?;
        texts.into_iter().map(|(name, bytes)| Ok(IdentitySource::parse(name, &bytes)?)).collect()
    }

    /// The fingerprint to insist on: the one given, or the writer key's; if both are there they must agree.
    pub fn pinned(&self, writer_key: Option<&WriterKey>) -> Result<Option<Fingerprint>, Failure> {
        let given = self.fingerprint.as_deref().filter(|text| !text.is_empty());
        let given = given.map(str::parse::<Fingerprint>).transpose()?;
        match (given, writer_key.map(WriterKey::fingerprint)) {
            (Some(given), Some(of_key)) if given != of_key => Err(Failure::new(
                Exit::Refused,
                format!("the writer key is of a repository with fingerprint {of_key}, and {given} was given"),
                "one of the two belongs to another repository; the recovery kit shows the right fingerprint",
            )),
            (given, of_key) => Ok(given.or(of_key)),
        }
    }
}

//! The kinds of single values: what each accepts, what it says about one that it does not, and how JSON Schema writes it.

use serde_json::{Value as Json, json};

use super::Judges;
use super::finding::{Complaint, short};
use super::node::Value;
use crate::base::units::{parse_duration, parse_percent, parse_rate};
use crate::crypto::fingerprint::Fingerprint;
use crate::crypto::secret::holds_secret;

/// Most snapshots that one keep rule can count.
const KEEP_MAX: u32 = 100_000;
/// Most things that are done at once.
const COUNT_MAX: u32 = 64;
/// The words for a mover's rights.
pub(super) const MOVER_MODES: [&str; 3] = ["app", "root", "privileged"];
/// Longest name of a source, a repository or a target.
const NAME_CHARS_MAX: usize = 200;

/// A kind of single value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    /// `true` or `false`.
    Bool,
    /// How many snapshots a rule keeps, at least one.
    Keep,
    /// A length of time, not zero.
    Duration,
    /// Bytes a second.
    Rate,
    /// A share in percent.
    Share,
    /// An absolute path.
    Path,
    /// The address of a store.
    Url,
    /// A repository's fingerprint.
    Fingerprint,
    /// An exclude pattern.
    Pattern,
    /// The name of one file.
    FileName,
    /// A word of a command.
    Word,
    /// What a source is called.
    SourceName,
    /// What a repository or a target is called.
    ShortName,
    /// The name of a tag.
    TagName,
    /// Any text on one line.
    Line,
    /// Kinds of objects of a cluster.
    KindPattern,
    /// A namespace of a cluster.
    Namespace,
    /// What to do with data of PostgreSQL.
    Postgres,
    /// Claims of a cluster.
    ClaimPattern,
    /// An image of containers.
    Image,
    /// With whose rights a mover reads.
    MoverMode,
    /// How many of something at once.
    Count,
    /// The name of an object of a cluster, or of a driver.
    ObjectName,
}

/// Whether a text can name a source: not empty, no colon, no control character, does not begin with `/`.
#[must_use]
pub fn is_source_name(text: &str) -> bool {
    let plain = !text.contains(|c: char| c == ':' || c.is_control());
    plain && !text.is_empty() && !text.starts_with('/') && text.chars().count() <= NAME_CHARS_MAX
}

/// Longest name that file systems take.
const FILE_NAME_BYTES_MAX: usize = 255;

/// Whether a text can name a file in a directory: what comes from a pipe must be restorable under it.
#[must_use]
pub fn is_file_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '\0', '\n']) && text.len() <= FILE_NAME_BYTES_MAX
}

fn is_short_name(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    begins
        && text.len() <= NAME_CHARS_MAX
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// A label of DNS as Kubernetes has it: a namespace, a resource, a part of a group.
fn is_dns_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// `resource`, `resource.group` or `*.group`.
fn is_kind_pattern(text: &str) -> bool {
    let (resource, group) = text.split_once('.').map_or((text, None), |(resource, group)| (resource, Some(group)));
    let named = is_dns_name(resource) || (resource == "*" && group.is_some());
    named && group.is_none_or(|group| group.split('.').all(is_dns_name))
}

/// `NAMESPACE/CLAIM`, where `*` stands for any part of a name.
fn is_claim_pattern(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '*');
    let part = |text: &str| !text.is_empty() && text.len() <= 253 && text.chars().all(plain);
    text.split_once('/').is_some_and(|(namespace, claim)| part(namespace) && part(claim))
}

/// Labels of DNS with dots between: how Kubernetes names most objects.
fn is_object_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_name)
}

fn is_image(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '@');
    !text.is_empty() && text.len() <= 512 && text.chars().all(plain)
}

fn is_tag_name(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX && !text.contains(|c: char| c == '=' || c.is_control())
}

impl Scalar {
    /// What is expected, for people.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Keep => "a number from 1 to 100000",
            Self::Duration => "a time, such as 90s, 15m, 48h, 30d, 6mo or 1y",
            Self::Rate => "a size a second, such as 2MiB/s",
            Self::Share => "a share from 0% to 100%",
            Self::Path => "an absolute path",
            Self::Url => "an address, such as /mnt/backup, s3://bucket/prefix or b2://bucket/prefix",
            Self::Fingerprint => "a fingerprint, hdr1-…",
            Self::Pattern => "a pattern, such as '*.tmp'",
            Self::FileName => "the name of a file, without a folder",
            Self::Word => "text",
            Self::SourceName => "a name, such as photos or pvc/media/jellyfin",
            Self::ShortName => "a name of letters, digits, - _ and .",
            Self::TagName => "a name without =",
            Self::Line => "text on one line",
            Self::KindPattern => "kinds of a cluster, such as pods, pods.metrics.k8s.io or '*.example.org'",
            Self::Namespace => "the name of a namespace",
            Self::Postgres => "refuse or crash-consistent",
            Self::ClaimPattern => "a claim as NAMESPACE/CLAIM, such as media/jellyfin-config or 'media/*'",
            Self::Image => "an image, such as registry.example.org/homelab-dr@sha256:…",
            Self::MoverMode => "app, root or privileged",
            Self::Count => "a number from 1 to 64",
            Self::ObjectName => "the name of an object, such as longhorn-snap",
        }
    }

    /// Judges a value. `None` if it is right.
    pub fn judge(self, value: &Value, judges: &Judges<'_>) -> Option<Complaint> {
        match (self, value) {
            (Self::Bool, Value::Bool(_)) => None,
            (Self::Bool, Value::Text(text)) if matches!(text.as_str(), "yes" | "on" | "no" | "off") => {
                let meant = if matches!(text.as_str(), "yes" | "on") { "true" } else { "false" };
                Some(self.unexpected(value, &format!("write {meant}")))
            }
            (Self::Keep, Value::Number(text)) => self.keep(text),
            (Self::Count, Value::Number(text)) => {
                let fits = text.parse().is_ok_and(|number| (1..=COUNT_MAX).contains(&number));
                (!fits).then(|| {
                    Complaint::new(format!("{text} is not {}", self.expected()), format!("write {}", self.expected()))
                })
            }
            (Self::Bool | Self::Keep | Self::Count, _) => {
                Some(self.unexpected(value, &format!("write {}", self.expected())))
            }
            (_, Value::Text(text)) => self.judge_text(text, judges),
            (Self::Share, Value::Number(text)) => Some(self.unexpected(value, &format!("did you mean {text}%?"))),
            (_, Value::Number(_) | Value::Bool(_)) if !matches!(self, Self::Duration | Self::Rate) => {
                Some(self.unexpected(value, "put it in quotes if it is meant as text"))
            }
            _ => Some(self.unexpected(value, &format!("write {}", self.expected()))),
        }
    }

    fn unexpected(self, value: &Value, help: &str) -> Complaint {
        Complaint::new(format!("{} is expected here, and this is {}", self.expected(), value.kind()), help)
    }

    fn keep(self, text: &str) -> Option<Complaint> {
        match text.parse::<u32>() {
            Ok(0) => {
                Some(Complaint::new("a rule that keeps 0 keeps nothing", "leave it out, or write how many to keep"))
            }
            Ok(number) if number <= KEEP_MAX => None,
            _ => {
                Some(Complaint::new(format!("{text} is not {}", self.expected()), format!("write {}", self.expected())))
            }
        }
    }

    /// Judges text; names of things are always text.
    pub fn judge_text(self, text: &str, judges: &Judges<'_>) -> Option<Complaint> {
        let wrong =
            |help: &str| Some(Complaint::new(format!("{:?} is not {}", short(text), self.expected()), help.to_owned()));
        if holds_secret(text) {
            // Not repeated: what is printed here ends in logs.
            let help = "name the file that it lies in; secrets do not belong here, and this one has been seen by now";
            return Some(Complaint::new("this is a secret itself", help));
        }
        match self {
            Self::Bool | Self::Keep | Self::Count => wrong(self.expected()),
            Self::Duration => match parse_duration(text) {
                Ok(time) if time.is_zero() => wrong("a time of zero means nothing here: leave it out or write one"),
                Ok(_) => None,
                Err(_) => wrong("write a number and s, m, h, d, w, mo or y"),
            },
            Self::Rate => parse_rate(text).is_err().then(|| wrong("write a size a second, such as 2MiB/s")).flatten(),
            Self::Share => parse_percent(text).is_err().then(|| wrong("write 10%, for example")).flatten(),
            Self::Path if text.contains('\0') => wrong("a path has no NUL"),
            Self::Path if text.starts_with("~/") => wrong("~ is not understood here: write the path from / on"),
            Self::Path if !text.starts_with('/') => {
                wrong("a relative path means something else wherever the program is started: write it from / on")
            }
            Self::Url => (judges.url)(text).err(),
            Self::Pattern => (judges.pattern)(text).err(),
            Self::Fingerprint => {
                let help = "write hdr1 and eight groups of four letters and digits (a-z, 2-7), as `init` and the recovery kit show it";
                text.parse::<Fingerprint>().is_err().then(|| wrong(help)).flatten()
            }
            Self::FileName => {
                if is_file_name(text) {
                    None
                } else {
                    wrong("write a plain name of at most 255 bytes, such as app.sql")
                }
            }
            Self::Word => {
                if text.contains('\0') {
                    wrong("a word has no NUL")
                } else {
                    None
                }
            }
            Self::SourceName if is_source_name(text) => None,
            Self::SourceName => {
                wrong("a name has no colon and does not begin with /, such as photos or pvc/media/jellyfin")
            }
            Self::ShortName if is_short_name(text) => None,
            Self::ShortName => wrong("such as home or offsite-1; it begins with a letter or a digit"),
            Self::TagName if is_tag_name(text) => None,
            Self::TagName => wrong("such as host"),
            Self::KindPattern if is_kind_pattern(text) => None,
            Self::KindPattern => wrong(
                "write it as `kubectl api-resources` does: the plural, a dot and the group; * for all kinds of a group",
            ),
            Self::Namespace if is_dns_name(text) => None,
            Self::Namespace => wrong("small letters, digits and -, at most 63"),
            Self::Postgres if matches!(text, "refuse" | "crash-consistent") => None,
            Self::Postgres => wrong("crash-consistent is for snapshots of a file system; everything else is refused"),
            Self::ClaimPattern if is_claim_pattern(text) => None,
            Self::ClaimPattern => wrong("one slash between the namespace and the claim; * stands for any name"),
            Self::Image if is_image(text) => None,
            Self::Image => wrong("write it as in a pod's manifest, best by its digest"),
            Self::MoverMode if MOVER_MODES.contains(&text) => None,
            Self::MoverMode => wrong("write app, root or privileged"),
            Self::ObjectName if is_object_name(text) => None,
            Self::ObjectName => wrong("small letters, digits, - and ., as in its manifest"),
            Self::Line if text.contains(['\n', '\0']) => wrong("write it on one line"),
            Self::Path | Self::Line => None,
        }
    }

    /// As JSON Schema. It may be laxer than [`Self::judge`], never stricter.
    pub fn schema(self) -> Json {
        let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
        match self {
            Self::Bool => json!({ "type": "boolean" }),
            Self::Keep => json!({ "type": "integer", "minimum": 1, "maximum": KEEP_MAX }),
            Self::Duration => text("^[0-9]+(s|m|h|d|w|mo|y)$"),
            Self::Rate => text("^[0-9]+ ?[A-Za-z]*(/s)?$"),
            Self::Share => text("^[0-9]{1,3}%?$"),
            Self::Path => text("^/"),
            Self::Url | Self::Pattern => json!({ "type": "string", "minLength": 1 }),
            Self::Fingerprint => text("^\\s*[hH][dD][rR]1(-?[A-Za-z2-7-]){32,}\\s*$"),
            Self::FileName => text("^[^/]+$"),
            Self::Word => json!({ "type": "string" }),
            Self::SourceName => text("^[^:/][^:]*$"),
            Self::ShortName => text("^[A-Za-z0-9][A-Za-z0-9._-]*$"),
            Self::TagName => text("^[^=]+$"),
            Self::Line => text("^[^\\n]*$"),
            Self::KindPattern => text("^(\\*\\.)?[a-z0-9][a-z0-9.-]*$"),
            Self::Namespace => text("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
            Self::Postgres => json!({ "enum": ["refuse", "crash-consistent"] }),
            Self::ClaimPattern => text("^[a-z0-9.*-]+/[a-z0-9.*-]+$"),
            Self::Image => text("^[A-Za-z0-9._:/@-]+$"),
            Self::MoverMode => json!({ "enum": MOVER_MODES }),
            Self::Count => json!({ "type": "integer", "minimum": 1, "maximum": COUNT_MAX }),
            Self::ObjectName => text("^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"),
        }
    }
}

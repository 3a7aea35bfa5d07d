//! The kinds of single values: what each accepts, what it says about one that it does not, and how JSON Schema writes it.

use std::borrow::Cow;

use chrono::{Offset as _, Utc};
use serde_json::{Value as Json, json};

use super::Judges;
use super::finding::{Complaint, short};
use super::node::Value;
use crate::base::secret::holds_secret;
use crate::base::units::{parse_duration, parse_percent, parse_rate, parse_size};
use crate::base::when::Selector;
use crate::crypto::fingerprint::Fingerprint;

/// Most snapshots that one keep rule can count.
const KEEP_MAX: u32 = 100_000;
/// Most things that are done at once.
const COUNT_MAX: u32 = 64;
/// The words for a mover's rights.
const MOVER_MODES: [&str; 3] = ["app", "root", "privileged"];
/// Longest name of a source, a repository or a target.
const NAME_CHARS_MAX: usize = 200;

/// A kind of single value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
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
    /// What a person types: words on one line, with nothing before or after them.
    Phrase,
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
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number.
    Whole,
    /// Any single value.
    Any,
    /// Bytes.
    Size,
    /// Which snapshot of a source.
    Snapshot,
    /// A claim of a cluster, without `*`.
    Claim,
    /// An object of a cluster.
    Object,
    /// A port of a host.
    Address,
    /// A name of DNS.
    HostName,
    /// The address of a page.
    Page,
    /// What a step, a runbook or a parameter is called.
    Id,
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

/// `NAMESPACE/KIND/NAME`, where the kind is the plural with its group, and `_cluster` stands for no namespace.
fn is_object(text: &str) -> bool {
    let mut parts = text.split('/');
    let (Some(namespace), Some(kind), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let known = !kind.contains('*') && is_kind_pattern(kind);
    // Names of roles and of some custom resources have colons.
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '*' | '%');
    (namespace == "_cluster" || is_dns_name(namespace)) && known && !name.is_empty() && name.chars().all(plain)
}

/// `HOST:PORT`, `[ADDRESS]:PORT` where the address has colons.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let named = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(host),
    };
    named && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_host_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(plain);
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

fn is_page(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Small letters and digits with `-` or `_` between: what stands in `${}` and in lists of needs.
pub(crate) fn is_id(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.len() <= 63
        && text.chars().all(inner)
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
    pub fn expected(self) -> Cow<'static, str> {
        if let Self::Choice(words) = self {
            return match words {
                [one] => Cow::Borrowed(one),
                [most @ .., last] => Cow::Owned(format!("{} or {last}", most.join(", "))),
                [] => Cow::Borrowed("nothing"),
            };
        }
        Cow::Borrowed(self.name())
    }

    const fn name(self) -> &'static str {
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
            Self::Phrase => "words on one line",
            Self::KindPattern => "kinds of a cluster, such as pods, pods.metrics.k8s.io or '*.example.org'",
            Self::Namespace => "the name of a namespace",
            Self::Postgres => "refuse or crash-consistent",
            Self::ClaimPattern => "a claim as NAMESPACE/CLAIM, such as media/jellyfin-config or 'media/*'",
            Self::Image => "an image, such as registry.example.org/homelab-dr@sha256:…",
            Self::MoverMode => "app, root or privileged",
            Self::Count => "a number from 1 to 64",
            Self::ObjectName => "the name of an object, such as longhorn-snap",
            Self::Choice(_) => "one of some words",
            Self::Whole => "a whole number",
            Self::Any => "a single value",
            Self::Size => "a size, such as 20GiB",
            Self::Snapshot => "a snapshot: latest, the start of an id, or a time such as 2026-11-01T03:00",
            Self::Claim => "a claim as NAMESPACE/CLAIM, such as media/jellyfin-config",
            Self::Object => "an object as NAMESPACE/KIND/NAME, such as media/deployments.apps/jellyfin",
            Self::Address => "a host and a port, such as db.media.svc:5432",
            Self::HostName => "a name of DNS, such as photos.example.org",
            Self::Page => "the address of a page, such as https://photos.example.org/healthz",
            Self::Id => "a short name of small letters, digits, - and _",
        }
    }

    /// Judges a value. `None` if it is right.
    pub fn judge(self, value: &Value, judges: &Judges<'_>) -> Option<Complaint> {
        match (self, value) {
            (Self::Bool, Value::Bool(_)) | (Self::Any, Value::Number(_) | Value::Bool(_)) => None,
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
            (Self::Whole, Value::Number(text)) => text.parse::<u64>().is_err().then(|| {
                Complaint::new(format!("{text} is not {}", self.expected()), format!("write {}", self.expected()))
            }),
            (Self::Bool | Self::Keep | Self::Count | Self::Whole, _) => {
                Some(self.unexpected(value, &format!("write {}", self.expected())))
            }
            (_, Value::Text(text)) => self.judge_text(text, judges),
            (Self::Share, Value::Number(text)) => Some(self.unexpected(value, &format!("did you mean {text}%?"))),
            (_, Value::Number(_) | Value::Bool(_)) if !matches!(self, Self::Duration | Self::Rate | Self::Size) => {
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
            Self::Bool | Self::Keep | Self::Count | Self::Whole => wrong(&self.expected()),
            Self::Choice(words) if words.contains(&text) => None,
            Self::Choice(words) => wrong(&super::suggest(text, words, "write one of")),
            Self::Size => parse_size(text).is_err().then(|| wrong("write a size, such as 20GiB")).flatten(),
            Self::Snapshot => match Selector::parse(text, Utc.fix()) {
                Ok(Selector::Latest { source: Some(_) }) => wrong("the source stands in a field of its own"),
                Ok(_) => None,
                Err(_) => wrong("write latest, at least four digits of an id, or a time"),
            },
            Self::Claim if is_claim_pattern(text) && !text.contains('*') => None,
            Self::Claim => wrong("one slash between the namespace and the claim"),
            Self::Object if is_object(text) => None,
            Self::Object => wrong(
                "the kind as `kubectl api-resources` names it: the plural, a dot and the group; _cluster for no namespace",
            ),
            Self::Address if is_address(text) => None,
            Self::Address => wrong("write HOST:PORT; an address with colons in brackets"),
            Self::HostName if is_host_name(text) => None,
            Self::HostName => wrong("no scheme, no port, no path"),
            Self::Page if is_page(text) => None,
            Self::Page => wrong("write it with http:// or https://"),
            Self::Id if is_id(text) => None,
            Self::Id => wrong("it begins with a letter or a digit, and has at most 63 signs"),
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
            Self::Line | Self::Phrase if text.contains(['\n', '\0']) => wrong("write it on one line"),
            Self::Phrase if text.is_empty() || text.trim() != text => {
                wrong("write words, without blanks before or after them: nobody can type what is not seen")
            }
            Self::Path | Self::Line | Self::Phrase | Self::Any => None,
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
            Self::Phrase => text("^\\S(?:[^\\n]*\\S)?$"),
            Self::KindPattern => text("^(\\*\\.)?[a-z0-9][a-z0-9.-]*$"),
            Self::Namespace => text("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
            Self::Postgres => json!({ "enum": ["refuse", "crash-consistent"] }),
            Self::ClaimPattern => text("^[a-z0-9.*-]+/[a-z0-9.*-]+$"),
            Self::Image => text("^[A-Za-z0-9._:/@-]+$"),
            Self::MoverMode => json!({ "enum": MOVER_MODES }),
            Self::Count => json!({ "type": "integer", "minimum": 1, "maximum": COUNT_MAX }),
            Self::ObjectName => text("^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"),
            Self::Choice(words) => json!({ "enum": words }),
            Self::Whole => json!({ "type": "integer", "minimum": 0 }),
            Self::Any => json!({ "type": ["string", "number", "boolean"] }),
            Self::Size => text("^[0-9]+ ?[A-Za-z]*$"),
            Self::Snapshot => text("^(latest|[0-9A-Fa-f]{4,64}|[0-9]{4}-.*)$"),
            Self::Claim => text("^[a-z0-9.-]+/[a-z0-9.-]+$"),
            Self::Object => text("^[a-z0-9_-]+/[a-z0-9.-]+/[^/]+$"),
            Self::Address => text(":[0-9]+$"),
            Self::HostName => text("^[A-Za-z0-9._-]+$"),
            Self::Page => text("^\\s*[hH][tT][tT][pP]"),
            Self::Id => text("^[a-z0-9][a-z0-9_-]*$"),
        }
    }

    /// Whether its text may hold a variable; names that the order hangs on may not.
    pub const fn may_vary(self) -> bool {
        !matches!(self, Self::Id)
    }
}

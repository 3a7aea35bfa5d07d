//! Passwords that stand in clear, as far as they can be told by their form.

/// In place of what looks like a secret.
pub(crate) const NOT_SHOWN: &str = "(not shown: it looks like a secret)";

/// The value of a parameter, unless its name says that it is a secret.
pub(crate) fn unless_secret<'a>(name: &str, value: &'a str) -> &'a str {
    if holds_password(&format!("{name}={value}")) { NOT_SHOWN } else { value }
}

/// Whether a word of a command line seems to hold a password: `--password=…`, `token=…`, `postgres://user:secret@host`.
pub(crate) fn holds_password(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let assigned = lower.split_once('=').is_some_and(|(name, value)| {
        let named =
            ["password", "passwd", "secret", "token", "api-key", "apikey"].iter().any(|mark| name.ends_with(mark));
        named && !value.is_empty()
    });
    let in_address = lower.split_once("://").is_some_and(|(_, rest)| {
        let host = rest.split('/').next().unwrap_or_default();
        host.rsplit_once('@').is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, word)| !word.is_empty()))
    });
    assigned || in_address
}

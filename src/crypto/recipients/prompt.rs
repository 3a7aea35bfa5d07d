//! Asking the person, if there is one.

use std::sync::Arc;

use age::secrecy::SecretString;

use super::SecretText;

/// How a person is asked, injected by the command line. `None` means that nobody can be asked.
pub trait Prompt: Send + Sync + 'static {
    /// Asks for the passphrase of `what`.
    fn passphrase(&self, what: &str) -> Option<SecretText>;
    /// Shows a plugin's message, such as a request to touch a key.
    fn message(&self, message: &str);
    /// Asks a plugin's question with two answers; `no` may be unnamed.
    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool>;
    /// Asks a plugin's question whose answer is no secret.
    fn public(&self, description: &str) -> Option<String>;
}

/// For where nobody can be asked: a job in the cluster, a pipe.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPrompt;

impl Prompt for NoPrompt {
    fn passphrase(&self, _: &str) -> Option<SecretText> {
        None
    }
    fn message(&self, _: &str) {}
    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }
    fn public(&self, _: &str) -> Option<String> {
        None
    }
}

/// A [`Prompt`] in the form that age wants.
#[derive(Clone)]
pub(super) struct Asking(pub(super) Arc<dyn Prompt>);

impl age::Callbacks for Asking {
    fn display_message(&self, message: &str) {
        self.0.message(message);
    }
    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        self.0.confirm(message, yes, no)
    }
    fn request_public_string(&self, description: &str) -> Option<String> {
        self.0.public(description)
    }
    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        self.0.passphrase(description).map(|text| SecretString::from(text.expose().to_owned()))
    }
}

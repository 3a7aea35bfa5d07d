//! What an error of the client may say. A kubeconfig and the answer of a credential plugin hold tokens, and words about them quote them: those are told by their place, never by
//! their text.

use std::error::Error;

use kube::client::AuthError;
use kube::config::KubeconfigError;

use crate::cluster::manifest::place;

type BoxError = Box<dyn Error + Send + Sync>;

/// Characters of what a plugin wrote to its standard error.
const SAID_CHARS_MAX: usize = 300;

/// Why a kubeconfig cannot be used.
pub(super) fn of_kubeconfig(error: KubeconfigError) -> BoxError {
    match error {
        KubeconfigError::Parse(error) => format!("it is no kubeconfig{}", place(&error)).into(),
        other => other.into(),
    }
}

/// Why the client cannot ask.
pub(super) fn of_client(error: BoxError) -> BoxError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(one) = cause {
        if let Some(told) = one.downcast_ref::<AuthError>().and_then(of_plugin) {
            return told.into();
        }
        cause = one.source();
    }
    error
}

/// `None` for what quotes nothing.
fn of_plugin(error: &AuthError) -> Option<String> {
    match error {
        AuthError::AuthExecParse(error) => {
            Some(format!("the credential plugin answered no ExecCredential{}", place(error)))
        }
        // Its standard output is where tokens go, and so may its arguments be.
        AuthError::AuthExecRun { cmd, out } => {
            let program = cmd.split_whitespace().next().unwrap_or_default();
            let said = String::from_utf8_lossy(&out.stderr);
            let said: String = said.trim().chars().take(SAID_CHARS_MAX).collect();
            Some(format!("the credential plugin {program} ended with {}: {said}", out.status))
        }
        _ => None,
    }
}

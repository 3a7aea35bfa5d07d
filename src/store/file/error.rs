//! What an error of the operating system means for a store.

use std::io;

use rustix::io::Errno;

use crate::store::{Key, StoreError};

/// Translates `error`, met while doing `operation` on `object`. Not-found is the caller's to tell apart.
pub(super) fn translate(store: String, operation: &'static str, object: &str, error: io::Error) -> StoreError {
    let errno = Errno::from_io_error(&error);
    let key = || Key::new(object).ok();
    match (errno, key()) {
        (Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG), Some(key)) => {
            StoreError::Full { store, key, source: error.into() }
        }
        (Some(Errno::ACCESS | Errno::PERM | Errno::ROFS), _) => {
            StoreError::Denied { store, operation, object: object.to_owned(), source: error.into() }
        }
        (errno, _) => StoreError::Failed {
            store,
            operation,
            object: object.to_owned(),
            transient: errno.is_some_and(may_pass),
            source: error.into(),
        },
    }
}

/// Errors that a later try may not meet. EIO is what a soft NFS mount answers while its server is away. ESTALE is
/// left out: the handle stays stale, and what lies behind it has to be looked at anew by somebody.
fn may_pass(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::IO
            | Errno::AGAIN
            | Errno::BUSY
            | Errno::INTR
            | Errno::TIMEDOUT
            | Errno::CONNREFUSED
            | Errno::CONNRESET
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::MFILE
            | Errno::NFILE
            | Errno::NOMEM
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meet(errno: Errno) -> StoreError {
        translate("/mnt".into(), "write", "packs/ab", errno.into())
    }

    #[test]
    fn each_kind_of_failure_becomes_what_the_caller_can_act_on() {
        assert!(matches!(meet(Errno::NOSPC), StoreError::Full { .. }));
        assert!(matches!(meet(Errno::DQUOT), StoreError::Full { .. }));
        for refused in [Errno::ACCESS, Errno::PERM, Errno::ROFS] {
            assert!(matches!(meet(refused), StoreError::Denied { .. }), "{refused}");
        }
        for passing in [Errno::IO, Errno::TIMEDOUT, Errno::AGAIN] {
            assert!(meet(passing).is_transient(), "{passing}");
        }
        for lasting in [Errno::STALE, Errno::NAMETOOLONG, Errno::NOTDIR] {
            assert!(!meet(lasting).is_transient(), "{lasting}");
        }
    }
}

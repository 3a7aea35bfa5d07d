//! Layer 0: ids, units, time, secrets, progress, cancelling, locks of open files, text for HTML. Names nothing above it, opens no file and no connection.

pub mod cancel;
pub mod causes;
pub mod clock;
pub mod html;
pub mod id;
pub mod lock;
pub mod pool;
pub mod progress;
pub mod random;
pub mod secret;
pub mod shell;
pub mod units;
pub mod when;

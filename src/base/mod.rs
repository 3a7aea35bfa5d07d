//! Layer 0: ids, units, time, secrets, progress, cancelling, text for HTML. Names nothing above it, touches no disk and no network (the clock excepted).

pub mod cancel;
pub mod clock;
pub mod html;
pub mod id;
pub mod pool;
pub mod progress;
pub mod random;
pub mod secret;
pub mod shell;
pub mod units;
pub mod when;

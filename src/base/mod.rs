//! Layer 0: ids, units, time. Names nothing above it, touches no disk and no network (the clock excepted).

pub mod clock;
pub mod id;
pub mod units;
pub mod when;

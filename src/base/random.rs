//! Numbers that look random and follow from a seed: for jitter, simulations and tests, never for keys.

/// What the state of the generator grows by with each number.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number of a state: `SplitMix64` (Steele, Lea, Flood 2014, <https://doi.org/10.1145/2714064.2660195>).
#[must_use]
pub const fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

//! Sizes of stored objects: padded to steps, so that a size says little of what is inside.
//!
//! An object of `n` bytes is stored as the next multiple of `max(4 KiB, 2^(floor(log2 n) - 6))`: at most 64 sizes between a power of two and the next,
//! at most 1.6 % more bytes above 256 KiB.

const STEP_MIN: usize = 4096;

/// The stored size of an object that needs `length` bytes.
#[must_use]
pub const fn padded(length: usize) -> usize {
    let step = match length.checked_ilog2() {
        Some(bits) if bits > 18 => 1 << (bits - 6),
        _ => STEP_MIN,
    };
    length.div_ceil(step).saturating_mul(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_few_and_waste_is_bounded() {
        assert_eq!(padded(1), 4096);
        assert_eq!(padded(4096), 4096);
        assert_eq!(padded(4097), 8192);
        let mib = 1 << 20;
        assert_eq!(padded(16 * mib), 16 * mib);
        assert_eq!(padded(16 * mib + 1), 16 * mib + mib / 4);
        for length in (1..64 * mib).step_by(9973) {
            let size = padded(length);
            assert!(size >= length && size - length <= 4096.max(length / 64), "{length} -> {size}");
            assert_eq!(padded(size), size, "padding twice changes nothing");
        }
    }
}

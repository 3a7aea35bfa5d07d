//! Reed–Solomon in GF(2^8): of `k` pieces and `m` that were computed from them, any `k` give back all. docs/format.md §6.5.
//!
//! The matrix is Cauchy's: every square part of it can be inverted, and it is one formula, so that another program needs no more than that formula.
//! Bytes that depend on nothing but the input; nothing here is secret, so tables do no harm.

/// `x^8 + x^4 + x^3 + x^2 + 1`.
const POLYNOMIAL: u16 = 0x11d;
/// Members are the elements from 0 on, parity pieces those from here on: no element is both.
const PARITY_FROM: u8 = 128;

/// Powers of 2, twice over, and their logarithms.
const TABLES: ([u8; 510], [u8; 256]) = tables();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "within the bounds of the loops, at compile time"
)]
const fn tables() -> ([u8; 510], [u8; 256]) {
    let (mut powers, mut logarithms) = ([0_u8; 510], [0_u8; 256]);
    let (mut at, mut power) = (0_usize, 1_u16);
    while at < 255 {
        powers[at] = power as u8;
        powers[at + 255] = power as u8;
        logarithms[power as usize] = at as u8;
        power <<= 1;
        if power > 255 {
            power ^= POLYNOMIAL;
        }
        at += 1;
    }
    (powers, logarithms)
}

fn logarithm(of: u8) -> usize {
    TABLES.1.get(usize::from(of)).copied().map_or(0, usize::from)
}

/// The product of two elements.
#[must_use]
pub fn multiply(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    TABLES.0.get(logarithm(a) + logarithm(b)).copied().unwrap_or(0)
}

/// What times `of` is 1; 0 for 0, which has none.
fn inverse(of: u8) -> u8 {
    if of == 0 { 0 } else { TABLES.0.get(255 - logarithm(of)).copied().unwrap_or(0) }
}

/// What a member counts in a parity piece, both numbered from 0 and below 128.
#[must_use]
pub fn coefficient(parity: u8, member: u8) -> u8 {
    inverse((parity | PARITY_FROM) ^ member)
}

/// Adds `factor` times `from` to the beginning of `to`. What is longer than the other is left alone: missing bytes are zeros.
pub fn add(to: &mut [u8], from: &[u8], factor: u8) {
    let mut products = [0_u8; 256];
    for (number, product) in (0_u8..=255).zip(&mut products) {
        *product = multiply(factor, number);
    }
    for (to, from) in to.iter_mut().zip(from) {
        #[expect(clippy::indexing_slicing, reason = "a byte is below 256; this is where the time goes")]
        let product = products[usize::from(*from)];
        *to ^= product;
    }
}

/// How members that are gone come out of parity pieces of which all other members were taken off: row by member, column by piece. Both lists ascend and are equally
/// long; `None` if they are not.
#[must_use]
pub fn solve(parity: &[u8], gone: &[u8]) -> Option<Vec<Vec<u8>>> {
    let size = gone.len();
    if parity.len() != size || !parity.is_sorted_by(|a, b| a < b) || !gone.is_sorted_by(|a, b| a < b) {
        return None;
    }
    // Gauss and Jordan, with the unit matrix on the right.
    let mut rows: Vec<Vec<u8>> = parity
        .iter()
        .enumerate()
        .map(|(at, piece)| {
            let left = gone.iter().map(|member| coefficient(*piece, *member));
            left.chain((0..size).map(|column| u8::from(column == at))).collect()
        })
        .collect();
    for column in 0..size {
        let pivot =
            (column..size).find(|row| rows.get(*row).and_then(|row| row.get(column)).is_some_and(|c| *c != 0))?;
        rows.swap(column, pivot);
        let mut leading = std::mem::take(rows.get_mut(column)?);
        let scale = inverse(*leading.get(column)?);
        for cell in &mut leading {
            *cell = multiply(*cell, scale);
        }
        for row in &mut rows {
            // The leading one was taken out, and is empty.
            let factor = row.get(column).copied().unwrap_or(0);
            add(row, &leading, factor);
        }
        *rows.get_mut(column)? = leading;
    }
    rows.into_iter().map(|row| row.get(size..).map(<[u8]>::to_vec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, as a book has it.
    fn by_hand(a: u8, b: u8) -> u8 {
        let mut product = 0_u16;
        for bit in 0..8 {
            if b >> bit & 1 == 1 {
                product ^= u16::from(a) << bit;
            }
        }
        for bit in (8..16).rev() {
            if product >> bit & 1 == 1 {
                product ^= POLYNOMIAL << (bit - 8);
            }
        }
        u8::try_from(product).expect("reduced")
    }

    #[test]
    fn products_are_those_of_the_field() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(multiply(a, b), by_hand(a, b), "{a} × {b}");
            }
            assert!(a == 0 || by_hand(a, inverse(a)) == 1, "{a}");
        }
    }

    /// The numbers of docs/format.md §6.5.
    #[test]
    fn the_example_of_the_format_page() {
        let members: [&[u8]; 3] = [&[1, 2, 3, 4], &[0xff, 0, 0x80], &[7]];
        let mut parity = [[0_u8; 4]; 2];
        for (piece, parity) in (0..).zip(&mut parity) {
            for (member, bytes) in (0..).zip(members) {
                add(parity, bytes, coefficient(piece, member));
            }
        }
        assert_eq!([0, 1, 2].map(|member| coefficient(0, member)), [0x1b, 0x54, 0xa1]);
        assert_eq!([0, 1, 2].map(|member| coefficient(1, member)), [0x54, 0x1b, 0x1d]);
        assert_eq!(parity, [[0xfa, 0x36, 0x78, 0x6c], [0xfb, 0xa8, 0xfd, 0x4d]]);
    }

    #[test]
    fn any_that_are_gone_come_back() {
        let members: Vec<Vec<u8>> = (0..6_u8).map(|n| vec![n.wrapping_mul(37) ^ 5, n, 255 - n]).collect();
        let pieces: Vec<Vec<u8>> = (0..3)
            .map(|piece| {
                let mut sum = vec![0; 3];
                (0..).zip(&members).for_each(|(member, bytes)| add(&mut sum, bytes, coefficient(piece, member)));
                sum
            })
            .collect();
        let subsets =
            |of: u8| (0_u32..1 << of).map(move |bits| (0..of).filter(|n| bits >> n & 1 == 1).collect::<Vec<u8>>());
        let mut tried = 0;
        for gone in subsets(6).filter(|gone| (1..=3).contains(&gone.len())) {
            for rows in subsets(3).filter(|rows| rows.len() == gone.len()) {
                let solved = solve(&rows, &gone).expect("Cauchy");
                let left: Vec<Vec<u8>> = rows
                    .iter()
                    .map(|row| {
                        let mut left = pieces[usize::from(*row)].clone();
                        for (member, bytes) in (0..).zip(&members).filter(|(member, _)| !gone.contains(member)) {
                            add(&mut left, bytes, coefficient(*row, member));
                        }
                        left
                    })
                    .collect();
                for (member, factors) in gone.iter().zip(&solved) {
                    let mut found = vec![0; 3];
                    left.iter().zip(factors).for_each(|(left, factor)| add(&mut found, left, *factor));
                    assert_eq!(found, members[usize::from(*member)], "{gone:?} by {rows:?}");
                }
                tried += 1;
            }
        }
        assert_eq!(tried, 6 * 3 + 15 * 3 + 20);
        assert_eq!(solve(&[0], &[1, 2]), None);
        assert_eq!(solve(&[1, 0], &[1, 2]), None);
    }
}

//! Mutations: of bytes, and of what the bytes mean (CBOR items, records, words of a text).

use homelab_dr::base::random::{STEP, mix};

/// Small, seeded, good enough to choose what to break.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// Less than `end`; 0 if that is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).expect("below a usize")
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// `start..end` with `start <= end <= length`.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 { length - start } else { (length - start).min(16) };
        start..start + self.below(most + 1)
    }
}

/// What the bytes of a target are.
#[derive(Clone, Copy)]
pub(super) enum Shape<'a> {
    Raw,
    Cbor,
    /// Length u32le, CBOR, zeros.
    Record,
    /// Text with these words in it.
    Text(&'a [&'a str]),
}

/// Longest input.
const INPUT_BYTES_MAX: usize = 256 << 10;

const EXTREMES: [u64; 16] = [
    0,
    1,
    23,
    24,
    0x7f,
    0x80,
    0xff,
    0x100,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// One input made from the corpus.
pub(super) fn mutation(random: &mut Random, shape: Shape<'_>, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.pick(corpus).clone();
    let other = random.pick(corpus).clone();
    let rounds = 1 + random.below(4);
    match shape {
        Shape::Record if random.below(8) > 0 => {
            let mut body = body(&bytes).to_vec();
            let other = self::body(&other).to_vec();
            for _ in 0..rounds {
                one(random, Shape::Cbor, &mut body, &other);
            }
            let length = if random.below(16) == 0 { *random.pick(&EXTREMES) } else { body.len() as u64 };
            bytes = length.to_le_bytes()[..4].to_vec();
            bytes.extend_from_slice(&body);
            bytes.resize(bytes.len() + random.below(64), 0);
        }
        shape => {
            for _ in 0..rounds {
                one(random, shape, &mut bytes, &other);
            }
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

/// The CBOR in a record.
fn body(record: &[u8]) -> &[u8] {
    let (length, rest) = record.split_first_chunk::<4>().expect("a sample");
    &rest[..u32::from_le_bytes(*length) as usize]
}

fn one(random: &mut Random, shape: Shape<'_>, bytes: &mut Vec<u8>, other: &[u8]) {
    match shape {
        Shape::Cbor if random.below(4) > 0 => item(random, bytes, other),
        Shape::Text(words) if random.below(2) > 0 => {
            let word = random.pick(words).repeat(if random.below(8) == 0 { 1 + random.below(200) } else { 1 });
            let at = random.range(bytes.len());
            bytes.splice(at, word.into_bytes());
        }
        _ => plain(random, bytes, other),
    }
}

/// A mutation that knows nothing of the format.
fn plain(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let length = bytes.len();
    let range = random.range(length);
    match random.below(9) {
        0 if length > 0 => bytes[random.below(length)] ^= 1 << random.below(8),
        1 if length > 0 => bytes[random.below(length)] = random.byte(),
        2 => bytes.truncate(random.below(length + 1)),
        3 => drop(bytes.drain(range)),
        4 => {
            let more: Vec<u8> = (0..random.below(32)).map(|_| random.byte()).collect();
            bytes.splice(range.start..range.start, more);
        }
        5 => {
            let times = if random.below(16) == 0 { 1000 } else { 1 + random.below(4) };
            let copy = bytes[range.clone()].repeat(times);
            bytes.splice(range.end..range.end, copy);
        }
        6 => {
            let from = random.range(other.len());
            bytes.splice(range, other[from].iter().copied());
        }
        7 => {
            let width = *random.pick(&[1, 2, 4, 8]);
            let mut number = random.pick(&EXTREMES).to_le_bytes()[..width].to_vec();
            if random.below(2) == 0 {
                number.reverse();
            }
            if range.start + width <= length {
                bytes[range.start..range.start + width].copy_from_slice(&number);
            }
        }
        _ => {
            bytes.truncate(range.start);
            bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
    }
}

/// Where the header of a CBOR item lies, and where the item ends (of a container: its header).
struct Item {
    start: usize,
    body: usize,
    end: usize,
}

/// The items one after another, as far as the bytes make sense.
fn items(bytes: &[u8]) -> Vec<Item> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = bytes.get(at) {
        let width = match first & 31 {
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => 0,
        };
        let Some(raw) = bytes.get(at + 1..at + 1 + width) else { break };
        let argument = raw.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let argument = if width == 0 { u64::from(first & 31) } else { argument };
        let body = at + 1 + width;
        // Byte and text strings hold as many bytes; other kinds hold items or nothing.
        let string = matches!(first >> 5, 2 | 3) && first & 31 != 31;
        let length = if string { usize::try_from(argument).unwrap_or(usize::MAX) } else { 0 };
        let Some(end) = body.checked_add(length).filter(|end| *end <= bytes.len()) else { break };
        found.push(Item { start: at, body, end });
        at = end;
    }
    found
}

/// A header of `major` type with an argument of eight bytes, whatever its size.
fn header(major: u8, argument: u64) -> Vec<u8> {
    let mut out = vec![major << 5 | 27];
    out.extend_from_slice(&argument.to_be_bytes());
    out
}

/// A mutation of one CBOR item.
fn item(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let found = items(bytes);
    if found.is_empty() {
        return plain(random, bytes, other);
    }
    let Item { start, body, end } = *random.pick(&found);
    let major = if random.below(2) == 0 { bytes[start] >> 5 } else { random.byte() >> 5 };
    match random.below(8) {
        // A length that is not there.
        0 => drop(bytes.splice(start..body, header(major, *random.pick(&EXTREMES)))),
        // An extreme number, for a number or for anything else.
        1 | 2 => drop(bytes.splice(start..end, header(random.byte() & 1, *random.pick(&EXTREMES)))),
        3 => {
            let foreign = items(other);
            if let Some(theirs) = foreign.get(random.below(foreign.len())) {
                bytes.splice(start..end, other[theirs.start..theirs.end].iter().copied());
            }
        }
        // Arrays in arrays, maps in maps, tags on tags, without end.
        4 => {
            let nest = *random.pick(&[0x81_u8, 0x9f, 0xa1, 0xbf, 0xc1, 0x5f, 0x7f]);
            let depth = if random.below(4) == 0 { 100_000 } else { 1 + random.below(300) };
            bytes.splice(start..end, vec![nest; depth]);
        }
        5 => drop(bytes.drain(start..end)),
        6 => {
            let copy = bytes[start..end].repeat(1 + random.below(50));
            bytes.splice(end..end, copy);
        }
        _ => drop(bytes.splice(start..end, [*random.pick(&[0xf6_u8, 0xf7, 0xff, 0xf4, 0xf9, 0xfb, 0x1c, 0x40, 0x80])])),
    }
}

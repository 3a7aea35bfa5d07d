//! A parity object: what gives back packs that are lost, as long as enough others of their group are there. docs/format.md §6.5.
//!
//! ```text
//! parity = header ‖ shard
//! header = magic [8] ‖ version u8 = 1 ‖ repository id [16] ‖ stripe u32le ‖ k u8 ‖ m u8 ‖ k × (pack id [32] ‖ length u32le)
//!          ‖ number u8 ‖ hashes of the stripes of each member, then of the shard, 16 bytes each ‖ BLAKE3 of the header so far [32]
//! ```
//! In clear: whoever sees the store knows names and lengths, and hashes of sealed bytes tell nothing. Nobody's word: what comes out of it has to match a pack's name.

use crate::base::id::{ObjectId, RepositoryId};
use crate::format::pack::PACK_BYTES_MAX;

const MAGIC: &[u8; 8] = b"hdparity";
const VERSION: u8 = 1;
/// Bytes before the members.
const FIXED_BYTES: usize = 8 + 1 + 16 + 4 + 1 + 1;
const MEMBER_BYTES: usize = 32 + 4;
const HASH_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 32;

/// Stripe that is written: rot in one costs that much of the group and no more, and its hashes are 2 % of a percent.
pub const STRIPE_BYTES: u32 = 256 << 10;
/// Shortest stripe that is read.
pub const STRIPE_BYTES_MIN: u32 = 4 << 10;
/// Longest stripe that is read; with the members it bounds what mending takes.
pub const STRIPE_BYTES_MAX: u32 = 1 << 20;
/// Most members, and most parity objects, of a group that is read.
pub const MEMBERS_MAX: usize = 64;
/// Longest header that is read.
pub const HEADER_BYTES_MAX: usize = 2 << 20;
/// Longest object.
pub const OBJECT_BYTES_MAX: u64 = (HEADER_BYTES_MAX + PACK_BYTES_MAX) as u64;

/// The first 16 bytes of a stripe's BLAKE3.
pub type StripeHash = [u8; HASH_BYTES];

/// Why bytes are no parity object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParityError {
    /// It begins with something else.
    #[error("it is no parity object")]
    Magic,
    /// A later version.
    #[error("its version {0} is not known")]
    Version(u8),
    /// It ends too early.
    #[error("its header is cut short")]
    Short,
    /// Numbers that no group has.
    #[error("its group cannot be: {0}")]
    Group(&'static str),
    /// The checksum does not match.
    #[error("its header is damaged")]
    Checksum,
    /// The shard is not as long as the header says.
    #[error("it has {found} bytes, and {expected} are expected")]
    Length {
        /// The object's.
        found: u64,
        /// By its header.
        expected: u64,
    },
}

/// A pack in a group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Member {
    /// The pack.
    pub pack: ObjectId,
    /// Its stored size.
    pub length: u32,
}

/// Packs of which as many may be lost as there are parity objects: what all of these have in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Group {
    /// Whose packs.
    pub repository: RepositoryId,
    /// Bytes of a stripe.
    pub stripe: u32,
    /// How many parity objects.
    pub parity: u8,
    /// The packs, ascending by id; their places here are their numbers.
    pub members: Vec<Member>,
}

/// What stands before the shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The group.
    pub group: Group,
    /// Which of the group's parity objects this is, from 0.
    pub number: u8,
    /// Of every member the hashes of its stripes.
    pub members: Vec<Vec<StripeHash>>,
    /// Of the shard.
    pub own: Vec<StripeHash>,
}

/// The hash of a stripe.
#[must_use]
pub fn stripe_hash(stripe: &[u8]) -> StripeHash {
    blake3::hash(stripe).as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The hashes of all stripes of an object.
#[must_use]
pub fn stripe_hashes(bytes: &[u8], stripe: u32) -> Vec<StripeHash> {
    bytes.chunks(stripe.max(1) as usize).map(stripe_hash).collect()
}

impl Group {
    /// Whether there can be such a group.
    pub fn check(&self) -> Result<(), ParityError> {
        let sound = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(ParityError::Group(what)) };
        sound((1..=MEMBERS_MAX).contains(&self.members.len()), "too many members, or none")?;
        sound((1..=MEMBERS_MAX).contains(&usize::from(self.parity)), "too many parity objects, or none")?;
        sound((STRIPE_BYTES_MIN..=STRIPE_BYTES_MAX).contains(&self.stripe), "its stripes are too short or too long")?;
        let length = |member: &Member| (1..=PACK_BYTES_MAX).contains(&(member.length as usize));
        sound(self.members.iter().all(length), "a member is longer than any pack, or empty")?;
        sound(self.members.is_sorted_by(|a, b| a.pack < b.pack), "its members are not in order")?;
        sound(self.header_bytes() <= HEADER_BYTES_MAX, "its stripes are too many")
    }

    /// Bytes of a shard: those of the longest member.
    #[must_use]
    pub fn shard_bytes(&self) -> u32 {
        self.members.iter().map(|member| member.length).max().unwrap_or(0)
    }

    /// Stripes of so many bytes.
    #[must_use]
    pub fn stripes(&self, length: u32) -> usize {
        length.div_ceil(self.stripe.max(1)) as usize
    }

    /// Bytes of the header of each of its parity objects.
    #[must_use]
    pub fn header_bytes(&self) -> usize {
        let lengths = self.members.iter().map(|member| member.length).chain([self.shard_bytes()]);
        let stripes: usize = lengths.map(|length| self.stripes(length)).sum();
        FIXED_BYTES + self.members.len() * MEMBER_BYTES + 1 + stripes * HASH_BYTES + CHECKSUM_BYTES
    }

    /// Bytes of each of its parity objects.
    #[must_use]
    pub fn object_bytes(&self) -> u64 {
        self.header_bytes() as u64 + u64::from(self.shard_bytes())
    }

    /// Which member a pack is.
    #[must_use]
    pub fn number(&self, pack: &ObjectId) -> Option<usize> {
        self.members.binary_search_by(|member| member.pack.cmp(pack)).ok()
    }
}

/// What a header is taken from, piece by piece.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], ParityError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ParityError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, ParityError> {
        let [byte] = self.take()?;
        Ok(*byte)
    }

    fn u32(&mut self) -> Result<u32, ParityError> {
        self.take().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn hashes(&mut self, stripes: usize) -> Result<Vec<StripeHash>, ParityError> {
        let (taken, rest) = self.0.split_at_checked(stripes * HASH_BYTES).ok_or(ParityError::Short)?;
        self.0 = rest;
        Ok(taken.as_chunks().0.to_vec())
    }
}

fn encode_group(group: &Group) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(group.header_bytes());
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    bytes.extend_from_slice(group.repository.as_bytes());
    bytes.extend_from_slice(&group.stripe.to_le_bytes());
    bytes.extend([u8::try_from(group.members.len()).unwrap_or(0), group.parity]);
    for member in &group.members {
        bytes.extend_from_slice(member.pack.as_bytes());
        bytes.extend_from_slice(&member.length.to_le_bytes());
    }
    bytes
}

fn parse_group<'a>(bytes: &mut Bytes<'a>) -> Result<Group, ParityError> {
    if bytes.take()? != MAGIC {
        return Err(ParityError::Magic);
    }
    let version = bytes.u8()?;
    if version != VERSION {
        return Err(ParityError::Version(version));
    }
    let repository = RepositoryId::new(*bytes.take()?);
    let stripe = bytes.u32()?;
    let (members, parity) = (bytes.u8()?, bytes.u8()?);
    let member = |bytes: &mut Bytes<'a>| Ok(Member { pack: ObjectId::new(*bytes.take()?), length: bytes.u32()? });
    let members = (0..members).map(|_| member(bytes)).collect::<Result<_, ParityError>>()?;
    let group = Group { repository, stripe, parity, members };
    group.check()?;
    Ok(group)
}

/// How long the header is that begins with these bytes, if they hold the group.
pub fn header_bytes(beginning: &[u8]) -> Result<usize, ParityError> {
    Ok(parse_group(&mut Bytes(beginning))?.header_bytes())
}

impl Header {
    /// The bytes before the shard.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = encode_group(&self.group);
        bytes.push(self.number);
        for hash in self.members.iter().flatten().chain(&self.own) {
            bytes.extend_from_slice(hash);
        }
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }

    /// Reads what `bytes` begin with; what follows the header is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParityError> {
        let mut left = Bytes(bytes);
        let group = parse_group(&mut left)?;
        let number = left.u8()?;
        if number >= group.parity {
            return Err(ParityError::Group("its number is that of no parity object of the group"));
        }
        let mut members = Vec::with_capacity(group.members.len());
        for member in &group.members {
            members.push(left.hashes(group.stripes(member.length))?);
        }
        let own = left.hashes(group.stripes(group.shard_bytes()))?;
        let hashed = bytes.get(..bytes.len() - left.0.len()).ok_or(ParityError::Short)?;
        if left.take()? != blake3::hash(hashed).as_bytes() {
            return Err(ParityError::Checksum);
        }
        Ok(Self { group, number, members, own })
    }

    /// The same, of an object of which the store says how long it is.
    pub fn parse_object(bytes: &[u8], size: u64) -> Result<Self, ParityError> {
        let header = Self::parse(bytes)?;
        let expected = header.group.object_bytes();
        if size == expected { Ok(header) } else { Err(ParityError::Length { found: size, expected }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Group {
        let member = |n: u8, length| Member { pack: ObjectId::new([n; 32]), length };
        let members = vec![member(1, 9000), member(2, 4096), member(9, 1)];
        Group { repository: RepositoryId::new([7; 16]), stripe: 4096, parity: 2, members }
    }

    fn header() -> Header {
        let hashes = |n: usize| (0..n).map(|at| stripe_hash(&at.to_le_bytes())).collect::<Vec<_>>();
        Header { group: group(), number: 1, members: vec![hashes(3), hashes(1), hashes(1)], own: hashes(3) }
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), group().header_bytes());
        assert_eq!(header_bytes(&bytes), Ok(bytes.len()));
        assert_eq!(Header::parse(&[&bytes[..], b"shard"].concat()), Ok(header()));
        assert_eq!(Header::parse_object(&bytes, bytes.len() as u64 + 9000), Ok(header()));
        let short = ParityError::Length { found: 9000, expected: bytes.len() as u64 + 9000 };
        assert_eq!(Header::parse_object(&bytes, 9000), Err(short));
        for end in 0..bytes.len() {
            assert!(Header::parse(&bytes[..end]).is_err(), "{end}");
        }
        for at in 0..bytes.len() {
            let mut rotten = bytes.clone();
            rotten[at] ^= 1;
            assert!(Header::parse(&rotten).is_err(), "{at}");
        }
    }

    #[test]
    fn a_group_that_lies_is_refused_before_anything_is_allocated() {
        let refused = |change: &dyn Fn(&mut Group)| {
            let mut lie = group();
            change(&mut lie);
            let mut bytes = encode_group(&lie);
            bytes.push(0);
            match header_bytes(&bytes) {
                Err(ParityError::Group(_)) => true,
                other => panic!("{other:?}"),
            }
        };
        assert!(refused(&|group| group.members.clear()));
        assert!(refused(&|group| group.parity = 0));
        assert!(refused(&|group| group.parity = 65));
        assert!(refused(&|group| group.stripe = 0));
        assert!(refused(&|group| group.stripe = u32::MAX));
        assert!(refused(&|group| group.members[1].length = u32::MAX));
        assert!(refused(&|group| group.members[1].length = 0));
        assert!(refused(&|group| group.members.swap(0, 1)));
        assert!(refused(&|group| group.members[1] = group.members[0]));
        let many = |group: &mut Group| {
            let member = |n: u8| Member { pack: ObjectId::new([n; 32]), length: 64 << 20 };
            group.members = (0..64).map(member).collect();
        };
        assert!(refused(&many), "stripes of 4 KiB of 4 GiB");
    }

    #[test]
    fn stripes_are_hashed_each_and_members_are_found_by_their_packs() {
        let bytes = [7; 4097];
        let first = |bytes: &[u8]| blake3::hash(bytes).as_bytes()[..16].to_vec();
        assert_eq!(stripe_hashes(&bytes, 4096).concat(), [first(&bytes[..4096]), first(&[7])].concat());
        let numbers = [1, 2, 9, 3].map(|n| group().number(&ObjectId::new([n; 32])));
        assert_eq!(numbers, [Some(0), Some(1), Some(2), None]);
    }

    #[test]
    fn what_is_written_can_be_and_fits_into_memory() {
        let longest = Member { pack: ObjectId::new([1; 32]), length: u32::try_from(PACK_BYTES_MAX).expect("short") };
        let group = Group { stripe: STRIPE_BYTES, members: vec![longest], ..group() };
        assert_eq!(group.check(), Ok(()));
        assert!(group.object_bytes() <= OBJECT_BYTES_MAX);
        const { assert!(OBJECT_BYTES_MAX < 1 << 30) };
    }
}

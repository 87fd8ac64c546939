//! What matches have in common that differ only in their values.

// Places in a shape were found by walking the same bytes, and pieces lie within one word.
#![allow(clippy::indexing_slicing)]

use net::FlowKey;

use crate::field::{CLASS_BASIC, CLASS_NXM_0, CLASS_NXM_1, CLASS_REGISTERS};
use crate::wire::oxm::MATCH_OXM;
use crate::{Field, Version};

/// Bytes before the first field: kind and length.
const HEAD: usize = 4;

/// The bytes that such matches share, and where the others go in the flow key.
#[derive(Debug)]
pub struct Shape {
    version: Version,
    /// The match in words of eight bytes, padding included.
    words: Box<[Word]>,
    pieces: Box<[Piece]>,
}

#[derive(Clone, Copy, Debug)]
struct Word {
    /// Bits that must agree, in memory order.
    fixed: u64,
    value: u64,
}

/// Some bytes of a match that are a part of one word of the flow key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Word of [`FlowKey::words`].
    pub word: u16,
    /// Bits of that word, in memory order.
    pub bits: u64,
    from: u16,
    at: u8,
    len: u8,
}

impl Piece {
    /// The bits that a match has there.
    #[inline]
    pub fn read(&self, matching: &[u8]) -> u64 {
        let (from, at, len) = (
            usize::from(self.from),
            usize::from(self.at),
            usize::from(self.len),
        );
        let mut raw = [0u8; 8];
        if let (Some(into), Some(bytes)) =
            (raw.get_mut(at..at + len), matching.get(from..from + len))
        {
            // Lengths that the compiler knows are single instructions.
            match len {
                4 => into[..4].copy_from_slice(&bytes[..4]),
                2 => into[..2].copy_from_slice(&bytes[..2]),
                _ => into.copy_from_slice(bytes),
            }
        }
        u64::from_ne_bytes(raw) & self.bits
    }
}

/// Which bits of a field's value may differ between matches of one shape.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Free {
    /// None: others depend on the value, or not every value is right.
    Nothing,
    /// The VLAN's number, but not the bit that says that there is a tag.
    VlanNumber,
    /// All of them.
    Everything,
}

/// What is known of a code.
#[derive(Clone, Copy)]
struct Kind {
    /// Bytes of the value; 0: no field has the code, or what it means is not in the bytes alone.
    len: u8,
    free: Free,
}

const UNKNOWN: [Kind; 128] = [Kind {
    len: 0,
    free: Free::Nothing,
}; 128];

/// Which bits of a field may differ: those of which every value is right, and nobody's
/// prerequisite.
const fn free(field: Field) -> Free {
    let info = field.info();
    let slot = info.slot;
    let whole = slot.shift == 0
        && slot.bytes == info.wire_bytes
        && slot.bits as u32 == slot.bytes as u32 * 8;
    match field {
        Field::EthType | Field::IpProto | Field::IpTos | Field::VlanTci | Field::PacketType => {
            Free::Nothing
        }
        Field::VlanVid => Free::VlanNumber,
        _ if whole => Free::Everything,
        _ => Free::Nothing,
    }
}

/// Built from the declarations of the fields.
const fn kinds(class: u16) -> [Kind; 128] {
    let mut kinds = UNKNOWN;
    let mut at = 0;
    while at < Field::ALL.len() {
        let field = Field::ALL[at];
        let info = field.info();
        let kind = Kind {
            // Tunnel options mean what a map says.
            len: if field.is_variable() {
                0
            } else {
                info.wire_bytes
            },
            free: free(field),
        };
        if let Some((of, code)) = info.oxm
            && of == class
        {
            kinds[code as usize] = kind;
        }
        if let Some((of, code)) = info.nxm
            && of == class
        {
            kinds[code as usize] = kind;
        }
        at += 1;
    }
    kinds
}

#[inline]
fn kind_of(header: u32) -> Kind {
    static BASIC: [Kind; 128] = kinds(CLASS_BASIC);
    static REGISTERS: [Kind; 128] = kinds(CLASS_REGISTERS);
    static NXM_0: [Kind; 128] = kinds(CLASS_NXM_0);
    static NXM_1: [Kind; 128] = kinds(CLASS_NXM_1);
    let kinds = match (header >> 16) as u16 {
        CLASS_BASIC => &BASIC,
        CLASS_REGISTERS => &REGISTERS,
        CLASS_NXM_0 => &NXM_0,
        CLASS_NXM_1 => &NXM_1,
        // An experimenter's number would follow.
        _ => &UNKNOWN,
    };
    kinds[(header >> 9) as usize & 0x7f]
}

/// One field of a match.
struct Entry<'a> {
    header: u32,
    free: Free,
    /// Where its value begins.
    start: usize,
    value: &'a [u8],
    /// Empty without one.
    mask: &'a [u8],
}

/// Bytes of a match with its head, without its padding.
fn length(matching: &[u8]) -> usize {
    match matching {
        [_, _, high, low, ..] => u16::from_be_bytes([*high, *low]).into(),
        _ => 0,
    }
}

/// The field at a place; none where it is not well formed, or not one whose meaning the bytes
/// alone tell.
#[inline]
fn entry(matching: &[u8], at: usize, end: usize) -> Option<Entry<'_>> {
    let header = u32::from_be_bytes(*matching.get(at..end)?.first_chunk()?);
    let kind = kind_of(header);
    let masked = header >> 8 & 1 == 1;
    let len = (header & 0xff) as usize;
    let of_value = usize::from(kind.len);
    if of_value == 0 || len != of_value << u8::from(masked) {
        return None;
    }
    let start = at + 4;
    let payload = matching.get(start..end)?.get(..len)?;
    let (value, mask) = payload.split_at_checked(of_value)?;
    Some(Entry {
        header,
        free: kind.free,
        start,
        value,
        mask,
    })
}

impl Entry<'_> {
    /// Where the next one begins.
    fn end(&self) -> usize {
        self.start + self.value.len() + self.mask.len()
    }

    fn field(&self) -> Option<Field> {
        Field::from_code((self.header >> 16) as u16, (self.header >> 9) as u8 & 0x7f)
    }
}

/// The bytes of `ofp_match` with its padding, at the front of others.
pub(super) fn extent(bytes: &[u8]) -> Option<&[u8]> {
    let [k0, k1, l0, l1] = *bytes.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let is_it = u16::from_be_bytes([k0, k1]) == MATCH_OXM && length >= HEAD;
    bytes.get(..length.next_multiple_of(8)).filter(|_| is_it)
}

/// Equal for matches of one shape. None for those that have none.
#[inline]
pub(super) fn hash(version: Version, matching: &[u8]) -> Option<u64> {
    let mut hash = u64::from(version.to_wire());
    let (mut at, end) = (HEAD, length(matching));
    while at < end {
        let entry = entry(matching, at, end)?;
        hash = mix(hash, u64::from(entry.header));
        match (entry.free, entry.value) {
            (Free::Everything, _) => {}
            (Free::VlanNumber, [high, _]) if entry.mask.is_empty() => {
                hash = mix(hash, u64::from(high & 0xf0));
            }
            (_, [high, low]) => hash = mix(hash, u64::from(u16::from_be_bytes([*high, *low]))),
            _ => hash = hash_bytes(hash, entry.value),
        }
        if !entry.mask.is_empty() {
            hash = hash_bytes(hash, entry.mask);
        }
        at = entry.end();
    }
    Some(hash)
}

/// Hash of bytes. An enemy who makes collisions makes the reader slow, and nothing else.
#[inline]
pub(super) fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words
        .iter()
        .fold(seed, |hash, word| mix(hash, u64::from_ne_bytes(*word)));
    let last = rest.iter().fold(1, |sum, byte| sum << 8 | u64::from(*byte));
    mix(hash, last)
}

#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word ^ 0x243f_6a88_85a3_08d3) * 0x9e37_79b9_7f4a_7c15;
    (product as u64) ^ (product >> 64) as u64
}

impl Shape {
    /// The shape of a match that decodes without an error.
    pub(super) fn of(version: Version, matching: &[u8]) -> Option<Shape> {
        let mut free = vec![0u8; matching.len()];
        let mut pieces: Vec<Piece> = Vec::new();
        let (mut next, end) = (HEAD, length(matching));
        while next < end {
            let entry = entry(matching, next, end)?;
            next = entry.end();
            let slot = usize::from(entry.field()?.info().slot.offset);
            for at in 0..entry.value.len() {
                let mut bits = match (entry.free, at) {
                    (Free::Nothing, _) => 0,
                    (Free::VlanNumber, 0) => 0x0f,
                    _ => 0xff,
                };
                if !entry.mask.is_empty() {
                    // The tag's bits are matched as a whole, or are the same in every match.
                    bits &= match entry.free {
                        Free::VlanNumber => 0,
                        _ => *entry.mask.get(at)?,
                    };
                }
                *free.get_mut(entry.start + at)? = bits;
                if bits != 0 {
                    add_byte(&mut pieces, entry.start + at, slot + at, bits);
                }
            }
        }
        let word = |at: usize| {
            let (mut fixed, mut value) = ([0u8; 8], [0u8; 8]);
            for (n, at) in (at..at + 8).enumerate() {
                // Padding may be anything.
                fixed[n] = if at < end { !*free.get(at)? } else { 0 };
                value[n] = *matching.get(at)? & fixed[n];
            }
            Some(Word {
                fixed: u64::from_ne_bytes(fixed),
                value: u64::from_ne_bytes(value),
            })
        };
        let words: Option<Box<[Word]>> = (0..matching.len()).step_by(8).map(word).collect();
        Some(Shape {
            version,
            words: words?,
            pieces: pieces.into(),
        })
    }

    /// True where a match differs from the example only in free bits.
    #[inline]
    pub(super) fn fits(&self, version: Version, matching: &[u8]) -> bool {
        let (words, _) = matching.as_chunks::<8>();
        self.version == version
            && words.len() == self.words.len()
            && self
                .words
                .iter()
                .zip(words)
                .all(|(word, bytes)| (u64::from_ne_bytes(*bytes) ^ word.value) & word.fixed == 0)
    }

    /// Where the free bits go.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

/// Adds a byte at `from` in the match and `to` in the key to the last piece, or a new one.
fn add_byte(pieces: &mut Vec<Piece>, from: usize, to: usize, bits: u8) {
    const _: () = assert!(size_of::<FlowKey>() < u16::MAX as usize);
    let (word, at) = ((to / 8) as u16, to % 8);
    let mut raw = [0u8; 8];
    raw[at] = bits;
    let bits = u64::from_ne_bytes(raw);
    if let Some(last) = pieces.last_mut()
        && last.word == word
        && usize::from(last.from) + usize::from(last.len) == from
        && usize::from(last.at) + usize::from(last.len) == at
    {
        last.bits |= bits;
        last.len += 1;
        return;
    }
    pieces.push(Piece {
        word,
        bits,
        from: from as u16,
        at: at as u8,
        len: 1,
    });
}

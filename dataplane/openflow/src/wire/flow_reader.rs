//! Reading flow-mods by the hundred thousand.
//!
//! Controllers send long runs of flow-mods that differ only in the values they match. A
//! [`FlowModReader`] remembers the [`Shape`] of matches that were decoded before: which bytes were
//! the same, and where in the flow key the others go. A match of a known shape is not decoded
//! again, and instructions of known bytes are shared. Whatever is new, or wrong, is left to
//! [`super::decode`], whose answer the reader never differs from.

mod shape;

pub use shape::{Piece, Shape};

use std::sync::Arc;

use net::TableId;

use super::flow::read_head;
use super::instructions::read_instructions;
use super::reader::Reader;
use super::{HEADER_LEN, Header, kind};
use crate::error;
use crate::model::FlowHead;
use crate::{Instructions, Match, Version, check};

/// Pairs of shapes kept. A controller uses a few dozen shapes.
const SHAPES: usize = 256;
/// Pairs of instructions kept.
const INSTRUCTIONS: usize = 512;
/// Instructions that take more bytes are not kept.
const LONGEST: usize = 256;
/// Bytes before the match.
const FIXED: usize = HEADER_LEN + 40;

/// Reads flow-mods; keeps a `T` with each shape, of which its owner makes what it likes.
#[derive(Debug)]
pub struct FlowModReader<T> {
    shapes: Pairs<KnownShape<T>>,
    instructions: Pairs<KnownInstructions>,
    /// Shapes learnt so far.
    learnt: u64,
}

#[derive(Debug)]
struct KnownShape<T> {
    number: u64,
    shape: Shape,
    example: Match,
    plan: T,
}

#[derive(Debug)]
struct KnownInstructions {
    shape: u64,
    table: TableId,
    bytes: Box<[u8]>,
    instructions: Arc<Instructions>,
}

/// A flow-mod of a known shape.
#[derive(Debug)]
pub struct Read<'a, T> {
    /// All but match and instructions.
    pub head: FlowHead,
    /// The match as it came, for the shape's [`Piece`]s.
    pub matching: &'a [u8],
    /// What was made of the shape.
    pub plan: &'a T,
    /// What is to happen.
    pub instructions: Arc<Instructions>,
}

impl<T> Default for FlowModReader<T> {
    fn default() -> Self {
        FlowModReader {
            shapes: Pairs::new(SHAPES),
            instructions: Pairs::new(INSTRUCTIONS),
            learnt: 0,
        }
    }
}

impl<T> FlowModReader<T> {
    /// Reads a flow-mod, header included. None: it must be decoded in the ordinary way, and may be
    /// learnt then. `allowed` says whether new instructions may follow such a match; it must not
    /// look at the values that are matched.
    pub fn read<'a>(
        &'a mut self,
        version: Version,
        frame: &'a [u8],
        allowed: impl FnOnce(&Match, &Instructions) -> bool,
    ) -> Option<Read<'a, T>> {
        let header = Header::read(frame)?;
        let is_it = header.version == version.to_wire()
            && header.kind == kind::FLOW_MOD
            && usize::from(header.length) == frame.len();
        if !is_it {
            return None;
        }
        let mut r = Reader::new(version, frame, error::OFPBRC_BAD_LEN);
        r.skip(HEADER_LEN).ok()?;
        let head = read_head(&mut r).ok()?;
        let matching = shape::extent(frame.get(FIXED..)?)?;
        let hash = shape::hash(version, matching)?;
        let fits = |known: &KnownShape<T>| known.shape.fits(version, matching);
        let known = self.shapes.find(hash, fits)?;
        r.skip(matching.len()).ok()?;
        let bytes = r.rest();
        let hash = shape::hash_bytes(known.number << 8 | u64::from(head.table.0), bytes);
        let same = |i: &KnownInstructions| {
            i.shape == known.number && i.table == head.table && *i.bytes == *bytes
        };
        let instructions = match self.instructions.find(hash, same) {
            Some(found) => found.instructions.clone(),
            None => {
                let instructions = read_instructions(r).ok()?;
                check::flow(&known.example, &instructions, head.table).ok()?;
                if !allowed(&known.example, &instructions) {
                    return None;
                }
                let instructions = Arc::new(instructions);
                if bytes.len() <= LONGEST {
                    let known = KnownInstructions {
                        shape: known.number,
                        table: head.table,
                        bytes: bytes.into(),
                        instructions: instructions.clone(),
                    };
                    self.instructions.put(hash, known);
                }
                instructions
            }
        };
        Some(Read {
            head,
            matching,
            plan: &known.plan,
            instructions,
        })
    }

    /// Remembers the shape of a flow-mod that was decoded to this match, if it has one.
    pub fn learn(
        &mut self,
        version: Version,
        frame: &[u8],
        example: &Match,
        plan: impl FnOnce(&Match, &[Piece]) -> T,
    ) {
        let Some(matching) = frame.get(FIXED..).and_then(shape::extent) else {
            return;
        };
        let Some(hash) = shape::hash(version, matching) else {
            return;
        };
        let known = |known: &KnownShape<T>| known.shape.fits(version, matching);
        if self.shapes.find(hash, known).is_some() {
            return;
        }
        if let Some(shape) = Shape::of(version, matching) {
            self.learnt += 1;
            let known = KnownShape {
                number: self.learnt,
                plan: plan(example, shape.pieces()),
                shape,
                example: example.clone(),
            };
            self.shapes.put(hash, known);
        }
    }
}

/// A small cache: each hash has two places, the newer first.
#[derive(Debug)]
struct Pairs<T>(Box<[[Option<T>; 2]]>);

impl<T> Pairs<T> {
    /// `n` pairs, a power of two.
    fn new(n: usize) -> Self {
        Pairs((0..n).map(|_| [None, None]).collect())
    }

    fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        let pair = self.0.get(self.place(hash))?;
        pair.iter().flatten().find(|known| is_it(known))
    }

    fn put(&mut self, hash: u64, value: T) {
        let place = self.place(hash);
        if let Some(pair) = self.0.get_mut(place) {
            pair.swap(0, 1);
            pair[0] = Some(value);
        }
    }

    fn place(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.0.len() - 1)
    }
}

//! Changes after which a packet has other headers: the walk makes them to a copy of the packet's first
//! bytes and reads that anew, so that the tables behind see what a switch would see that received the
//! packet as it is by then.

use net::edit::ChecksumField;
use net::parse::{Layout, extract};

use super::headers::{self, Headers};
use super::{Frame, Walk};
use crate::DropReason;
use crate::program::{Op, Reshape};
use crate::rewrite::{self, Copy};

/// So often can one packet be changed in this way.
const MAX_SHAPES: usize = 64;

/// What a packet has been made into, as far as steps after it go.
pub(super) struct Shape {
    copy: Copy,
    layout: Layout,
    headers: Headers,
}

impl Walk<'_> {
    /// The packet as it was when its headers were last read.
    pub(super) fn frame(&self) -> Frame<'_> {
        match self.shape() {
            Some(shape) => Frame {
                head: &shape.copy.head,
                layout: &shape.layout,
                len: shape.copy.len,
                wire_len: (self.arrived.wire_len + shape.copy.len).saturating_sub(self.arrived.len),
            },
            None => self.arrived,
        }
    }

    /// Makes a change and reads the headers anew.
    pub(super) fn reshape(&mut self, change: Reshape) {
        if self.shapes.len() >= MAX_SHAPES {
            return self.give_up();
        }
        self.commit();
        let (mut copy, mut layout) = self.frame_as_sent();
        let checksum = ChecksumField::Full;
        if !rewrite::apply(change, &mut copy, &mut layout, checksum) {
            return self.fail(DropReason::Unsupported);
        }
        let mut key = self.now.key;
        let Ok(layout) = extract(&copy.head, copy.len, &mut key) else {
            return self.fail(DropReason::Malformed);
        };
        self.cacheable &= !change.uncovers();
        self.ops.push(Op::Reshape(change));
        let mut headers = Headers::of(&key);
        headers.inner = net::icmp::embedded(&copy.head, &layout);
        headers.shape = self.shapes.len() as u16 + 1;
        self.shapes.push(Shape {
            copy,
            layout,
            headers: headers.clone(),
        });
        self.sent = headers.clone();
        self.now = headers;
    }

    /// Length of the frame with all steps so far, in bytes.
    pub(super) fn len_as_sent(&self) -> usize {
        self.frame_as_sent().0.len
    }

    /// The frame with all steps so far.
    fn frame_as_sent(&self) -> (Copy, Layout) {
        let base = self.frame();
        let (mut copy, mut layout) = (
            Copy {
                head: base.head.to_vec(),
                len: base.len,
            },
            *base.layout,
        );
        let mut headers = match self.shape() {
            Some(shape) => shape.headers.clone(),
            None => Headers::of(self.arrived_key),
        };
        let mut steps = Vec::new();
        headers::commit(&mut headers, &self.now, &mut steps);
        for step in &steps {
            match step {
                Op::PushVlan { tpid, tci } => {
                    rewrite::push_vlan(&mut copy, *tpid, *tci, &mut layout);
                }
                Op::PopVlan => rewrite::pop_vlan(&mut copy, &mut layout),
                other => rewrite::field(other, &mut copy.head, &layout, ChecksumField::Full),
            }
        }
        (copy, layout)
    }

    fn shape(&self) -> Option<&Shape> {
        let at = usize::from(self.now.shape).checked_sub(1)?;
        self.shapes.get(at)
    }
}

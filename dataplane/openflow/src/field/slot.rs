//! The place of a field in the flow key.

// A slot is a range inside FlowKey by construction; a test goes through all of them. The walk reads
// them for every packet, so no check.
#![allow(clippy::indexing_slicing)]

use net::FlowKey;

/// Where a field lives in the [`FlowKey`]: `bits` bits from bit `shift` (from the least
/// significant) of the big-endian integer in bytes `offset .. offset + bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// First byte in the key.
    pub offset: u16,
    /// Bytes that hold the integer.
    pub bytes: u8,
    /// Lowest bit of the field in that integer.
    pub shift: u8,
    /// Width in bits.
    pub bits: u8,
}

impl Slot {
    /// Ones for every bit of the field.
    pub const fn ones(self) -> u128 {
        if self.bits == 128 {
            u128::MAX
        } else {
            (1 << self.bits) - 1
        }
    }

    /// The field's value in a key.
    pub fn get(self, key: &FlowKey) -> u128 {
        (self.integer(key) >> self.shift) & self.ones()
    }

    /// Replaces the bits of `mask` in the field by those of `value`.
    pub fn set(self, key: &mut FlowKey, value: u128, mask: u128) {
        let mask = (mask & self.ones()) << self.shift;
        let integer = (self.integer(key) & !mask) | ((value << self.shift) & mask);
        let raw = integer.to_be_bytes();
        let (start, bytes) = (usize::from(self.offset), usize::from(self.bytes));
        zerocopy_bytes_mut(key)[start..start + bytes].copy_from_slice(&raw[16 - bytes..]);
    }

    fn integer(self, key: &FlowKey) -> u128 {
        let (start, bytes) = (usize::from(self.offset), usize::from(self.bytes));
        let mut raw = [0u8; 16];
        raw[16 - bytes..].copy_from_slice(&zerocopy_bytes(key)[start..start + bytes]);
        u128::from_be_bytes(raw)
    }
}

fn zerocopy_bytes(key: &FlowKey) -> &[u8] {
    zerocopy::IntoBytes::as_bytes(key)
}

fn zerocopy_bytes_mut(key: &mut FlowKey) -> &mut [u8] {
    zerocopy::IntoBytes::as_mut_bytes(key)
}

//! A range of a field's bits.

use net::FlowKey;

use super::Field;

/// A range of a field's bits, as in `NXM_NX_REG0[4..7]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubField {
    /// The field.
    pub field: Field,
    /// Lowest bit of the range.
    pub shift: u8,
    /// Bits in the range.
    pub bits: u8,
}

impl SubField {
    /// All of a field.
    pub const fn whole(field: Field) -> Self {
        SubField {
            field,
            shift: 0,
            bits: field.range_bits(),
        }
    }

    /// `field[low..=high]`.
    pub const fn range(field: Field, low: u8, high: u8) -> Self {
        SubField {
            field,
            shift: low,
            bits: high - low + 1,
        }
    }

    /// Ones for the range, at the field's bit 0.
    pub const fn ones(self) -> u128 {
        if self.bits == 128 {
            u128::MAX
        } else {
            (1 << self.bits) - 1
        }
    }

    /// The range's value in a key.
    pub fn get(self, key: &FlowKey) -> u128 {
        (self.field.info().slot.get(key) >> self.shift) & self.ones()
    }

    /// Writes the range in a key; excess bits of `value` are ignored.
    pub fn set(self, key: &mut FlowKey, value: u128) {
        self.field
            .info()
            .slot
            .set(key, value << self.shift, self.ones() << self.shift);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_alias_as_open_vswitch_says() {
        let mut key = FlowKey::default();
        SubField::whole(Field::Reg0).set(&mut key, 0x1111_1111);
        SubField::whole(Field::Reg1).set(&mut key, 0x2222_2222);
        assert_eq!(
            SubField::whole(Field::Xreg0).get(&key),
            0x1111_1111_2222_2222
        );
        SubField::range(Field::Xxreg0, 0, 31).set(&mut key, 5);
        assert_eq!(SubField::whole(Field::Reg3).get(&key), 5);
    }
}

//! A match: fields with values and masks, in canonical order.

use net::FlowKey;

use crate::Field;

/// One field of a match. Bits of `value` outside `mask` are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatchField {
    /// The field.
    pub field: Field,
    /// The value, at the field's bit 0.
    pub value: u128,
    /// Ones where the packet must agree.
    pub mask: u128,
}

/// A conjunction of fields; empty matches everything.
///
/// Each field stands at most once and fields are in the order of [`Field::ALL`], so two matches
/// are equal exactly when they are written alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Match {
    fields: Vec<MatchField>,
}

impl Match {
    /// Matches every packet.
    pub const fn any() -> Self {
        Match { fields: Vec::new() }
    }

    /// Adds a field with all its bits.
    pub fn with(self, field: Field, value: impl Into<u128>) -> Self {
        self.with_masked(field, value, field.info().slot.ones())
    }

    /// Adds a field with a mask; a mask of zero adds nothing. Replaces the field if it is there.
    pub fn with_masked(
        mut self,
        field: Field,
        value: impl Into<u128>,
        mask: impl Into<u128>,
    ) -> Self {
        self.set(field, value.into(), mask.into());
        self
    }

    /// Adds or replaces a field in place; a mask of zero removes it.
    pub fn set(&mut self, field: Field, value: u128, mask: u128) {
        let mask = mask & field.info().slot.ones();
        let entry = MatchField {
            field,
            value: value & mask,
            mask,
        };
        match (self.fields.binary_search_by_key(&field, |f| f.field), mask) {
            (Ok(at), 0) => drop(self.fields.remove(at)),
            (Ok(at), _) => {
                if let Some(place) = self.fields.get_mut(at) {
                    *place = entry;
                }
            }
            (Err(_), 0) => {}
            (Err(at), _) => self.fields.insert(at, entry),
        }
    }

    /// The entry of a field.
    pub fn get(&self, field: Field) -> Option<MatchField> {
        let at = self.fields.binary_search_by_key(&field, |f| f.field).ok()?;
        self.fields.get(at).copied()
    }

    /// The fields, in canonical order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = MatchField> + '_ {
        self.fields.iter().copied()
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// True for a match of everything.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The match as (value, mask) keys: a packet's key `k` matches when `k & mask == value`.
    pub fn to_keys(&self) -> (FlowKey, FlowKey) {
        let (mut value, mut mask) = (FlowKey::default(), FlowKey::default());
        for f in &self.fields {
            let slot = f.field.info().slot;
            slot.set(&mut value, f.value, f.mask);
            slot.set(&mut mask, f.mask, f.mask);
        }
        (value, mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_writing_does_not_matter() {
        let a = Match::any()
            .with(Field::EthType, 0x800u16)
            .with(Field::InPort, 3u32);
        let b = Match::any()
            .with(Field::InPort, 3u32)
            .with(Field::EthType, 0x800u16);
        assert_eq!(a, b);
        assert_eq!(a.with_masked(Field::InPort, 0u32, 0u32).len(), 1);
    }
}

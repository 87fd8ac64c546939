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
/// Each field stands at most once, fields are in the order of [`Field::ALL`], and a field that is
/// another name for bits of others is kept as those: the xregs and xxregs as registers, `vlan_tci`
/// as `vlan_vid` and `vlan_pcp`, `nw_tos` as `ip_dscp`. So no bit is matched twice, and matches
/// that are written differently but mean the same bits are equal.
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
        for part in parts(field, value & mask, mask) {
            self.set_part(part);
        }
        // Without a tag its priority is zero; saying so adds nothing.
        let untagged = self
            .get(Field::VlanVid)
            .is_some_and(|vid| vid.mask & TAGGED != 0 && vid.value & TAGGED == 0);
        if untagged && self.get(Field::VlanPcp).is_some_and(|pcp| pcp.value == 0) {
            self.fields.retain(|f| f.field != Field::VlanPcp);
        }
    }

    /// Matches some more bits, of a field that may be matched in other bits already.
    pub fn add_bits(&mut self, field: Field, value: u128, mask: u128) {
        let mask = mask & field.info().slot.ones();
        for part in parts(field, value & mask, mask).filter(|part| part.mask != 0) {
            let old = self.get(part.field);
            let (value, mask) = old.map_or((0, 0), |old| (old.value, old.mask));
            self.set_part(MatchField {
                field: part.field,
                value: (value & !part.mask) | part.value,
                mask: mask | part.mask,
            });
        }
    }

    /// True if some bit of the field is matched already, under whatever name.
    pub fn overlaps(&self, field: Field) -> bool {
        let ones = field.info().slot.ones();
        parts(field, 0, ones).any(|part| self.get(part.field).is_some())
    }

    fn set_part(&mut self, entry: MatchField) {
        let found = self.fields.binary_search_by_key(&entry.field, |f| f.field);
        match (found, entry.mask) {
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
            // A tunnel option is matched only where it is there.
            if let Some(bit) = f.field.presence() {
                value.tun_present |= bit;
                mask.tun_present |= bit;
            }
        }
        (value, mask)
    }
}

/// Bit of `vlan_vid` that says that there is a tag (OFPVID_PRESENT).
const TAGGED: u128 = 0x1000;

/// The fields that a field is kept as: mostly itself.
fn parts(field: Field, value: u128, mask: u128) -> impl Iterator<Item = MatchField> {
    let offset = |base: Field| usize::from(field as u8 - base as u8);
    // Each part with its lowest bit in the whole; the first register holds the highest bits.
    let register = |n: usize, low: u8| Field::reg(n).map(|reg| (reg, low));
    let split = match field {
        Field::VlanTci => [
            Some((Field::VlanVid, 0)),
            Some((Field::VlanPcp, 13)),
            None,
            None,
        ],
        Field::IpTos => [Some((Field::IpDscp, 2)), None, None, None],
        Field::InPortNxm => [Some((Field::InPort, 0)), None, None, None],
        f if (Field::Xreg0..=Field::Xreg7).contains(&f) => {
            let n = 2 * offset(Field::Xreg0);
            [register(n, 32), register(n + 1, 0), None, None]
        }
        f if (Field::Xxreg0..=Field::Xxreg3).contains(&f) => {
            let n = 4 * offset(Field::Xxreg0);
            [
                register(n, 96),
                register(n + 1, 64),
                register(n + 2, 32),
                register(n + 3, 0),
            ]
        }
        _ => [Some((field, 0)), None, None, None],
    };
    let (value, mask) = match field {
        Field::InPortNxm if mask == 0 => (0, 0),
        // 16-bit reserved ports are the low halves of the 32-bit ones.
        Field::InPortNxm if value >= 0xff00 => (value | 0xffff_0000, 0xffff_ffff),
        Field::InPortNxm => (value, 0xffff_ffff),
        _ => (value, mask),
    };
    split.into_iter().flatten().map(move |(field, low)| {
        let ones = field.info().slot.ones();
        MatchField {
            field,
            value: (value >> low) & ones,
            mask: (mask >> low) & ones,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_for_the_same_bits_make_equal_matches() {
        let tci = Match::any().with(Field::VlanTci, 0x7064u16);
        let vid = Match::any()
            .with(Field::VlanVid, 0x1064u16)
            .with(Field::VlanPcp, 3u8);
        assert_eq!(tci, vid);
        let untagged = Match::any().with(Field::VlanTci, 0u16);
        assert_eq!(untagged, Match::any().with(Field::VlanVid, 0u16));
        let wide = Match::any().with(Field::Xxreg1, 0x1_0000_0002_0000_0003_0000_0004u128);
        let narrow = Match::any()
            .with(Field::Reg7, 4u8)
            .with(Field::Reg6, 3u8)
            .with(Field::Reg5, 2u8)
            .with(Field::Reg4, 1u8);
        assert_eq!(wide, narrow);
        assert!(wide.overlaps(Field::Xreg2) && !wide.overlaps(Field::Xreg1));
        let local = Match::any().with(Field::InPortNxm, 0xfffeu16);
        assert_eq!(local, Match::any().with(Field::InPort, 0xffff_fffeu32));
        let tos = Match::any().with(Field::IpTos, 0xb8u8);
        assert_eq!(tos, Match::any().with(Field::IpDscp, 46u8));
    }

    #[test]
    fn bits_of_one_field_add_up() {
        let mut matching = Match::any().with(Field::VlanPcp, 3u8);
        matching.add_bits(Field::VlanTci, 0x0005, 0x00ff);
        matching.add_bits(Field::VlanTci, 0x0100, 0x0f00);
        matching.add_bits(Field::Xreg0, 7, 0xff);
        let expected = Match::any()
            .with_masked(Field::VlanVid, 0x105u16, 0xfffu16)
            .with(Field::VlanPcp, 3u8)
            .with_masked(Field::Reg1, 7u32, 0xffu32);
        assert_eq!(matching, expected);
    }

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

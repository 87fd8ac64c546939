//! Properties that are carried as they are.

/// A property that the model has no words for, as it is on the wire: optical settings, what an
/// experimenter defines, what a later revision adds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawProperty {
    /// Its type; 0xffff for an experimenter's.
    pub kind: u16,
    /// What stands behind type and length; an experimenter's begins with two numbers of 32 bits:
    /// who, and which of theirs.
    pub data: Vec<u8>,
}

impl RawProperty {
    /// OFP*PT_EXPERIMENTER.
    pub const EXPERIMENTER: u16 = 0xffff;
    /// OFPTFPT_EXPERIMENTER and OFPACPT_EXPERIMENTER_SLAVE, where experimenters have two.
    pub const EXPERIMENTER_SECOND: u16 = 0xfffe;

    /// Who defines it and which of theirs it is, for an experimenter's.
    pub fn experimenter(&self) -> Option<(u32, u32)> {
        if self.kind < Self::EXPERIMENTER_SECOND {
            return None;
        }
        let [a, b, c, d, e, f, g, h] = *self.data.first_chunk::<8>()?;
        Some((
            u32::from_be_bytes([a, b, c, d]),
            u32::from_be_bytes([e, f, g, h]),
        ))
    }
}

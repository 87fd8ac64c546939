//! Fields by their code on the wire and by name.

// Tables indexed by a field's place in its declaration, which is below their size.
#![allow(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Field;

/// Which field each code of a class is; 0xff: none. Built from the declarations.
const fn codes_of(class: u16) -> [u8; 128] {
    let mut table = [0xff; 128];
    let mut at = 0;
    while at < Field::ALL.len() {
        let info = Field::ALL[at].info();
        if let Some((c, code)) = info.oxm
            && c == class
        {
            table[code as usize] = at as u8;
        }
        if let Some((c, code)) = info.nxm
            && c == class
        {
            table[code as usize] = at as u8;
        }
        at += 1;
    }
    table
}

/// OFPXMC_OPENFLOW_BASIC.
pub const CLASS_BASIC: u16 = 0x8000;
/// OFPXMC_PACKET_REGS.
pub const CLASS_REGISTERS: u16 = 0x8001;
/// Class of the fields that came with NXM and became OXM.
pub const CLASS_NXM_0: u16 = 0x0000;
/// Class of Nicira's own fields.
pub const CLASS_NXM_1: u16 = 0x0001;
/// OFPXMC_EXPERIMENTER.
pub const CLASS_EXPERIMENTER: u16 = 0xffff;

impl Field {
    /// The field of a class and code.
    pub fn from_code(class: u16, code: u8) -> Option<Field> {
        static BASIC: [u8; 128] = codes_of(CLASS_BASIC);
        static REGISTERS: [u8; 128] = codes_of(CLASS_REGISTERS);
        static NXM_0: [u8; 128] = codes_of(CLASS_NXM_0);
        static NXM_1: [u8; 128] = codes_of(CLASS_NXM_1);
        let table = match class {
            CLASS_BASIC => &BASIC,
            CLASS_REGISTERS => &REGISTERS,
            CLASS_NXM_0 => &NXM_0,
            CLASS_NXM_1 => &NXM_1,
            _ => return None,
        };
        let at = usize::from(*table.get(usize::from(code))?);
        Field::ALL.get(at).copied()
    }

    /// The field of a name as `ovs-ofctl` and the specification spell it, or of its header
    /// (`NXM_OF_ETH_SRC`, `OXM_OF_ETH_SRC`).
    pub fn from_name(name: &str) -> Option<Field> {
        static NAMES: LazyLock<HashMap<String, Field>> = LazyLock::new(|| {
            let mut all = HashMap::new();
            for field in Field::ALL {
                let info = field.info();
                for name in info.aliases.iter().chain([&info.name]) {
                    all.insert((*name).to_owned(), *field);
                    if info.oxm.is_some() && *field != Field::InPortNxm {
                        all.insert(format!("OXM_OF_{}", name.to_ascii_uppercase()), *field);
                    }
                }
            }
            // A header's own name wins over one made from an alias.
            let headers = Field::ALL.iter();
            all.extend(headers.map(|field| (field.info().header.to_owned(), *field)));
            all
        });
        NAMES.get(name).copied()
    }

    /// Width that ranges of the field have in text and on the wire, bits. It differs from the
    /// slot's where a bit of the field is not part of its value (the tag's presence), or the key
    /// holds less than the wire (ARP operations above 255 are not told apart, nor are there more
    /// than eight connection states).
    pub const fn range_bits(self) -> u8 {
        match self {
            Field::VlanVid => 12,
            Field::ArpOp => 16,
            Field::CtState => 32,
            _ => self.info().slot.bits,
        }
    }

    /// Register `n`, 0..=15.
    pub fn reg(n: usize) -> Option<Field> {
        let at = Field::Reg0 as usize + n;
        (n < 16).then(|| Field::ALL[at])
    }

    /// True for tunnel options, whose length on the wire is what their value needs.
    pub const fn is_variable(self) -> bool {
        self.info().wire_bytes as usize > size_of::<u128>()
    }

    /// The bit of `tun_present` that says that a tunnel option is there; none for other fields.
    pub const fn presence(self) -> Option<u8> {
        match self.is_variable() {
            true => Some(1 << (self as u8 - Field::TunMetadata0 as u8)),
            false => None,
        }
    }

    /// True for the fields that a packet-out may give, none of which is in the packet's bytes
    /// (pipeline fields; OpenFlow 1.5.1, 7.2.3.9; the same as in Open vSwitch).
    pub fn is_pipeline(self) -> bool {
        let from_to = |first: Field, last: Field| (first..=last).contains(&self);
        from_to(Field::InPort, Field::TunGbpFlags) && self != Field::ActsetOutput
            || from_to(Field::Reg0, Field::Xxreg3)
            || self.is_variable()
    }

    /// True for the fields of a connection's original direction, which mean something only for
    /// packets that belong to one (ovs-fields(7), prerequisite CT).
    pub fn is_original_tuple(self) -> bool {
        (Field::CtNwProto..=Field::CtTpDst).contains(&self)
    }

    /// True for the connection fields that only the `exec` of a `ct` action may write.
    pub const fn is_written_by_ct(self) -> bool {
        matches!(self, Field::CtMark | Field::CtLabel)
    }
}

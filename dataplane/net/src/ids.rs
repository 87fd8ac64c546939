//! Identifiers with a meaning, each with the range its specification gives.

use core::fmt;
use core::num::NonZeroU16;
use core::str::FromStr;

/// A number outside the range its type allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdError {
    /// What was being made, in the operator's words.
    pub what: &'static str,
    /// The value that was refused.
    pub value: u64,
    /// Lowest allowed value.
    pub min: u64,
    /// Highest allowed value.
    pub max: u64,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} is outside {}..={}",
            self.what, self.value, self.min, self.max
        )
    }
}

impl core::error::Error for IdError {}

/// A VLAN identifier, 1..=4094 (IEEE 802.1Q-2018, 9.6: 0 is priority-tagged, 4095 is reserved).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(NonZeroU16);

impl VlanId {
    /// Lowest identifier.
    pub const MIN: u16 = 1;
    /// Highest identifier.
    pub const MAX: u16 = 4094;

    /// Checks the range.
    pub const fn new(value: u16) -> Result<Self, IdError> {
        match NonZeroU16::new(value) {
            Some(id) if value <= Self::MAX => Ok(VlanId(id)),
            _ => Err(IdError {
                what: "VLAN",
                value: value as u64,
                min: 1,
                max: 4094,
            }),
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

/// A Geneve or VXLAN virtual network identifier, 24 bits (RFC 8926 3.4, RFC 7348 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Vni(u32);

impl Vni {
    /// Highest identifier.
    pub const MAX: u32 = 0x00ff_ffff;

    /// Checks the range.
    pub const fn new(value: u32) -> Result<Self, IdError> {
        if value <= Self::MAX {
            Ok(Vni(value))
        } else {
            Err(IdError {
                what: "VNI",
                value: value as u64,
                min: 0,
                max: Self::MAX as u64,
            })
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

macro_rules! plain_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

macro_rules! show_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.get(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.get())
            }
        }
    )*};
}
show_number!(VlanId, Vni);

plain_id! {
    /// An OpenFlow table number, 0..=254; 255 is OFPTT_ALL (OpenFlow 1.3.5, A.3.4.1).
    TableId(u8)
}
plain_id! {
    /// An OpenFlow group number; above [`GroupId::MAX`] the numbers are reserved (OpenFlow 1.3.5, 7.3.4.2).
    GroupId(u32)
}
plain_id! {
    /// An OpenFlow meter number, from 1 (OpenFlow 1.3.5, 7.3.4.4).
    MeterId(u32)
}

impl TableId {
    /// OFPTT_ALL: every table, in deletions and requests.
    pub const ALL: TableId = TableId(0xff);
}

impl GroupId {
    /// OFPG_MAX, the last number a group may have.
    pub const MAX: GroupId = GroupId(0xffff_ff00);
    /// OFPG_ALL: every group, in deletions.
    pub const ALL: GroupId = GroupId(0xffff_fffc);
    /// OFPG_ANY: no group named, in filters.
    pub const ANY: GroupId = GroupId(0xffff_ffff);
}

impl MeterId {
    /// OFPM_MAX, the last number a meter may have.
    pub const MAX: MeterId = MeterId(0xffff_0000);
    /// OFPM_ALL: every meter, in deletions and requests.
    pub const ALL: MeterId = MeterId(0xffff_ffff);
    /// Packets to controllers (OFPM_CONTROLLER).
    pub const CONTROLLER: MeterId = MeterId(0xffff_fffe);
}

/// An OpenFlow port number, 32 bits, reserved ones included (OpenFlow 1.3.5, A.2.1 `ofp_port_no`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PortNo(pub u32);

impl PortNo {
    /// OFPP_MAX: numbers from here on are reserved.
    pub const MAX: PortNo = PortNo(0xffff_ff00);
    /// OFPP_IN_PORT: back where it came from.
    pub const IN_PORT: PortNo = PortNo(0xffff_fff8);
    /// What `actset_output` is without an output in the action set (OFPP_UNSET, OpenFlow 1.5.1).
    pub const UNSET: PortNo = PortNo(0xffff_fff7);
    /// OFPP_TABLE: run a packet-out through the tables.
    pub const TABLE: PortNo = PortNo(0xffff_fff9);
    /// OFPP_NORMAL: L2 learning.
    pub const NORMAL: PortNo = PortNo(0xffff_fffa);
    /// OFPP_FLOOD.
    pub const FLOOD: PortNo = PortNo(0xffff_fffb);
    /// OFPP_ALL: every port but the one it came from.
    pub const ALL: PortNo = PortNo(0xffff_fffc);
    /// OFPP_CONTROLLER.
    pub const CONTROLLER: PortNo = PortNo(0xffff_fffd);
    /// OFPP_LOCAL: the node itself.
    pub const LOCAL: PortNo = PortNo(0xffff_fffe);
    /// OFPP_ANY: no port named, in filters.
    pub const ANY: PortNo = PortNo(0xffff_ffff);

    /// A number a physical or logical port may have: 1..OFPP_MAX.
    pub const fn is_ordinary(self) -> bool {
        self.0 != 0 && self.0 < Self::MAX.0
    }

    const RESERVED: [(PortNo, &'static str); 8] = [
        (Self::IN_PORT, "IN_PORT"),
        (Self::TABLE, "TABLE"),
        (Self::NORMAL, "NORMAL"),
        (Self::FLOOD, "FLOOD"),
        (Self::ALL, "ALL"),
        (Self::CONTROLLER, "CONTROLLER"),
        (Self::LOCAL, "LOCAL"),
        (Self::ANY, "ANY"),
    ];
}

impl fmt::Display for PortNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::RESERVED.iter().find(|(port, _)| port == self) {
            Some((_, name)) => f.write_str(name),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl fmt::Debug for PortNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortNo({self})")
    }
}

/// The text is neither a port number nor a reserved port's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsePortError;

impl fmt::Display for ParsePortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a port number nor a reserved port (IN_PORT, NORMAL, CONTROLLER, LOCAL, ...)",
        )
    }
}

impl core::error::Error for ParsePortError {}

impl FromStr for PortNo {
    type Err = ParsePortError;

    fn from_str(text: &str) -> Result<Self, ParsePortError> {
        if let Some((port, _)) = Self::RESERVED
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
        {
            return Ok(*port);
        }
        text.parse().map(PortNo).map_err(|_| ParsePortError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_specifications() {
        assert!(VlanId::new(0).is_err() && VlanId::new(4095).is_err());
        assert_eq!(VlanId::new(4094).unwrap().get(), 4094);
        assert_eq!(
            VlanId::new(5000).unwrap_err().to_string(),
            "VLAN 5000 is outside 1..=4094"
        );
        assert!(Vni::new(1 << 24).is_err());
        assert_eq!("local".parse(), Ok(PortNo::LOCAL));
        assert_eq!(PortNo(7).to_string(), "7");
        assert!(!PortNo::MAX.is_ordinary() && PortNo(1).is_ordinary());
    }
}

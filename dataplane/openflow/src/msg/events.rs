//! What a switch tells controllers of each other: roles, forwarded requests, connections
//! (OpenFlow 1.5.1, 7.4.5 to 7.4.7), and to whom it tells what (7.3.10).

use super::{Message, RawProperty, Role};
use crate::Version;

/// Why a role status is sent (OFPCRR_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RoleReason {
    /// Another controller asked to be master.
    MasterRequest = 0,
    /// The switch's configuration changed.
    Config = 1,
    /// An experimenter's data changed.
    Experimenter = 2,
}

/// OFPT_ROLE_STATUS (1.4; ONF 1911 on 1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleStatus {
    /// The role that the controller has now.
    pub role: Role,
    /// Why.
    pub reason: RoleReason,
    /// Number of the master's election; all ones: there was none.
    pub generation_id: u64,
    /// An experimenter's properties.
    pub properties: Vec<RawProperty>,
}

/// OFPT_REQUESTFORWARD (1.4; ONF 2350 on 1.3): a request of another controller that was carried
/// out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestForward {
    /// Its transaction number.
    pub xid: u32,
    /// A modification of groups or meters.
    pub request: Box<Message>,
}

/// Why a controller status is sent (OFPCSR_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ControllerReason {
    /// It was asked for.
    Request = 0,
    /// The channel went up or down.
    ChannelStatus = 1,
    /// The role changed.
    Role = 2,
    /// A new controller.
    Added = 3,
    /// It was removed from the configuration.
    Removed = 4,
    /// Its short identifier changed.
    ShortId = 5,
    /// An experimenter's data changed.
    Experimenter = 6,
}

/// A controller as the switch sees it: OFPT_CONTROLLER_STATUS and OFPMP_CONTROLLER_STATUS (1.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerStatus {
    /// Its short identifier; 0: none was asked for.
    pub short_id: u16,
    /// Its role.
    pub role: Role,
    /// Why this is sent.
    pub reason: ControllerReason,
    /// The channel is up.
    pub up: bool,
    /// Where it is, such as `tcp:192.0.2.1:6653`.
    pub uri: Option<String>,
    /// An experimenter's properties.
    pub properties: Vec<RawProperty>,
}

/// Bits by reason, for one kind of asynchronous message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AsyncMasks {
    /// While equal or master.
    pub master: u32,
    /// While slave.
    pub slave: u32,
}

/// Which asynchronous messages a controller gets: bit `n` of a mask lets reason `n` through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncConfig {
    /// OFPR_*.
    pub packet_in: AsyncMasks,
    /// OFPPR_*.
    pub port_status: AsyncMasks,
    /// OFPRR_*.
    pub flow_removed: AsyncMasks,
    /// OFPCRR_*.
    pub role_status: AsyncMasks,
    /// OFPTR_*.
    pub table_status: AsyncMasks,
    /// OFPRFR_*: 0 group modifications, 1 meter modifications.
    pub request_forward: AsyncMasks,
    /// OFPFSR_* (1.5).
    pub flow_stats: AsyncMasks,
    /// OFPCSR_* (1.5).
    pub controller_status: AsyncMasks,
}

impl Default for AsyncConfig {
    /// As a connection of 1.3 begins.
    fn default() -> Self {
        AsyncConfig::initial(Version::V1_3)
    }
}

impl AsyncConfig {
    /// As a connection begins (OpenFlow 1.3.5, 6.3.5; as Open vSwitch has it for what 1.4 and 1.5
    /// add): everything but invalid TTL for equal and master, port status only for slave.
    pub const fn initial(version: Version) -> Self {
        const OFF: AsyncMasks = AsyncMasks {
            master: 0,
            slave: 0,
        };
        const ROLES: AsyncMasks = AsyncMasks {
            master: 0b111,
            slave: 0b111,
        };
        let later = version as u8 >= Version::V1_4 as u8;
        AsyncConfig {
            packet_in: AsyncMasks {
                master: if later { 0b11_1011 } else { 0b011 },
                slave: 0,
            },
            port_status: AsyncMasks {
                master: 0b111,
                slave: 0b111,
            },
            flow_removed: AsyncMasks {
                master: if later { 0b11_1111 } else { 0b1111 },
                slave: 0,
            },
            // Whoever loses a role must be informed (1.4.1, 7.4.4).
            role_status: if later { ROLES } else { OFF },
            table_status: OFF,
            request_forward: OFF,
            flow_stats: OFF,
            controller_status: OFF,
        }
    }

    /// Takes over what a message sets; what it does not name stays.
    pub fn apply(&mut self, settings: &AsyncSettings) {
        for entry in &settings.entries {
            let masks = self.masks_mut(entry.kind);
            let mask = match entry.slave {
                true => &mut masks.slave,
                false => &mut masks.master,
            };
            *mask = entry.mask;
        }
    }

    /// The masks of one kind of message.
    pub const fn masks(&self, kind: AsyncKind) -> AsyncMasks {
        match kind {
            AsyncKind::PacketIn => self.packet_in,
            AsyncKind::PortStatus => self.port_status,
            AsyncKind::FlowRemoved => self.flow_removed,
            AsyncKind::RoleStatus => self.role_status,
            AsyncKind::TableStatus => self.table_status,
            AsyncKind::RequestForward => self.request_forward,
            AsyncKind::FlowStats => self.flow_stats,
            AsyncKind::ControllerStatus => self.controller_status,
        }
    }

    const fn masks_mut(&mut self, kind: AsyncKind) -> &mut AsyncMasks {
        match kind {
            AsyncKind::PacketIn => &mut self.packet_in,
            AsyncKind::PortStatus => &mut self.port_status,
            AsyncKind::FlowRemoved => &mut self.flow_removed,
            AsyncKind::RoleStatus => &mut self.role_status,
            AsyncKind::TableStatus => &mut self.table_status,
            AsyncKind::RequestForward => &mut self.request_forward,
            AsyncKind::FlowStats => &mut self.flow_stats,
            AsyncKind::ControllerStatus => &mut self.controller_status,
        }
    }
}

/// A kind of asynchronous message, in the order of OFPACPT_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the messages' names
pub enum AsyncKind {
    PacketIn,
    PortStatus,
    FlowRemoved,
    RoleStatus,
    TableStatus,
    RequestForward,
    FlowStats,
    ControllerStatus,
}

impl AsyncKind {
    /// Every kind.
    pub const ALL: [AsyncKind; 8] = [
        AsyncKind::PacketIn,
        AsyncKind::PortStatus,
        AsyncKind::FlowRemoved,
        AsyncKind::RoleStatus,
        AsyncKind::TableStatus,
        AsyncKind::RequestForward,
        AsyncKind::FlowStats,
        AsyncKind::ControllerStatus,
    ];

    /// The first version whose configuration has it.
    pub const fn since(self) -> Version {
        match self {
            Self::PacketIn | Self::PortStatus | Self::FlowRemoved => Version::V1_3,
            Self::RoleStatus | Self::TableStatus | Self::RequestForward => Version::V1_4,
            Self::FlowStats | Self::ControllerStatus => Version::V1_5,
        }
    }
}

/// One mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AsyncEntry {
    /// Of which messages.
    pub kind: AsyncKind,
    /// While slave; otherwise while equal or master.
    pub slave: bool,
    /// Bit by reason.
    pub mask: u32,
}

/// OFPT_SET_ASYNC and OFPT_GET_ASYNC_REPLY. On 1.3 all six masks are set at once; from 1.4 on a
/// message may leave some out, and those stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AsyncSettings {
    /// Masks, as they come from the wire in the order of their kinds, that of slaves first.
    pub entries: Vec<AsyncEntry>,
    /// An experimenter's properties.
    pub properties: Vec<RawProperty>,
}

impl From<AsyncConfig> for AsyncSettings {
    /// Every mask. Those that a version does not know are left out when it is encoded.
    fn from(config: AsyncConfig) -> Self {
        let both = |kind: AsyncKind| {
            let masks = config.masks(kind);
            [(true, masks.slave), (false, masks.master)].map(|(slave, mask)| AsyncEntry {
                kind,
                slave,
                mask,
            })
        };
        AsyncSettings {
            entries: AsyncKind::ALL.into_iter().flat_map(both).collect(),
            properties: Vec::new(),
        }
    }
}

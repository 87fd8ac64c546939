//! The flows: numbered, so that the same number gives the same flow in every run.

use clap::ValueEnum;
use net::{PortNo, TableId};
use openflow::model::{FlowCommand, FlowMod};
use openflow::{Action, Field, Instructions, Match};

/// What the flows match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Port and IPv4 destination.
    Simple,
    /// Both IPv4 addresses, protocol and both ports.
    Tuple,
    /// IPv4 source, and destination under one of 32 prefix lengths.
    Masks,
    /// As simple, and every flow with an action list of its own.
    Rewrite,
}

const PRIORITY: u16 = 10;
/// Ports that are sent to.
const OUTPUTS: u32 = 48;
const UDP: u8 = 17;

/// Makes flow-mods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flows {
    pub(crate) kind: Kind,
    pub(crate) table: u8,
}

impl Flows {
    /// Adds flow `n`.
    pub(crate) fn add(&self, n: u32) -> FlowMod {
        FlowMod {
            cookie: 0x5300_0000_0000_0000 | u64::from(n),
            ..FlowMod::add(self.table(), PRIORITY, self.matching(n), self.actions(n))
        }
    }

    /// Gives flow `n` other actions.
    pub(crate) fn modify(&self, n: u32) -> FlowMod {
        FlowMod {
            command: FlowCommand::ModifyStrict,
            ..FlowMod::add(
                self.table(),
                PRIORITY,
                self.matching(n),
                self.actions(n + 1),
            )
        }
    }

    /// Deletes flow `n`.
    pub(crate) fn delete(&self, n: u32) -> FlowMod {
        FlowMod::delete_strict(self.table(), PRIORITY, self.matching(n))
    }

    fn table(&self) -> TableId {
        TableId(self.table)
    }

    fn matching(&self, n: u32) -> Match {
        let address = 0x0a00_0000 + n;
        let ip = Match::any().with(Field::EthType, 0x0800u16);
        match self.kind {
            Kind::Simple | Kind::Rewrite => ip
                .with(Field::InPort, 1 + n % 4)
                .with(Field::Ipv4Dst, address),
            Kind::Tuple => ip
                .with(Field::IpProto, UDP)
                .with(Field::Ipv4Src, 0xc0a8_0000 + n % 5000)
                .with(Field::Ipv4Dst, address)
                .with(Field::UdpSrc, n % 60_000)
                .with(Field::UdpDst, 1 + n % 1024),
            Kind::Masks => ip.with(Field::Ipv4Src, address).with_masked(
                Field::Ipv4Dst,
                u32::MAX << (n % 32),
                u32::MAX << (n % 32),
            ),
        }
    }

    fn actions(&self, n: u32) -> Instructions {
        let output = Action::Output {
            port: PortNo(1 + n % OUTPUTS),
            max_len: 0,
        };
        let address = Action::SetField {
            field: Field::EthDst,
            value: 0x0200_0000_0000 | u128::from(n),
            mask: 0xffff_ffff_ffff,
        };
        Instructions::apply(match self.kind {
            Kind::Rewrite => vec![address, output],
            _ => vec![output],
        })
    }
}

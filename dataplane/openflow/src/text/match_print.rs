//! Printing of matches, field by field in Open vSwitch's order.

use std::fmt;

use super::value::{self, Hex};
use super::{Names, match_parse::SHORTHANDS};
use crate::field::Format;
use crate::flow_match::MatchField;
use crate::{Field, Match};

/// The order; fields that stand here are printed by [`one`] under the name beside them. What the
/// shorthand (`tcp`, `arp`, ...) says is left out.
const BEFORE_PROTOCOL: &[Field] = &[
    Field::PktMark,
    Field::DpHash,
    Field::ConjId,
    Field::ActsetOutput,
    Field::CtState,
    Field::CtZone,
    Field::CtMark,
    Field::CtLabel,
    Field::CtNwSrc,
    Field::CtIpv6Src,
    Field::CtNwDst,
    Field::CtIpv6Dst,
    Field::CtNwProto,
    Field::CtTpSrc,
    Field::CtTpDst,
];

const AFTER_PROTOCOL: &[Field] = &[
    Field::Reg0,
    Field::Reg1,
    Field::Reg2,
    Field::Reg3,
    Field::Reg4,
    Field::Reg5,
    Field::Reg6,
    Field::Reg7,
    Field::Reg8,
    Field::Reg9,
    Field::Reg10,
    Field::Reg11,
    Field::Reg12,
    Field::Reg13,
    Field::Reg14,
    Field::Reg15,
    Field::TunId,
    Field::TunSrc,
    Field::TunDst,
    Field::TunIpv6Src,
    Field::TunIpv6Dst,
    Field::TunGbpId,
    Field::TunGbpFlags,
    Field::TunFlags,
    Field::TunMetadata0,
    Field::TunMetadata1,
    Field::TunMetadata2,
    Field::TunMetadata3,
    Field::TunMetadata4,
    Field::TunMetadata5,
    Field::TunMetadata6,
    Field::TunMetadata7,
    Field::Metadata,
    Field::InPort,
    Field::InPhyPort,
    Field::PacketType,
    // The tag, by itself; see `write_vlan`.
    Field::VlanVid,
    Field::EthSrc,
    Field::EthDst,
    Field::EthType,
    Field::PbbIsid,
    Field::PbbUca,
    Field::Ipv6Src,
    Field::Ipv6Dst,
    Field::Ipv6Label,
    Field::Ipv6Exthdr,
    Field::Ipv4Src,
    Field::Ipv4Dst,
    Field::ArpSpa,
    Field::ArpTpa,
    Field::IpProto,
    Field::ArpOp,
    Field::ArpSha,
    Field::ArpTha,
    Field::IpDscp,
    Field::IpEcn,
    Field::IpTtl,
    Field::MplsLabel,
    Field::MplsTc,
    Field::MplsTtl,
    Field::MplsBos,
    Field::IpFrag,
    Field::IcmpType,
    Field::IcmpCode,
    Field::Icmpv6Type,
    Field::Icmpv6Code,
    Field::NdTarget,
    Field::NdSll,
    Field::NdTll,
    Field::TcpSrc,
    Field::TcpDst,
    Field::UdpSrc,
    Field::UdpDst,
    Field::SctpSrc,
    Field::SctpDst,
    Field::TcpFlags,
];

/// Writes a match; nothing for a match of everything.
pub(super) fn write(f: &mut dyn fmt::Write, matching: &Match, names: &Names) -> fmt::Result {
    let mut first = true;
    let mut comma = |f: &mut dyn fmt::Write| match std::mem::take(&mut first) {
        true => Ok(()),
        false => f.write_char(','),
    };
    for field in BEFORE_PROTOCOL {
        if let Some(entry) = matching.get(*field) {
            comma(f)?;
            one(f, entry, names)?;
        }
    }
    let shorthand = shorthand(matching);
    if let Some((name, _, _)) = shorthand {
        comma(f)?;
        f.write_str(name)?;
    }
    let said = |field: Field| match shorthand {
        Some((_, _, proto)) => {
            field == Field::EthType || (field == Field::IpProto && proto.is_some())
        }
        None => false,
    };
    for field in AFTER_PROTOCOL {
        if *field == Field::VlanVid {
            if matching.get(Field::VlanVid).is_some() || matching.get(Field::VlanPcp).is_some() {
                comma(f)?;
                write_vlan(f, matching)?;
            }
        } else if let Some(entry) = matching.get(*field)
            && !said(*field)
        {
            comma(f)?;
            one(f, entry, names)?;
        }
    }
    Ok(())
}

/// The word that says ethertype and protocol.
fn shorthand(matching: &Match) -> Option<(&'static str, u16, Option<u8>)> {
    let eth_type = matching.get(Field::EthType)?;
    let proto = matching.get(Field::IpProto);
    let fits = |(_, t, p): &&(&str, u16, Option<u8>)| {
        u128::from(*t) == eth_type.value
            && match p {
                Some(p) => proto.is_some_and(|proto| proto.value == u128::from(*p)),
                None => true,
            }
    };
    // Those with a protocol come first in the list.
    SHORTHANDS.iter().find(fits).copied()
}

fn one(f: &mut dyn fmt::Write, entry: MatchField, names: &Names) -> fmt::Result {
    let MatchField { field, value, mask } = entry;
    let exact = mask == field.info().slot.ones();
    let name = match field {
        Field::EthSrc => "dl_src",
        Field::EthDst => "dl_dst",
        Field::Ipv4Src => "nw_src",
        Field::Ipv4Dst => "nw_dst",
        Field::IpFrag => "nw_frag",
        Field::Icmpv6Type => "icmp_type",
        Field::Icmpv6Code => "icmp_code",
        Field::TcpSrc | Field::UdpSrc | Field::SctpSrc => "tp_src",
        Field::TcpDst | Field::UdpDst | Field::SctpDst => "tp_dst",
        Field::IpDscp if exact => return write!(f, "nw_tos={}", value << 2),
        Field::EthType => return write!(f, "dl_type={value:#06x}"),
        Field::Ipv6Label if exact => return write!(f, "ipv6_label={value:#07x}"),
        Field::Ipv6Label => return write!(f, "ipv6_label={value:#07x}/{mask:#07x}"),
        Field::TunFlags => {
            return f.write_str(if value == 0 {
                "tun_flags=-oam"
            } else {
                "tun_flags=+oam"
            });
        }
        Field::TunGbpFlags if exact => return write!(f, "tun_gbp_flags={}", Hex(value)),
        _ => field.info().name,
    };
    if field.info().format == Format::Decimal && !exact {
        return write!(f, "{name}={value:#x}/{mask:#x}");
    }
    write!(f, "{name}=")?;
    value::write(f, field, value, mask, names)
}

/// The tag: identifier and priority where each is matched whole or not at all, and the tag's
/// presence with them; its 16 bits otherwise.
fn write_vlan(f: &mut dyn fmt::Write, matching: &Match) -> fmt::Result {
    let part = |field: Field| {
        let entry = matching.get(field);
        entry.map_or((0, 0), |entry| (entry.value, entry.mask))
    };
    let ((vid, vid_mask), (pcp, pcp_mask)) = (part(Field::VlanVid), part(Field::VlanPcp));
    let tagged = vid & vid_mask & 0x1000 != 0;
    let vid_whole = vid_mask & 0xfff == 0xfff;
    let plain = (vid_whole || vid_mask & 0xfff == 0) && matches!(pcp_mask, 0 | 7);
    if tagged && plain && (vid_whole || pcp_mask == 7) {
        if vid_whole {
            write!(f, "dl_vlan={}", vid & 0xfff)?;
        }
        if pcp_mask == 7 {
            let comma = if vid_whole { "," } else { "" };
            write!(f, "{comma}dl_vlan_pcp={pcp}")?;
        }
        return Ok(());
    }
    let (tci, mask) = (vid | pcp << 13, vid_mask | pcp_mask << 13);
    match mask {
        0xffff => write!(f, "vlan_tci={tci:#06x}"),
        _ => write!(f, "vlan_tci={tci:#06x}/{mask:#06x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_its_place() {
        for field in Field::ALL {
            let alone = Match::any().with_masked(*field, u128::MAX, u128::MAX);
            let mut text = String::new();
            write(&mut text, &alone, Names::NONE).unwrap();
            assert!(!text.is_empty(), "{field:?} is not printed");
        }
    }
}

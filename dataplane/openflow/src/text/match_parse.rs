//! Parsing of matches.

use super::{Names, TextError, scan, value};
use crate::{Field, Match};

/// Words for an ethertype and a protocol, those with a protocol first.
pub(super) const SHORTHANDS: &[(&str, u16, Option<u8>)] = &[
    ("icmp", 0x0800, Some(1)),
    ("tcp", 0x0800, Some(6)),
    ("udp", 0x0800, Some(17)),
    ("sctp", 0x0800, Some(132)),
    ("icmp6", 0x86dd, Some(58)),
    ("tcp6", 0x86dd, Some(6)),
    ("udp6", 0x86dd, Some(17)),
    ("sctp6", 0x86dd, Some(132)),
    ("ip", 0x0800, None),
    ("ipv6", 0x86dd, None),
    ("arp", 0x0806, None),
    ("rarp", 0x8035, None),
    ("mpls", 0x8847, None),
    ("mplsm", 0x8848, None),
];

/// Other words that `ovs-ofctl` takes.
const OTHER_SHORTHANDS: &[(&str, u16, Option<u8>)] = &[
    ("ipv4", 0x0800, None),
    ("igmp", 0x0800, Some(2)),
    ("icmpv6", 0x86dd, Some(58)),
    ("eth", 0, None),
];

/// Parses a match as `ovs-ofctl` does: fields and shorthands between commas or spaces.
pub fn parse_match(text: &str, names: &Names) -> Result<Match, TextError> {
    let mut builder = Builder::default();
    for item in scan::items(text) {
        let (key, argument) = scan::key_argument(item)?;
        if !builder.take(key, argument, names)? {
            return Err(TextError::new(format!("{key}: unknown field")));
        }
    }
    builder.finish(names)
}

/// A match under construction: what depends on the protocol waits until all is read.
#[derive(Debug, Default)]
pub(super) struct Builder {
    matching: Match,
    /// Names whose field depends on ethertype or protocol, with their values.
    waiting: Vec<(String, String)>,
}

impl Builder {
    /// Takes one item; false if it is not one of a match.
    pub(super) fn take(
        &mut self,
        key: &str,
        argument: Option<&str>,
        names: &Names,
    ) -> Result<bool, TextError> {
        let Some(argument) = argument else {
            let mut words = SHORTHANDS.iter().chain(OTHER_SHORTHANDS);
            let Some((_, eth_type, proto)) = words.find(|(word, _, _)| *word == key) else {
                return Ok(false);
            };
            if *eth_type != 0 {
                self.put(Field::EthType, u128::from(*eth_type), 0xffff)?;
            }
            if let Some(proto) = proto {
                self.put(Field::IpProto, u128::from(*proto), 0xff)?;
            }
            return Ok(true);
        };
        match key {
            "dl_vlan" => self.take_vlan(argument)?,
            "dl_vlan_pcp" => {
                let pcp: u8 = scan::number("dl_vlan_pcp", argument)?;
                if pcp > 7 {
                    return Err(TextError::new(format!("dl_vlan_pcp={pcp}: 0 to 7")));
                }
                self.matching_vlan_present();
                self.put(Field::VlanPcp, u128::from(pcp), 7)?;
            }
            "vlan_pcp" => {
                let (value, mask) = value::parse(Field::VlanPcp, argument, names)?;
                self.matching_vlan_present();
                self.put(Field::VlanPcp, value, mask)?;
            }
            "nw_tos" => {
                let tos: u8 = scan::number("nw_tos", argument)?;
                if tos & 3 != 0 {
                    return Err(TextError::new(format!(
                        "nw_tos={tos}: the low two bits are the ECN's, set nw_ecn"
                    )));
                }
                self.put(Field::IpDscp, u128::from(tos >> 2), 0x3f)?;
            }
            // Which field it is depends on the protocol.
            "tp_src" | "tp_dst" | "nw_src" | "nw_dst" | "nw_proto" | "icmp_type" | "icmp_code"
            | "arp_op" | "ip_proto" => {
                self.waiting.push((key.to_owned(), argument.to_owned()));
            }
            _ => {
                let Some(field) = Field::from_name(key) else {
                    return Ok(false);
                };
                let (value, mask) = value::parse(field, argument, names)?;
                self.put(field, value, mask)?;
            }
        }
        Ok(true)
    }

    /// 0xffff: no tag.
    fn take_vlan(&mut self, argument: &str) -> Result<(), TextError> {
        let number: u16 = scan::number("dl_vlan", argument)?;
        match number {
            0xffff => self.put(Field::VlanVid, 0, 0x1fff),
            0..=0xfff => self.put(Field::VlanVid, u128::from(number) | 0x1000, 0x1fff),
            _ => Err(TextError::new(format!(
                "dl_vlan={number}: 0 to 4095, or 0xffff for no tag"
            ))),
        }
    }

    /// A priority says that there is a tag.
    fn matching_vlan_present(&mut self) {
        if !self.matching.overlaps(Field::VlanVid) {
            self.matching.set(Field::VlanVid, 0x1000, 0x1000);
        }
    }

    fn put(&mut self, field: Field, value: u128, mask: u128) -> Result<(), TextError> {
        // A tag's presence, said by its priority, may be said again by its identifier.
        let restated = field == Field::VlanVid
            && self
                .matching
                .get(field)
                .is_some_and(|vid| (vid.value, vid.mask) == (0x1000, 0x1000));
        if self.matching.overlaps(field) && !restated {
            let same = self
                .matching
                .get(field)
                .is_some_and(|entry| (entry.value, entry.mask) == (value & mask, mask));
            if !same {
                let name = field.info().name;
                return Err(TextError::new(format!(
                    "{name} is given twice, differently"
                )));
            }
        }
        self.matching.set(field, value, mask);
        Ok(())
    }

    pub(super) fn finish(mut self, names: &Names) -> Result<Match, TextError> {
        // The protocol first: ports depend on it.
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by_key(|(key, _)| !matches!(key.as_str(), "nw_proto" | "ip_proto"));
        for (key, argument) in waiting {
            let field = self.resolve(&key)?;
            let (value, mask) = value::parse(field, &argument, names)?;
            self.put(field, value, mask)?;
        }
        self.check()?;
        Ok(self.matching)
    }

    /// The field behind a name that depends on the protocol.
    fn resolve(&self, key: &str) -> Result<Field, TextError> {
        let exact = |field: Field| self.matching.get(field).map(|entry| entry.value);
        let eth_type = exact(Field::EthType);
        let proto = exact(Field::IpProto);
        let arp = matches!(eth_type, Some(0x0806 | 0x8035));
        let field = match (key, eth_type, proto) {
            ("nw_src", _, _) if arp => Field::ArpSpa,
            ("nw_dst", _, _) if arp => Field::ArpTpa,
            ("nw_proto" | "ip_proto", _, _) if arp => Field::ArpOp,
            ("nw_src", _, _) => Field::Ipv4Src,
            ("nw_dst", _, _) => Field::Ipv4Dst,
            ("nw_proto" | "ip_proto", _, _) => Field::IpProto,
            ("arp_op", _, _) => Field::ArpOp,
            ("icmp_type", Some(0x86dd), _) => Field::Icmpv6Type,
            ("icmp_code", Some(0x86dd), _) => Field::Icmpv6Code,
            ("icmp_type", _, _) => Field::IcmpType,
            ("icmp_code", _, _) => Field::IcmpCode,
            ("tp_src", _, Some(6)) => Field::TcpSrc,
            ("tp_dst", _, Some(6)) => Field::TcpDst,
            ("tp_src", _, Some(17)) => Field::UdpSrc,
            ("tp_dst", _, Some(17)) => Field::UdpDst,
            ("tp_src", _, Some(132)) => Field::SctpSrc,
            ("tp_dst", _, Some(132)) => Field::SctpDst,
            ("tp_src", Some(0x0800), Some(1)) => Field::IcmpType,
            ("tp_dst", Some(0x0800), Some(1)) => Field::IcmpCode,
            ("tp_src", Some(0x86dd), Some(58)) => Field::Icmpv6Type,
            ("tp_dst", Some(0x86dd), Some(58)) => Field::Icmpv6Code,
            _ => {
                return Err(TextError::new(format!(
                    "{key}: needs a protocol with ports, such as tcp or udp"
                )));
            }
        };
        Ok(field)
    }

    /// Every field's prerequisite is there, by name.
    fn check(&self) -> Result<(), TextError> {
        let headers = crate::check::Headers::of(&self.matching);
        for entry in self.matching.iter() {
            let info = entry.field.info();
            // A priority without a tag matched is written as the tag's 16 bits.
            if entry.field != Field::VlanPcp && !headers.has(info.prereq) {
                return Err(TextError::new(format!(
                    "{}: its prerequisite is missing ({})",
                    info.name,
                    info.prereq.in_words()
                )));
            }
            if entry.field.is_original_tuple() && !crate::check::has_connection(&self.matching) {
                return Err(TextError::new(format!(
                    "{}: its prerequisite is missing (ct_state with a connection, such as +trk+est)",
                    info.name
                )));
            }
        }
        Ok(())
    }
}

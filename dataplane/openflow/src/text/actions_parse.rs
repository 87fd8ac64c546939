//! Parsing of actions and instructions.

use net::{GroupId, MeterId, PortNo, TableId};

use super::actions_print::ALGORITHMS;
use super::arguments::{
    arrow, field_in_action, mpls, parse_check_pkt_larger, parse_conjunction, parse_controller,
    parse_fin_timeout, parse_nat, parse_note, parse_range, parse_zone, plain_controller, writable,
};
use super::{Names, TextError, encap, learn, links, sample, scan, value};
use crate::action::{Ct, REJECT_NOTE};
use crate::check::Headers;
use crate::field::Prereq;
use crate::{Action, Field, Instructions, Match, SubField};

/// Parses what stands behind `actions=`. The match decides what `mod_tp_dst` and the like mean.
pub fn parse_instructions(
    text: &str,
    matching: &Match,
    names: &Names,
) -> Result<Instructions, TextError> {
    let mut found = Instructions::default();
    let mut parser = Parser::new(matching, names);
    let again = |what: &str| TextError::new(format!("{what} is given twice"));
    for item in scan::items(text) {
        let (key, argument) = scan::key_argument(item)?;
        let argument_text = argument.unwrap_or_default();
        let repeated = match key {
            "goto_table" => {
                let table = names.parse_table(argument_text)?;
                found.goto_table.replace(table).is_some()
            }
            "meter" => {
                let meter = MeterId(scan::number("meter", argument_text)?);
                found.meter.replace(meter).is_some()
            }
            "clear_actions" => std::mem::replace(&mut found.clear, true),
            "write_actions" => {
                let mut inner = Parser::new(matching, names);
                inner.list(argument_text)?;
                found.write.replace(inner.actions).is_some()
            }
            "write_metadata" => {
                let (value, mask) = value::parse(Field::Metadata, argument_text, names)?;
                let pair = (value as u64, mask as u64);
                found.metadata.replace(pair).is_some()
            }
            "apply_actions" => {
                return Err(TextError::new(
                    "apply_actions is what a plain list of actions means; leave it out",
                ));
            }
            _ => {
                parser.one(item, key, argument)?;
                false
            }
        };
        if repeated {
            return Err(again(key));
        }
    }
    found.apply = parser.finish()?;
    found.has_apply = !found.apply.is_empty();
    Ok(found)
}

/// Parses a list of actions, as in a bucket or a packet-out.
pub fn parse_actions(
    text: &str,
    matching: &Match,
    names: &Names,
) -> Result<Vec<Action>, TextError> {
    let mut parser = Parser::new(matching, names);
    parser.list(text)?;
    parser.finish()
}

struct Parser<'a> {
    names: &'a Names,
    matching: &'a Match,
    headers: Headers,
    /// A tag is there, matched or pushed.
    tagged: bool,
    dropped: bool,
    actions: Vec<Action>,
}

impl<'a> Parser<'a> {
    fn new(matching: &'a Match, names: &'a Names) -> Self {
        let headers = Headers::of(matching);
        Parser {
            names,
            matching,
            headers,
            tagged: headers.has(Prereq::Vlan),
            dropped: false,
            actions: Vec::new(),
        }
    }

    fn list(&mut self, text: &str) -> Result<(), TextError> {
        for item in scan::items(text) {
            let (key, argument) = scan::key_argument(item)?;
            self.one(item, key, argument)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<Action>, TextError> {
        if self.dropped && !self.actions.is_empty() {
            return Err(TextError::new("drop must stand alone"));
        }
        Ok(self.actions)
    }

    /// Parses one action and appends what it means.
    fn one(&mut self, item: &str, key: &str, argument: Option<&str>) -> Result<(), TextError> {
        let lower = key.to_ascii_lowercase();
        let text = argument.unwrap_or_default();
        if self.old_names(&lower, text)? {
            return Ok(());
        }
        let action = match lower.as_str() {
            "drop" => {
                self.dropped = true;
                return Ok(());
            }
            "output" if item.contains('(') => links::parse_output_trunc(text, self.names)?,
            "output" => self.output(text)?,
            "multipath" => links::parse_multipath(text)?,
            "bundle" => links::parse_bundle(text, false, self.names)?,
            "bundle_load" => links::parse_bundle(text, true, self.names)?,
            "enqueue" => {
                self.actions.extend(links::parse_enqueue(text, self.names)?);
                return Ok(());
            }
            "pop_queue" => Action::PopQueue,
            "controller" => Action::Controller(parse_controller(text)?),
            "group" => Action::Group(GroupId(scan::number("group", text)?)),
            "set_queue" => Action::SetQueue(scan::number("set_queue", text)?),
            "push_vlan" => {
                self.tagged = true;
                let tpid = scan::number("push_vlan", text)?;
                if !matches!(tpid, 0x8100 | 0x88a8) {
                    return Err(TextError::new(format!(
                        "push_vlan:{text}: 0x8100 or 0x88a8"
                    )));
                }
                Action::PushVlan { tpid }
            }
            "pop_vlan" | "strip_vlan" => {
                self.tagged = false;
                Action::PopVlan
            }
            "push_mpls" => Action::PushMpls {
                ethertype: mpls(text)?,
            },
            "pop_mpls" => Action::PopMpls {
                ethertype: scan::number("pop_mpls", text)?,
            },
            "push_pbb" => Action::PushPbb {
                ethertype: scan::number("push_pbb", text)?,
            },
            "pop_pbb" => Action::PopPbb,
            "set_field" => self.set_field(text)?,
            "load" | "reg_load" => return self.load(text),
            "move" => {
                let (src, dst) = arrow(text)?;
                let (src, dst) = (parse_range(src)?, writable(parse_range(dst)?)?);
                if src.bits != dst.bits {
                    return Err(TextError::new(format!(
                        "move:{text}: {} bits to {} bits",
                        src.bits, dst.bits
                    )));
                }
                Action::Move { src, dst }
            }
            "push" => Action::StackPush(parse_range(text)?),
            "pop" => Action::StackPop(writable(parse_range(text)?)?),
            "dec_ttl" | "dec_nw_ttl" => match scan::items(text) {
                ids if ids.is_empty() => Action::DecNwTtl,
                ids => Action::DecNwTtlIds(
                    ids.iter()
                        .map(|id| scan::number("dec_ttl", id))
                        .collect::<Result<_, _>>()?,
                ),
            },
            "mod_nw_ttl" | "set_nw_ttl" => Action::SetNwTtl(scan::number("mod_nw_ttl", text)?),
            "dec_mpls_ttl" => Action::DecMplsTtl,
            "set_mpls_ttl" => Action::SetMplsTtl(scan::number("set_mpls_ttl", text)?),
            "copy_ttl_out" => Action::CopyTtlOut,
            "copy_ttl_in" => Action::CopyTtlIn,
            "resubmit" => self.resubmit(item, text)?,
            "ct" => Action::Ct(self.ct(text)?),
            "nat" => Action::Nat(parse_nat(text)?),
            "ct_clear" => Action::CtClear,
            "clone" => {
                let mut inner = Parser::new(self.matching, self.names);
                inner.tagged = self.tagged;
                inner.list(text)?;
                Action::Clone(inner.finish()?)
            }
            "note" => match parse_note(text)? {
                note if note == REJECT_NOTE => Action::Reject,
                note => Action::Note(note),
            },
            "conjunction" => Action::Conjunction(parse_conjunction(text)?),
            "learn" => Action::Learn(Box::new(learn::parse(text, self.names)?)),
            "fin_timeout" => parse_fin_timeout(text)?,
            "check_pkt_larger" => parse_check_pkt_larger(text)?,
            "sample" => Action::Sample(sample::parse(text, self.names)?),
            "delete_field" => Action::DeleteField(
                field_in_action(text)
                    .ok_or_else(|| TextError::new(format!("{text}: unknown field")))?,
            ),
            "encap" => encap::parse_encap(text)?,
            "decap" => encap::parse_decap(text)?,
            "dec_nsh_ttl" => Action::DecNshTtl,
            "reject" => Action::Reject,
            "exit" => Action::Exit,
            "goto_table" | "meter" | "clear_actions" | "write_actions" | "write_metadata" => {
                return Err(TextError::new(format!(
                    "{key} is an instruction, and stands only in a flow's own actions"
                )));
            }
            // A bare port.
            _ if argument.is_none() => match self.names.parse_port(key) {
                Ok(port) => Action::Output {
                    port,
                    max_len: if port == PortNo::CONTROLLER {
                        0xffff
                    } else {
                        0
                    },
                },
                Err(_) => return Err(TextError::new(format!("{key}: unknown action"))),
            },
            _ => return Err(TextError::new(format!("{key}: unknown action"))),
        };
        self.actions.push(match action {
            Action::Controller(c) => plain_controller(c),
            other => other,
        });
        Ok(())
    }

    /// The actions of OpenFlow 1.0, said today as set_field.
    fn old_names(&mut self, key: &str, text: &str) -> Result<bool, TextError> {
        let by_protocol = |tcp: Field, udp: Field, sctp: Field| {
            if self.headers.has(Prereq::Tcp) {
                Ok(tcp)
            } else if self.headers.has(Prereq::Udp) {
                Ok(udp)
            } else if self.headers.has(Prereq::Sctp) {
                Ok(sctp)
            } else {
                Err(TextError::new(format!(
                    "{key}: the match must say tcp, udp or sctp"
                )))
            }
        };
        let field = match key {
            "mod_dl_src" | "set_dl_src" => Field::EthSrc,
            "mod_dl_dst" | "set_dl_dst" => Field::EthDst,
            "mod_nw_src" => Field::Ipv4Src,
            "mod_nw_dst" => Field::Ipv4Dst,
            "mod_nw_tos" => Field::IpTos,
            "mod_nw_ecn" => Field::IpEcn,
            "mod_tp_src" => by_protocol(Field::TcpSrc, Field::UdpSrc, Field::SctpSrc)?,
            "mod_tp_dst" => by_protocol(Field::TcpDst, Field::UdpDst, Field::SctpDst)?,
            "set_tunnel" | "set_tunnel64" => Field::TunId,
            "set_mpls_label" => Field::MplsLabel,
            "set_mpls_tc" => Field::MplsTc,
            "mod_vlan_vid" | "set_vlan_vid" => Field::VlanVid,
            "mod_vlan_pcp" | "set_vlan_pcp" => Field::VlanPcp,
            _ => return Ok(false),
        };
        let text = text.trim_matches(['(', ')']);
        let (value, _) = value::parse(field, text, self.names)?;
        let value = match field {
            Field::VlanVid if value > 0xfff => {
                return Err(TextError::new(format!("{key}:{text}: 0 to 4095")));
            }
            Field::VlanVid => value | 0x1000,
            _ => value,
        };
        // They push a tag where there is none (as Open vSwitch does it).
        if matches!(field, Field::VlanVid | Field::VlanPcp) && !self.tagged {
            self.tagged = true;
            self.actions.push(Action::PushVlan { tpid: 0x8100 });
        }
        self.actions.push(written(field, value, u128::MAX));
        Ok(true)
    }

    fn output(&self, text: &str) -> Result<Action, TextError> {
        if let Ok(port) = self.names.parse_port(text) {
            let max_len = if port == PortNo::CONTROLLER {
                0xffff
            } else {
                0
            };
            return Ok(Action::Output { port, max_len });
        }
        match parse_range(text) {
            Ok(src) => Ok(Action::OutputReg {
                src,
                max_len: 0xffff,
            }),
            Err(_) => Err(TextError::new(format!("output:{text}: unknown port"))),
        }
    }

    fn set_field(&self, text: &str) -> Result<Action, TextError> {
        let (value_text, name) = arrow(text)?;
        let field = field_in_action(name)
            .ok_or_else(|| TextError::new(format!("{name}: unknown field")))?;
        if !field.info().writable {
            return Err(TextError::new(format!("{name} cannot be written")));
        }
        let (mut value, mask) = value::parse(field, value_text, self.names)?;
        if mask == 0 {
            return Err(TextError::new(format!("set_field:{text}: writes no bit")));
        }
        if field == Field::VlanVid && mask == field.info().slot.ones() {
            value |= 0x1000;
        }
        Ok(written(field, value, mask))
    }

    /// `load:VALUE->RANGE`; more than 64 bits are loaded in pieces, lowest first.
    fn load(&mut self, text: &str) -> Result<(), TextError> {
        let (value_text, dst) = arrow(text)?;
        let dst = writable(parse_range(dst)?)?;
        let value = scan::integer(value_text)?;
        if value > dst.ones() {
            return Err(TextError::new(format!(
                "load:{text}: the value does not fit into {} bits",
                dst.bits
            )));
        }
        let mut done = 0;
        while done < dst.bits {
            let bits = (dst.bits - done).min(64);
            let piece = SubField {
                field: dst.field,
                shift: dst.shift + done,
                bits,
            };
            let value = (value >> done) & piece.ones();
            self.actions.push(Action::Load {
                dst: piece,
                value: value as u64,
            });
            done += bits;
        }
        Ok(())
    }

    fn resubmit(&self, item: &str, text: &str) -> Result<Action, TextError> {
        let port = |text: &str| match text {
            "" => Ok(None),
            _ => self
                .names
                .parse_port(text)
                .map(|port| (port != PortNo::IN_PORT).then_some(port)),
        };
        let parts = if item.contains('(') {
            scan::arguments(text)
        } else {
            vec![text]
        };
        let part = |n: usize| parts.get(n).copied().unwrap_or_default();
        let table = match part(1) {
            "" => None,
            name => Some(self.names.parse_table(name)?).filter(|table| *table != TableId::ALL),
        };
        let ct = match part(2) {
            "" => false,
            "ct" => true,
            other => return Err(TextError::new(format!("resubmit: {other} is unknown"))),
        };
        if parts.len() > 3 {
            return Err(TextError::new(format!("{item}: too many arguments")));
        }
        let port = port(part(0))?;
        if port.is_none() && table.is_none() {
            return Err(TextError::new(format!(
                "{item}: needs a port or a table, or it would never end"
            )));
        }
        Ok(Action::Resubmit { port, table, ct })
    }

    fn ct(&self, text: &str) -> Result<Ct, TextError> {
        let mut ct = Ct::default();
        for item in scan::items(text) {
            let (key, argument) = scan::key_argument(item)?;
            let text = argument.unwrap_or_default();
            match key {
                "commit" => ct.commit = true,
                "force" => ct.force = true,
                "table" => {
                    let table = self.names.parse_table(text)?;
                    if table == TableId::ALL {
                        return Err(TextError::new("ct: table 255 is not a table"));
                    }
                    ct.table = Some(table);
                }
                "zone" => ct.zone = parse_zone(text)?,
                "alg" => {
                    let known = ALGORITHMS.iter().find(|(_, name)| *name == text);
                    ct.alg = match known {
                        Some((port, _)) => *port,
                        None => scan::number("alg", text)?,
                    };
                }
                "nat" => ct.actions.insert(0, Action::Nat(parse_nat(text)?)),
                "exec" => {
                    let mut inner = Parser::new(self.matching, self.names);
                    inner.list(text)?;
                    ct.actions.extend(inner.finish()?);
                }
                other => return Err(TextError::new(format!("ct: {other} is unknown"))),
            }
        }
        if ct.force && !ct.commit {
            return Err(TextError::new("ct: force needs commit"));
        }
        Ok(ct)
    }
}

/// A write; a field's other name is the field.
fn written(field: Field, value: u128, mask: u128) -> Action {
    let (field, value, mask) = match field {
        Field::IpTos => (Field::IpDscp, value >> 2, mask >> 2),
        field => (field, value, mask),
    };
    Action::SetField {
        field,
        value,
        mask: mask & field.info().slot.ones(),
    }
}

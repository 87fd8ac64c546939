//! Writing what a connection says into the packet's key.

use std::net::IpAddr;

use conntrack::Tuple;

use crate::walk::Walk;

impl Walk<'_> {
    /// Rewrites addresses and ports.
    pub(super) fn apply(&mut self, from: &Tuple, to: &Tuple) {
        let has_ports = !self.is_later_fragment();
        let key = &mut self.now.key;
        match (to.src, to.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                key.nw_src = src.to_bits().into();
                key.nw_dst = dst.to_bits().into();
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                key.ipv6_src = src.octets();
                key.ipv6_dst = dst.octets();
            }
            _ => {}
        }
        if !has_ports {
            self.now.ports = Some((to.src_port, to.dst_port));
        } else if to.is_icmp() {
            if from.src_port != to.src_port {
                self.now.icmp_id = Some(to.src_port);
            }
        } else if (from.src_port, from.dst_port) != (to.src_port, to.dst_port) {
            key.tp_src = to.src_port.into();
            key.tp_dst = to.dst_port.into();
        }
    }

    /// Rewrites the addresses of an ICMP error: its receiver always; its sender only if that is an
    /// end of the connection, not a router between (RFC 5508 4.2).
    pub(super) fn apply_to_error(&mut self, from: &Tuple, to: &Tuple) {
        let key = &mut self.now.key;
        match (from.src, from.dst, to.src, to.dst) {
            (IpAddr::V4(a), IpAddr::V4(b), IpAddr::V4(src), IpAddr::V4(dst)) => {
                if key.nw_src.get() == a.to_bits() {
                    key.nw_src = src.to_bits().into();
                }
                if key.nw_dst.get() == b.to_bits() {
                    key.nw_dst = dst.to_bits().into();
                }
            }
            (IpAddr::V6(a), IpAddr::V6(b), IpAddr::V6(src), IpAddr::V6(dst)) => {
                if key.ipv6_src == a.octets() {
                    key.ipv6_src = src.octets();
                }
                if key.ipv6_dst == b.octets() {
                    key.ipv6_dst = dst.octets();
                }
            }
            _ => {}
        }
    }
}

/// Writes the fields of the original direction.
pub(super) fn set_original(key: &mut net::FlowKey, tuple: Option<&Tuple>) {
    let clear = net::FlowKey::default();
    key.ct_nw_src = clear.ct_nw_src;
    key.ct_nw_dst = clear.ct_nw_dst;
    key.ct_ipv6_src = clear.ct_ipv6_src;
    key.ct_ipv6_dst = clear.ct_ipv6_dst;
    key.ct_tp_src = clear.ct_tp_src;
    key.ct_tp_dst = clear.ct_tp_dst;
    key.ct_nw_proto = 0;
    let Some(tuple) = tuple else { return };
    match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            key.ct_nw_src = src.to_bits().into();
            key.ct_nw_dst = dst.to_bits().into();
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            key.ct_ipv6_src = src.octets();
            key.ct_ipv6_dst = dst.octets();
        }
        _ => {}
    }
    key.ct_nw_proto = tuple.proto;
    if tuple.is_icmp() {
        // Type and code, as the packet's own fields have them.
        let [kind, code] = tuple.dst_port.to_be_bytes();
        key.ct_tp_src = u16::from(kind).into();
        key.ct_tp_dst = u16::from(code).into();
    } else {
        key.ct_tp_src = tuple.src_port.into();
        key.ct_tp_dst = tuple.dst_port.into();
    }
}

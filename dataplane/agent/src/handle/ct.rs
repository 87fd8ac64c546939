//! Forgetting connections: NXT_CT_FLUSH, and the same filters as text.

use std::net::IpAddr;

use conntrack::{Filter, TupleFilter};
use openflow::msg::{CtFlush, CtTuple};

use crate::Switch;

/// What the message means.
pub(crate) fn filter(request: &CtFlush) -> Filter {
    Filter {
        zone: request.zone,
        proto: Some(request.proto).filter(|proto| *proto != 0),
        original: tuple(&request.original),
        reply: tuple(&request.reply),
        mark: request.mark,
        label: request.label,
    }
}

/// Forgets connections at once: what follows in the session finds them gone.
pub(crate) fn flush(switch: &Switch, filter: &Filter) {
    let mut parts = 0..;
    while parts
        .next()
        .is_some_and(|part| switch.engine.flush_connections(filter, part).1)
    {}
}

fn tuple(tuple: &CtTuple) -> TupleFilter {
    TupleFilter {
        src: tuple.src,
        dst: tuple.dst,
        // An identifier has the place of the source port.
        src_port: tuple.src_port.or(tuple.icmp_id),
        dst_port: tuple.dst_port,
        icmp_type: tuple.icmp_type,
        icmp_code: tuple.icmp_code,
    }
}

/// What `ovs-ofctl ct-flush` takes: `zone=N`, `mark=V/M`, `labels=V/M`, then the original tuple and
/// the reply's, as `ct_nw_src=10.0.0.1,ct_nw_proto=6,ct_tp_dst=80`.
///
/// # Errors
/// One line for the operator.
pub(crate) fn parse(zone: Option<u16>, arguments: &[String]) -> Result<Filter, String> {
    let mut filter = Filter {
        zone,
        ..Filter::default()
    };
    let mut tuples = 0;
    for argument in arguments {
        let wrong =
            || format!("'{argument}' cannot be read; write it as ovs-ofctl ct-flush has it");
        match argument.split_once('=') {
            Some(("zone", zone)) => filter.zone = Some(zone.parse().map_err(|_| wrong())?),
            Some(("mark", value)) => {
                let (mark, mask) = masked(value).ok_or_else(wrong)?;
                filter.mark = Some((mark as u32, mask as u32));
            }
            Some(("labels", value)) => filter.label = Some(masked(value).ok_or_else(wrong)?),
            _ if tuples < 2 => {
                let side = match tuples {
                    0 => &mut filter.original,
                    _ => &mut filter.reply,
                };
                for item in argument.split(',').filter(|item| !item.is_empty()) {
                    part(side, &mut filter.proto, item)?;
                }
                tuples += 1;
            }
            _ => return Err(wrong()),
        }
    }
    let ports = [&filter.original, &filter.reply];
    let has_port = |side: &&TupleFilter| side.src_port.is_some() || side.dst_port.is_some();
    if filter.proto.is_none() && ports.iter().any(has_port) {
        return Err("a port needs ct_nw_proto too".into());
    }
    Ok(filter)
}

/// One `key=value` of a tuple.
fn part(side: &mut TupleFilter, proto: &mut Option<u8>, item: &str) -> Result<(), String> {
    let wrong = || format!("'{item}' is no part of a tuple");
    let (key, value) = item.split_once('=').ok_or_else(wrong)?;
    let address = |v4: bool| {
        let address: Option<IpAddr> = value.parse().ok();
        address.filter(|a| a.is_ipv4() == v4).ok_or_else(wrong)
    };
    let port = || value.parse::<u16>().map_err(|_| wrong());
    let byte = || value.parse::<u8>().map_err(|_| wrong());
    match key {
        "ct_nw_src" => side.src = Some(address(true)?),
        "ct_nw_dst" => side.dst = Some(address(true)?),
        "ct_ipv6_src" => side.src = Some(address(false)?),
        "ct_ipv6_dst" => side.dst = Some(address(false)?),
        "ct_nw_proto" => *proto = Some(byte()?),
        "ct_tp_src" | "icmp_id" => side.src_port = Some(port()?),
        "ct_tp_dst" => side.dst_port = Some(port()?),
        "icmp_type" => side.icmp_type = Some(byte()?),
        "icmp_code" => side.icmp_code = Some(byte()?),
        _ => return Err(wrong()),
    }
    Ok(())
}

/// `V` or `V/M`, decimal or 0x....
fn masked(text: &str) -> Option<(u128, u128)> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    match text.split_once('/') {
        Some((value, mask)) => Some((number(value)?, number(mask)?)),
        None => Some((number(text)?, u128::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Filter, String> {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        parse(None, &arguments)
    }

    #[test]
    fn filters_are_written_as_for_ovs_ofctl() {
        let original = "ct_nw_src=10.0.0.1,ct_nw_dst=10.0.0.2,ct_nw_proto=17,ct_tp_src=1";
        let filter = read(&["zone=5", "mark=1/3", original, "ct_nw_dst=10.0.0.9"]).unwrap();
        assert_eq!((filter.zone, filter.proto), (Some(5), Some(17)));
        assert_eq!(filter.mark, Some((1, 3)));
        assert_eq!(filter.original.src, "10.0.0.1".parse().ok());
        assert_eq!(filter.original.src_port, Some(1));
        assert_eq!(filter.reply.dst, "10.0.0.9".parse().ok());
        assert_eq!(read(&[]), Ok(Filter::default()));
        let icmp = read(&["", "ct_ipv6_src=::1,ct_nw_proto=58,icmp_id=4,icmp_type=128"]).unwrap();
        assert_eq!(icmp.reply.src_port, Some(4));
        assert_eq!(icmp.reply.icmp_type, Some(128));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in [
            "zone=x",
            "mark=1/y",
            "ct_nw_src=::1",
            "ct_tp_src=5",
            "colour=5",
            "5",
        ] {
            assert!(read(&[text]).is_err(), "{text}");
        }
        assert!(read(&["", "", ""]).is_err());
    }
}

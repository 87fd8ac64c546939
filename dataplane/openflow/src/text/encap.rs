//! `encap` and `decap` as text (ovs-actions(7)).

use std::fmt;

use super::{TextError, scan};
use crate::Action;
use crate::encap::{Encap, EncapProperty, packet_type};

/// Headers by name.
const HEADERS: &[(&str, u32)] = &[
    ("ethernet", packet_type::ETHERNET),
    ("nsh", packet_type::NSH),
    ("mpls", packet_type::MPLS),
    ("mpls_mc", packet_type::MPLS_MULTICAST),
];

/// Parses what stands in `encap(...)`.
pub(super) fn parse_encap(text: &str) -> Result<Action, TextError> {
    let (name, properties) = scan::key_argument(text)?;
    let found = HEADERS.iter().find(|(known, _)| *known == name);
    let Some((_, packet_type)) = found else {
        return Err(TextError::new(format!(
            "encap({text}): ethernet, mpls, mpls_mc or nsh"
        )));
    };
    let properties = scan::items(properties.unwrap_or_default());
    if *packet_type != packet_type::NSH && !properties.is_empty() {
        return Err(TextError::new(format!(
            "encap({text}): {name} takes nothing"
        )));
    }
    Ok(Action::Encap(Box::new(Encap {
        packet_type: *packet_type,
        hdr_size: 0,
        properties: properties
            .into_iter()
            .map(parse_property)
            .collect::<Result<_, _>>()?,
    })))
}

fn parse_property(item: &str) -> Result<EncapProperty, TextError> {
    let (key, argument) = scan::key_argument(item)?;
    let argument = argument.unwrap_or_default();
    match (key, &*scan::arguments(argument)) {
        ("md_type", [number]) => match scan::number(key, number)? {
            number @ 1..=2 => Ok(EncapProperty::NshMdType(number)),
            other => Err(TextError::new(format!("md_type {other}: 1 or 2"))),
        },
        ("tlv", [class, kind, data]) => Ok(EncapProperty::NshTlv {
            class: scan::number("tlv", class)?,
            kind: scan::number("tlv", kind)?,
            data: bytes(data)?,
        }),
        _ => Err(TextError::new(format!(
            "{item}: md_type=N or tlv(CLASS,TYPE,0xVALUE)"
        ))),
    }
}

/// Hexadecimal digits, two to a byte.
fn bytes(text: &str) -> Result<Vec<u8>, TextError> {
    let bad = || TextError::new(format!("{text}: 0x and up to 127 bytes"));
    let digits = text.strip_prefix("0x").ok_or_else(bad)?;
    if digits.len() > 254 || !digits.is_ascii() {
        return Err(bad());
    }
    let whole = match digits.len() % 2 {
        0 => digits.to_owned(),
        _ => format!("0{digits}"),
    };
    let (pairs, _) = whole.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    pairs
        .iter()
        .map(byte)
        .collect::<Option<_>>()
        .ok_or_else(bad)
}

/// Parses what stands in `decap(...)`.
pub(super) fn parse_decap(text: &str) -> Result<Action, TextError> {
    let bad = || {
        TextError::new(format!(
            "decap({text}): nothing, or packet_type(ns=N,type=N)"
        ))
    };
    if text.is_empty() {
        return Ok(Action::Decap { packet_type: None });
    }
    let ("packet_type", Some(inner)) = scan::key_argument(text)? else {
        return Err(bad());
    };
    let [ns, kind] = scan::items(inner)[..] else {
        return Err(bad());
    };
    let (Some(ns), Some(kind)) = (ns.strip_prefix("ns="), kind.strip_prefix("type=")) else {
        return Err(bad());
    };
    let (ns, kind): (u16, u16) = (scan::number("ns", ns)?, scan::number("type", kind)?);
    Ok(Action::Decap {
        packet_type: Some(u32::from(ns) << 16 | u32::from(kind)),
    })
}

pub(super) fn write_encap(f: &mut dyn fmt::Write, encap: &Encap) -> fmt::Result {
    let name = HEADERS
        .iter()
        .find(|(_, known)| *known == encap.packet_type);
    write!(f, "encap({}", name.map_or("unknown", |(name, _)| name))?;
    for (at, property) in encap.properties.iter().enumerate() {
        f.write_char(if at == 0 { '(' } else { ',' })?;
        match property {
            EncapProperty::NshMdType(md_type) => write!(f, "md_type={md_type}")?,
            EncapProperty::NshTlv { class, kind, data } => {
                // As a number: without the zeros in front.
                let zeros = data.iter().take_while(|byte| **byte == 0).count();
                let mut digits = data.iter().skip(zeros);
                let first = digits.next().copied().unwrap_or(0);
                write!(f, "tlv({class:#06x},{kind},{first:#x}")?;
                for byte in digits {
                    write!(f, "{byte:02x}")?;
                }
                f.write_char(')')?;
            }
        }
    }
    f.write_str(if encap.properties.is_empty() {
        ")"
    } else {
        "))"
    })
}

pub(super) fn write_decap(f: &mut dyn fmt::Write, packet_type: Option<u32>) -> fmt::Result {
    match packet_type {
        None => f.write_str("decap()"),
        Some(packet_type) => {
            let (ns, kind) = (packet_type >> 16, packet_type & 0xffff);
            let kind = super::value::Hex(kind.into());
            write!(f, "decap(packet_type(ns={ns},type={kind}))")
        }
    }
}

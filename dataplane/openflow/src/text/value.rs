//! Values of fields in text.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use net::{MacAddr, PortNo};

use super::{Names, TextError, scan};
use crate::Field;
use crate::field::Format;

/// Names of flag bits, lowest first.
type Flags = &'static [(u128, &'static str)];

const CT_STATE: Flags = &[
    (0x01, "new"),
    (0x02, "est"),
    (0x04, "rel"),
    (0x08, "rpl"),
    (0x10, "inv"),
    (0x20, "trk"),
    (0x40, "snat"),
    (0x80, "dnat"),
];

const TCP_FLAGS: Flags = &[
    (0x001, "fin"),
    (0x002, "syn"),
    (0x004, "rst"),
    (0x008, "psh"),
    (0x010, "ack"),
    (0x020, "urg"),
    (0x040, "ece"),
    (0x080, "cwr"),
    (0x100, "ns"),
    (0x200, "[200]"),
    (0x400, "[400]"),
    (0x800, "[800]"),
];

const TUN_FLAGS: Flags = &[(0x01, "oam")];

/// Fragments: name, value, mask (ovs-fields(7), `ip_frag`).
const FRAGMENTS: &[(&str, u128, u128)] = &[
    ("no", 0, 3),
    ("yes", 1, 1),
    ("first", 1, 3),
    ("later", 3, 3),
    ("not_later", 0, 2),
];

/// Hexadecimal after `0x`, except zero.
pub(super) struct Hex(pub(super) u128);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            n => write!(f, "{n:#x}"),
        }
    }
}

/// Writes a value with its mask, as set_field and most matches have it; see `match_print` for the
/// others.
pub(super) fn write(
    f: &mut dyn fmt::Write,
    field: Field,
    value: u128,
    mask: u128,
    names: &Names,
) -> fmt::Result {
    let info = field.info();
    let exact = mask == info.slot.ones();
    match info.format {
        Format::Decimal if exact => write!(f, "{value}"),
        Format::Decimal => write!(f, "{value}/{mask:#x}"),
        Format::Hex if exact => write!(f, "{}", Hex(value)),
        Format::Hex => write!(f, "{}/{}", Hex(value), Hex(mask)),
        Format::Mac => {
            f.write_str(&mac(value))?;
            if exact {
                Ok(())
            } else {
                write!(f, "/{}", mac(mask))
            }
        }
        Format::Ipv4 => {
            write!(f, "{}", Ipv4Addr::from(value as u32))?;
            match prefix(mask, 32) {
                Some(32) => Ok(()),
                Some(length) => write!(f, "/{length}"),
                None => write!(f, "/{}", Ipv4Addr::from(mask as u32)),
            }
        }
        Format::Ipv6 => {
            write!(f, "{}", Ipv6Addr::from(value))?;
            match prefix(mask, 128) {
                Some(128) => Ok(()),
                Some(length) => write!(f, "/{length}"),
                None => write!(f, "/{}", Ipv6Addr::from(mask)),
            }
        }
        Format::Port if field == Field::InPortNxm && value >= 0xff00 => {
            f.write_str(&names.port(PortNo(value as u32 | 0xffff_0000)))
        }
        Format::Port => f.write_str(&names.port(PortNo(value as u32))),
        Format::CtState => write_flags(f, CT_STATE, value, mask, exact),
        Format::TcpFlags => write_flags(f, TCP_FLAGS, value, mask, exact),
        Format::TunFlags => write_flags(f, TUN_FLAGS, value, mask, exact),
        Format::Frag => match FRAGMENTS.iter().find(|(_, v, m)| (*v, *m) == (value, mask)) {
            Some((name, _, _)) => f.write_str(name),
            None => write!(f, "{}/{}", Hex(value), Hex(mask)),
        },
    }
}

fn mac(value: u128) -> String {
    MacAddr::from_u64(value as u64).to_string()
}

/// Length of a mask that is ones and then zeros.
fn prefix(mask: u128, width: u32) -> Option<u32> {
    let left = mask << (128 - width);
    let length = left.leading_ones();
    let rest = left.checked_shl(length).unwrap_or(0);
    (rest == 0).then_some(length)
}

/// The mask of a prefix length.
fn prefix_mask(length: u32, width: u32) -> u128 {
    let ones = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    ones >> (128 - width)
}

fn write_flags(
    f: &mut dyn fmt::Write,
    flags: Flags,
    value: u128,
    mask: u128,
    exact: bool,
) -> fmt::Result {
    if exact {
        return write_flag_set(f, flags, value);
    }
    let mut left = mask;
    for (bit, name) in flags.iter().filter(|(bit, _)| mask & bit != 0) {
        let sign = if value & bit != 0 { '+' } else { '-' };
        write!(f, "{sign}{name}")?;
        left &= !bit;
    }
    if left != 0 {
        // Bits without a name.
        write!(f, "{}/{}", Hex(value & left), Hex(left))?;
    }
    Ok(())
}

fn write_flag_set(f: &mut dyn fmt::Write, flags: Flags, value: u128) -> fmt::Result {
    if value == 0 {
        return f.write_str("0");
    }
    let (mut left, mut first) = (value, true);
    for (bit, name) in flags.iter().filter(|(bit, _)| value & bit != 0) {
        if !std::mem::take(&mut first) {
            f.write_char('|')?;
        }
        f.write_str(name)?;
        left &= !bit;
    }
    if left != 0 {
        if !first {
            f.write_char('|')?;
        }
        write!(f, "{}", Hex(left))?;
    }
    Ok(())
}

/// Parses `value` or `value/mask` of a field.
pub(super) fn parse(field: Field, text: &str, names: &Names) -> Result<(u128, u128), TextError> {
    let info = field.info();
    let ones = info.slot.ones();
    let bad = |what: &str| TextError::new(format!("{}={text}: {what}", info.name));
    let (value_text, mask_text) = scan::value_mask(text);
    let (value, mask) = match info.format {
        Format::Decimal | Format::Hex => {
            let value = scan::integer(value_text).map_err(|_| bad("not a number"))?;
            let mask = mask_text.map(scan::integer).transpose();
            let mask = mask.map_err(|_| bad("the mask is not a number"))?;
            (value, mask.unwrap_or(ones))
        }
        Format::Mac => {
            let mac = |text: &str| {
                text.parse::<MacAddr>()
                    .map(|mac| u128::from(mac.to_u64()))
                    .map_err(|error| bad(&error.to_string()))
            };
            let mask = mask_text.map(mac).transpose()?;
            (mac(value_text)?, mask.unwrap_or(ones))
        }
        Format::Ipv4 => {
            let address = |text: &str| {
                text.parse::<Ipv4Addr>()
                    .map(|ip| u128::from(u32::from(ip)))
                    .map_err(|_| bad("not an IPv4 address"))
            };
            (address(value_text)?, ip_mask(mask_text, 32, address)?)
        }
        Format::Ipv6 => {
            let address = |text: &str| {
                text.parse::<Ipv6Addr>()
                    .map(u128::from)
                    .map_err(|_| bad("not an IPv6 address"))
            };
            (address(value_text)?, ip_mask(mask_text, 128, address)?)
        }
        Format::Port => {
            if mask_text.is_some() {
                return Err(bad("a port cannot be masked"));
            }
            let port = names.parse_port(value_text)?;
            (u128::from(port.0) & ones, ones)
        }
        Format::CtState => parse_flags(text, CT_STATE, ones)
            .ok_or_else(|| bad("not connection states, as in +trk+est-inv"))?,
        Format::TcpFlags => parse_flags(text, TCP_FLAGS, ones)
            .ok_or_else(|| bad("not TCP flags, as in +syn-ack"))?,
        Format::TunFlags => {
            parse_flags(text, TUN_FLAGS, ones).ok_or_else(|| bad("not tunnel flags, as in +oam"))?
        }
        Format::Frag => match FRAGMENTS.iter().find(|(name, _, _)| *name == text) {
            Some((_, value, mask)) => (*value, *mask),
            None => {
                let number = |text: &str| scan::integer(text);
                let no = |_| bad("expected no, yes, first, later or not_later");
                let value = number(value_text).map_err(no)?;
                let mask = mask_text.map(number).transpose().map_err(no)?;
                (value, mask.unwrap_or(ones))
            }
        },
    };
    if value > ones {
        return Err(bad(&format!("wider than its {} bits", info.slot.bits)));
    }
    if !info.maskable && mask & ones != ones && mask != 0 {
        return Err(bad("this field cannot be masked"));
    }
    Ok((value & mask, mask & ones))
}

fn ip_mask(
    text: Option<&str>,
    width: u32,
    address: impl Fn(&str) -> Result<u128, TextError>,
) -> Result<u128, TextError> {
    let Some(text) = text else {
        return Ok(prefix_mask(width, width));
    };
    match text.parse::<u32>() {
        Ok(length) if length <= width => Ok(prefix_mask(length, width)),
        Ok(_) => Err(TextError::new(format!(
            "/{text}: a prefix has at most {width} bits"
        ))),
        Err(_) => address(text),
    }
}

/// `+a-b` (masked), `a|b` (all bits), a number, or a number and a mask.
fn parse_flags(text: &str, flags: Flags, ones: u128) -> Option<(u128, u128)> {
    let bit_of = |name: &str| {
        let named = flags.iter().find(|(_, known)| *known == name);
        named.map(|(bit, _)| *bit)
    };
    if text.starts_with(['+', '-']) {
        let (mut value, mut mask) = (0, 0);
        let mut rest = text;
        while let Some(sign) = rest.chars().next() {
            let body = rest.get(1..)?;
            let end = body.find(['+', '-']).unwrap_or(body.len());
            let bit = bit_of(body.get(..end)?)?;
            // Twice the same flag says something that cannot be meant.
            if mask & bit != 0 || !matches!(sign, '+' | '-') {
                return None;
            }
            mask |= bit;
            if sign == '+' {
                value |= bit;
            }
            rest = body.get(end..)?;
        }
        return Some((value, mask));
    }
    let (value, mask) = scan::value_mask(text);
    if let Ok(number) = scan::integer(value) {
        let mask = mask.map(scan::integer).transpose().ok()?.unwrap_or(ones);
        return Some((number & mask, mask));
    }
    let mut set = text.split('|').map(|part| match bit_of(part) {
        Some(bit) => Some(bit),
        None => scan::integer(part).ok(),
    });
    let value = set.try_fold(0, |sum, bit| Some(sum | bit?))?;
    Some((value, ones))
}

//! `multipath`, `bundle`, `bundle_load`, `enqueue` and `output(port=,max_len=)` as text.

use std::fmt;

use net::PortNo;

use super::actions_print::Range;
use super::arguments::{parse_range, writable};
use super::{Names, TextError, scan};
use crate::Action;
use crate::links::{
    Bundle, BundleAlgorithm, HashFields, MAX_MEMBERS, Multipath, MultipathAlgorithm,
};
use crate::wire::links::bits_for;

pub(super) fn write_multipath(f: &mut dyn fmt::Write, m: &Multipath) -> fmt::Result {
    write!(
        f,
        "multipath({},{},{},{},{},{})",
        name_of(HashFields::ALL, m.fields),
        m.basis,
        name_of(MultipathAlgorithm::ALL, m.algorithm),
        u32::from(m.max_link) + 1,
        m.arg,
        Range(m.dst)
    )
}

pub(super) fn write_bundle(f: &mut dyn fmt::Write, bundle: &Bundle, names: &Names) -> fmt::Result {
    let name = match bundle.dst {
        Some(_) => "bundle_load",
        None => "bundle",
    };
    write!(
        f,
        "{name}({},{},{},ofport,",
        name_of(HashFields::ALL, bundle.fields),
        bundle.basis,
        name_of(BundleAlgorithm::ALL, bundle.algorithm)
    )?;
    if let Some(dst) = bundle.dst {
        write!(f, "{},", Range(dst))?;
    }
    let members = bundle.members.iter().map(|member| names.port(*member));
    write!(f, "members:{})", members.collect::<Vec<_>>().join(","))
}

/// `FIELDS,BASIS,ALGORITHM,N_LINKS,ARG,DST`.
pub(super) fn parse_multipath(text: &str) -> Result<Action, TextError> {
    let [fields, basis, algorithm, n_links, arg, dst] = words(text)[..] else {
        return Err(TextError::new(format!(
            "multipath({text}): fields,basis,algorithm,n_links,arg,dst"
        )));
    };
    let links: u32 = scan::number("n_links", n_links)?;
    let max_link = links.checked_sub(1).and_then(|n| u16::try_from(n).ok());
    let max_link = max_link
        .ok_or_else(|| TextError::new(format!("multipath({text}): n_links is from 1 to 65536")))?;
    let dst = writable(parse_range(dst)?)?;
    if dst.bits < bits_for(max_link) {
        return Err(TextError::new(format!(
            "multipath({text}): {} bits do not hold the numbers of {links} links",
            dst.bits
        )));
    }
    Ok(Action::Multipath(Multipath {
        fields: named("fields", HashFields::ALL, fields)?,
        basis: scan::number("basis", basis)?,
        algorithm: named("algorithm", MultipathAlgorithm::ALL, algorithm)?,
        max_link,
        arg: scan::number("arg", arg)?,
        dst,
    }))
}

/// `FIELDS,BASIS,ALGORITHM,ofport,[DST,]members:PORT,...`; `slaves:` and brackets as in older texts.
pub(super) fn parse_bundle(text: &str, load: bool, names: &Names) -> Result<Action, TextError> {
    let name = if load { "bundle_load" } else { "bundle" };
    let wrong = |what: &str| TextError::new(format!("{name}({text}): {what}"));
    let (head, members) = ["members:", "slaves:"]
        .iter()
        .find_map(|word| text.split_once(word))
        .ok_or_else(|| wrong("members:PORT,... is missing"))?;
    let head = words(head);
    let (start, dst) = match (head.split_at_checked(4), load) {
        (Some((start, [])), false) => (start, None),
        (Some((start, [dst])), true) => (start, Some(writable(parse_range(dst)?)?)),
        _ if load => return Err(wrong("fields,basis,algorithm,ofport,dst,members:PORT,...")),
        _ => return Err(wrong("fields,basis,algorithm,ofport,members:PORT,...")),
    };
    let [fields, basis, algorithm, kind] = start else {
        return Err(wrong("fields,basis,algorithm,ofport"));
    };
    if !kind.eq_ignore_ascii_case("ofport") {
        return Err(wrong("members are of type ofport"));
    }
    if dst.is_some_and(|dst| dst.bits < 16) {
        return Err(wrong("the destination needs 16 bits"));
    }
    let members = words(members.trim_matches(['[', ']', ' ']));
    if members.len() > MAX_MEMBERS {
        return Err(wrong("more than 2048 members"));
    }
    let members = members.iter().map(|member| names.parse_port(member));
    Ok(Action::Bundle(Box::new(Bundle {
        fields: named("fields", HashFields::ALL, fields)?,
        basis: scan::number("basis", basis)?,
        algorithm: named("algorithm", BundleAlgorithm::ALL, algorithm)?,
        dst,
        members: members.collect::<Result<_, _>>()?,
    })))
}

/// `port=PORT,max_len=BYTES`.
pub(super) fn parse_output_trunc(text: &str, names: &Names) -> Result<Action, TextError> {
    let (mut port, mut max_len) = (None, None);
    for item in scan::items(text) {
        match item.split_once('=') {
            Some(("port", name)) => port = Some(names.parse_port(name)?),
            Some(("max_len", bytes)) => max_len = Some(scan::number("max_len", bytes)?),
            _ => return Err(TextError::new(format!("output({text}): {item} is unknown"))),
        }
    }
    let (Some(port), Some(max_len)) = (port, max_len) else {
        return Err(TextError::new(format!(
            "output({text}): needs port=PORT,max_len=BYTES"
        )));
    };
    if !port.is_ordinary() && !matches!(port, PortNo::IN_PORT | PortNo::LOCAL) {
        return Err(TextError::new(format!(
            "output({text}): not to that reserved port"
        )));
    }
    if max_len < 14 {
        return Err(TextError::new(format!(
            "output({text}): max_len is at least 14"
        )));
    }
    Ok(Action::OutputTrunc { port, max_len })
}

/// `enqueue:PORT:QUEUE` and `enqueue(PORT,QUEUE)`: from OpenFlow 1.1 on these are three actions.
pub(super) fn parse_enqueue(text: &str, names: &Names) -> Result<[Action; 3], TextError> {
    let (port, queue) = text.split_once([':', ',']).ok_or_else(|| {
        TextError::new(format!("enqueue:{text}: needs a port and a queue, as 1:2"))
    })?;
    Ok([
        Action::SetQueue(scan::number("queue", queue.trim())?),
        Action::Output {
            port: names.parse_port(port.trim())?,
            max_len: u16::MAX,
        },
        Action::PopQueue,
    ])
}

fn words(text: &str) -> Vec<&str> {
    let words = text.split([',', ' ']).map(str::trim);
    words.filter(|word| !word.is_empty()).collect()
}

fn named<T: Copy, const N: usize>(
    what: &str,
    all: [(T, &'static str); N],
    text: &str,
) -> Result<T, TextError> {
    let found = all.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
    found.map(|(value, _)| *value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
        TextError::new(format!("{what} {text}: one of {}", names.join(", ")))
    })
}

fn name_of<T: PartialEq, const N: usize>(all: [(T, &'static str); N], value: T) -> &'static str {
    let found = all.iter().find(|(known, _)| *known == value);
    found.map_or("", |(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enqueue_is_what_open_vswitch_sends_for_it() {
        let actions = |text| parse_enqueue(text, &Names::default()).unwrap();
        let expected = [
            Action::SetQueue(7),
            Action::Output {
                port: PortNo::LOCAL,
                max_len: u16::MAX,
            },
            Action::PopQueue,
        ];
        assert_eq!(actions("LOCAL:7"), expected);
        assert_eq!(actions("LOCAL,7"), expected);
        assert!(parse_enqueue("1", &Names::default()).is_err());
    }

    #[test]
    fn what_open_vswitch_refuses_is_refused() {
        let names = Names::default();
        for text in [
            "eth_src,50,modulo_n,1024,0,NXM_NX_REG0[0..3]",
            "eth_src,50,modulo_n,0,0,NXM_NX_REG0[]",
            "eth_src,50,modulo_n,65537,0,NXM_NX_REG0[]",
            "eth_src,50,modulo,1,0,NXM_NX_REG0[]",
            "eth_src,50,modulo_n,1,0",
        ] {
            assert!(parse_multipath(text).is_err(), "{text}");
        }
        for text in [
            "eth_src,50,hrw,ofport,1,2",
            "eth_src,50,hrw,port,members:1",
            "eth_src,50,hrw,ofport,NXM_NX_REG0[],members:1",
        ] {
            assert!(parse_bundle(text, false, &names).is_err(), "{text}");
        }
        for text in ["port=1,max_len=13", "port=NORMAL,max_len=99", "port=1"] {
            assert!(parse_output_trunc(text, &names).is_err(), "{text}");
        }
    }
}

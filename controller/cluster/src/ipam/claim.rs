//! What a pod asks for by annotation: addresses and a MAC of its own choice, one of a list of
//! addresses, addresses of an IPPool, or one family only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use net::MacAddr;

use crate::addr::Family;
use crate::annotations::{self, Annotation};
use crate::name::ObjectRef;
use crate::problem::Problem;
use crate::view::Meta;

/// What a pod asks for; nothing asked is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
    pub(crate) mac: Option<MacAddr>,
    /// One of these, the first that is free.
    pub(crate) list: Vec<Pair>,
    /// The list of a StatefulSet, of which its pod has one: the others are for pods that may still
    /// have to come, and are given to nobody unasked.
    pub(crate) others: Vec<Pair>,
    /// An address of this IPPool.
    pub(crate) pool: Option<String>,
    /// Addresses of this family only.
    pub(crate) family: Option<Family>,
    /// Where the addresses were asked for, for messages.
    pub(crate) address_field: String,
    /// Where the MAC was asked for.
    pub(crate) mac_field: String,
}

/// An address, or one of each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
}

impl Pair {
    pub(crate) fn addresses(self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.map(IpAddr::V4);
        v4.into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

impl Claim {
    /// True if nothing is asked for that somebody else could have.
    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none() && self.mac.is_none() && self.list.is_empty()
    }

    pub(crate) fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4;
        let v6 = self.v6;
        Pair { v4, v6 }.addresses()
    }

    /// Every address it speaks of.
    pub(crate) fn all_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses()
            .chain(self.list.iter().flat_map(|pair| pair.addresses()))
            .chain(self.others.iter().flat_map(|pair| pair.addresses()))
    }

    /// True if these are what it asks for.
    pub(crate) fn is_met_by(&self, addresses: impl Fn(Family) -> Option<IpAddr>) -> bool {
        let has = |asked: IpAddr| addresses(Family::of(asked)) == Some(asked);
        self.addresses().all(has)
            && (self.list.is_empty() || self.list.iter().any(|pair| pair.addresses().all(has)))
    }
}

/// Reads a pod's claim, or says what of it cannot be read. `ordinal` is the number of a
/// StatefulSet's pod, which has the address of that number in a list.
pub(crate) fn read(
    object: &ObjectRef,
    meta: &Meta,
    ordinal: Option<usize>,
) -> Result<Claim, Box<Problem>> {
    let mut claim = Claim::default();
    if let Some(annotation) = annotations::kube_ovn(meta, "ip_address") {
        claim.address_field = annotation.field();
        let pair = pair(annotation.value).map_err(|why| unreadable(object, &annotation, why))?;
        (claim.v4, claim.v6) = (pair.v4, pair.v6);
    } else if let Some(annotation) = annotations::kube_ovn(meta, "ip_pool") {
        claim.address_field = annotation.field();
        read_list(object, &annotation, ordinal, &mut claim)?;
    }
    if let Some(annotation) = annotations::kube_ovn(meta, "ip_family") {
        claim.family = match annotation.value.to_ascii_lowercase().as_str() {
            "ipv4" => Some(Family::V4),
            "ipv6" => Some(Family::V6),
            "dual" => None,
            _ => {
                return Err(Box::new(Problem::refused(
                    object.clone(),
                    annotation.field(),
                    format!("{:?} is no address family", annotation.value),
                    "write ipv4 or ipv6, or remove it to have every family of the subnet",
                )));
            }
        };
    }
    if let Some(annotation) = annotations::kube_ovn(meta, "mac_address") {
        claim.mac_field = annotation.field();
        claim.mac = Some(mac(annotation.value).map_err(|(why, remedy)| {
            Box::new(Problem::refused(
                object.clone(),
                annotation.field(),
                why,
                remedy,
            ))
        })?);
    }
    Ok(claim)
}

/// Reads a MAC that one station can have, or says why it is none and what to do.
pub(crate) fn mac(text: &str) -> Result<MacAddr, (String, String)> {
    match text.parse::<MacAddr>() {
        Ok(mac) if mac.is_unicast() => Ok(mac),
        Ok(mac) => Err((
            format!("{mac} is not an address that one station can have"),
            "use a unicast address, like 02:00:0a:10:00:07".into(),
        )),
        Err(why) => Err((
            format!("{text:?} is not an Ethernet address"),
            why.to_string(),
        )),
    }
}

/// Reads an address, or one of each family with a comma between.
pub(crate) fn pair(text: &str) -> Result<Pair, String> {
    let mut pair = Pair::default();
    for part in text.split(',').map(str::trim) {
        let twice = match part.parse() {
            Ok(IpAddr::V4(v4)) => pair.v4.replace(v4).is_some(),
            Ok(IpAddr::V6(v6)) => pair.v6.replace(v6).is_some(),
            Err(_) => return Err(format!("{part:?} is not an address")),
        };
        if twice {
            return Err(format!("{text:?} has two addresses of one family"));
        }
    }
    Ok(pair)
}

/// Kube-OVN's `ip_pool`: an IPPool's name; addresses with commas between; addresses or pairs
/// `v4,v6` with semicolons between. Two addresses of two families are one pair, as there.
fn read_list(
    object: &ObjectRef,
    annotation: &Annotation<'_>,
    ordinal: Option<usize>,
    claim: &mut Claim,
) -> Result<(), Box<Problem>> {
    let text = annotation.value;
    if !text.contains([',', ';']) && text.parse::<IpAddr>().is_err() {
        claim.pool = Some(text.to_string());
        return Ok(());
    }
    let refused = |why: String, remedy: &str| {
        let object = object.clone();
        Box::new(Problem::refused(object, annotation.field(), why, remedy))
    };
    let remedy = "write addresses like \"10.16.0.15,10.16.0.16\", pairs like \
                  \"10.16.0.15,fd00::15;10.16.0.16,fd00::16\", or the name of an IPPool";
    let whole = pair(text)
        .ok()
        .filter(|pair| pair.v4.is_some() && pair.v6.is_some());
    let list: Vec<Pair> = if let Some(whole) = whole {
        vec![whole]
    } else {
        let separator = if text.contains(';') { ';' } else { ',' };
        text.split(separator)
            .map(|part| pair(part).map_err(|why| refused(why, remedy)))
            .collect::<Result<_, _>>()?
    };
    match ordinal {
        None => claim.list = list,
        Some(ordinal) => match list.get(ordinal) {
            Some(own) => {
                (claim.v4, claim.v6) = (own.v4, own.v6);
                claim.others = list;
            }
            None => {
                return Err(refused(
                    format!(
                        "there are {} addresses, and this pod is number {ordinal}, counted from 0",
                        list.len()
                    ),
                    "add addresses to the StatefulSet's list, or scale it down",
                ));
            }
        },
    }
    Ok(())
}

fn unreadable(object: &ObjectRef, annotation: &Annotation<'_>, why: String) -> Box<Problem> {
    Box::new(Problem::refused(
        object.clone(),
        annotation.field(),
        why,
        "write it like \"10.16.0.15\", \"fd00::15\" or \"10.16.0.15,fd00::15\"",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Kind, NamespacedName};

    fn claim(pairs: &[(&str, &str)]) -> Result<Claim, String> {
        let meta = Meta {
            annotations: pairs
                .iter()
                .map(|(k, v)| (format!("ovn.kubernetes.io/{k}"), v.to_string()))
                .collect(),
            ..Meta::default()
        };
        let pod = ObjectRef::namespaced(Kind::Pod, &NamespacedName::new("bank", "web-1"));
        read(&pod, &meta, None).map_err(|problem| problem.to_string())
    }

    #[test]
    fn one_address_of_each_family_and_a_mac_can_be_asked_for() {
        let both = claim(&[("ip_address", "10.16.0.15, fd00::15")]).unwrap();
        assert_eq!(both.v4, Some("10.16.0.15".parse().unwrap()));
        assert_eq!(both.v6, Some("fd00::15".parse().unwrap()));
        let mac = claim(&[("mac_address", "00:00:00:53:6B:B6")]).unwrap();
        assert_eq!(mac.mac.unwrap().to_string(), "00:00:00:53:6b:b6");
        assert!(claim(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_list_is_addresses_pairs_or_the_name_of_a_pool() {
        let list = |text: &str| {
            let claim = claim(&[("ip_pool", text)]).unwrap();
            let pairs = claim.list.iter().map(|pair| {
                let addresses: Vec<_> = pair.addresses().map(|a| a.to_string()).collect();
                addresses.join("+")
            });
            (pairs.collect::<Vec<_>>().join(" "), claim.pool)
        };
        for (text, addresses) in [
            ("10.0.0.1, 10.0.0.2", "10.0.0.1 10.0.0.2"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1,fd00::1", "10.0.0.1+fd00::1"),
            (
                "10.0.0.1,fd00::1;fd00::2,10.0.0.2",
                "10.0.0.1+fd00::1 10.0.0.2+fd00::2",
            ),
            ("10.0.0.1;10.0.0.2", "10.0.0.1 10.0.0.2"),
        ] {
            assert_eq!(list(text), (addresses.to_string(), None), "{text}");
        }
        assert_eq!(list("blue"), (String::new(), Some("blue".into())));
    }

    #[test]
    fn a_pod_of_a_stateful_set_has_the_address_of_its_number() {
        let annotations = [(
            "ovn.kubernetes.io/ip_pool".into(),
            "10.0.0.7,10.0.0.8".into(),
        )];
        let meta = Meta {
            annotations: annotations.into(),
            ..Meta::default()
        };
        let pod = ObjectRef::namespaced(Kind::Pod, &NamespacedName::new("bank", "web-1"));
        let claim = read(&pod, &meta, Some(1)).unwrap();
        assert_eq!(claim.v4, Some("10.0.0.8".parse().unwrap()));
        let none = read(&pod, &meta, Some(2)).unwrap_err().to_string();
        assert!(none.contains("there are 2 addresses"), "{none}");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_the_annotation_and_the_remedy() {
        for (name, value, why) in [
            ("ip_address", "10.16.0", "\"10.16.0\" is not an address"),
            ("ip_address", "10.16.0.1/16", "is not an address"),
            (
                "ip_address",
                "10.16.0.1,10.16.0.2",
                "two addresses of one family",
            ),
            ("ip_address", "10.16.0.1,", "\"\" is not an address"),
            ("ip_pool", "10.0.0.1,x", "\"x\" is not an address"),
            ("ip_pool", "10.0.0.1;", "\"\" is not an address"),
            (
                "ip_pool",
                "10.0.0.1,10.0.0.2;10.0.0.3",
                "two addresses of one family",
            ),
            ("ip_family", "ipv5", "is no address family"),
            ("mac_address", "0:1:2:3:4", "is not an Ethernet address"),
            (
                "mac_address",
                "01:00:5e:00:00:01",
                "not an address that one station can have",
            ),
            (
                "mac_address",
                "00:00:00:00:00:00",
                "not an address that one station can have",
            ),
        ] {
            let error = claim(&[(name, value)]).unwrap_err();
            assert!(error.contains(why), "{value}: {error}");
            assert!(
                error.contains(&format!("[ovn.kubernetes.io/{name}]")),
                "{error}"
            );
        }
    }
}

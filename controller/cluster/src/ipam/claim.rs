//! What a pod asks for by annotation: addresses and a MAC of its own choice.

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
    /// Where the addresses were asked for, for messages.
    pub(crate) address_field: String,
    /// Where the MAC was asked for.
    pub(crate) mac_field: String,
}

impl Claim {
    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none() && self.mac.is_none()
    }

    pub(crate) fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.map(IpAddr::V4);
        v4.into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

/// Reads a pod's claim, or says what of it cannot be read.
pub(crate) fn read(object: &ObjectRef, meta: &Meta) -> Result<Claim, Box<Problem>> {
    let mut claim = Claim::default();
    if let Some(annotation) = annotations::kube_ovn(meta, "ip_address") {
        claim.address_field = annotation.field();
        for part in annotation.value.split(',').map(str::trim) {
            let twice = match part.parse() {
                Ok(IpAddr::V4(v4)) => claim.v4.replace(v4).is_some(),
                Ok(IpAddr::V6(v6)) => claim.v6.replace(v6).is_some(),
                Err(_) => {
                    let why = format!("{part:?} is not an address");
                    return Err(unreadable(object, &annotation, why));
                }
            };
            if twice {
                let why = format!("{:?} has two addresses of one family", annotation.value);
                return Err(unreadable(object, &annotation, why));
            }
        }
    }
    if let Some(annotation) = annotations::kube_ovn(meta, "mac_address") {
        claim.mac_field = annotation.field();
        match annotation.value.parse::<MacAddr>() {
            Ok(mac) if mac.is_unicast() => claim.mac = Some(mac),
            Ok(mac) => {
                return Err(Box::new(Problem::refused(
                    object.clone(),
                    annotation.field(),
                    format!("{mac} is not an address that one station can have"),
                    "use a unicast address, like 02:00:0a:10:00:07",
                )));
            }
            Err(why) => {
                return Err(Box::new(Problem::refused(
                    object.clone(),
                    annotation.field(),
                    format!("{:?} is not an Ethernet address", annotation.value),
                    why.to_string(),
                )));
            }
        }
    }
    Ok(claim)
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
        read(&pod, &meta).map_err(|problem| problem.to_string())
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

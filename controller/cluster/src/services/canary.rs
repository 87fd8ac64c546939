//! A second Service that gets a share of the first one's connections.

use std::collections::BTreeSet;

use super::endpoints::Endpoints;
use crate::annotations;
use crate::desired::Endpoint;
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::problem::Problem;
use crate::view::{ClusterView, Service, ServicePort};

/// The other Service, and its share.
pub(super) struct Canary<'a> {
    object: &'a ObjectRef,
    name: NamespacedName,
    service: &'a Service,
    field: String,
    /// Of 10,000 connections.
    pub(super) share: u16,
}

/// The Service that is named as another's canary, there or not.
pub(super) fn other(name: &NamespacedName, service: &Service) -> Option<NamespacedName> {
    let annotation = annotations::ours(&service.meta, "canary")?;
    let (other, _) = annotation.value.split_once('=')?;
    Some(NamespacedName::new(&name.namespace, other.trim()))
}

/// Reads `sluice.io/canary: <service>=<percent>`; the Service is one of the same namespace.
pub(super) fn read<'a>(
    object: &'a ObjectRef,
    name: &NamespacedName,
    service: &Service,
    view: &'a ClusterView,
    problems: &mut Vec<Problem>,
) -> Option<Canary<'a>> {
    let annotation = annotations::ours(&service.meta, "canary")?;
    let mut refuse = |message: String, remedy: &str| {
        let field = annotation.field();
        problems.push(Problem::ignored(object.clone(), field, message, remedy));
    };
    let parsed = annotation
        .value
        .split_once('=')
        .and_then(|(other, percent)| {
            let other = other.trim();
            (!other.is_empty())
                .then_some((other, hundredths(percent.trim().trim_end_matches('%'))?))
        });
    let Some((other, share)) = parsed else {
        refuse(
            format!("{:?} is not a Service and its percentage", annotation.value),
            "write it like web-v2=10, at most two decimals",
        );
        return None;
    };
    let other = NamespacedName::new(&name.namespace, other);
    if other == *name {
        refuse(
            "a Service cannot be its own canary".into(),
            "name the other Service",
        );
        return None;
    }
    let Some((_, service)) = view.services.get_key_value(&other) else {
        refuse(
            format!("there is no Service {other}; all connections stay here"),
            "create it, or correct the name",
        );
        return None;
    };
    if service.external_name {
        refuse(
            format!("Service {other} is a DNS alias and has no endpoints"),
            "name a Service with a selector or EndpointSlices",
        );
        return None;
    }
    Some(Canary {
        object,
        name: other,
        service,
        field: annotation.field(),
        share,
    })
}

impl Canary<'_> {
    /// Adds the other Service's endpoints of the port of the same name and protocol, or else of the
    /// same number.
    pub(super) fn add(
        &self,
        endpoints: &Endpoints<'_>,
        port: &ServicePort,
        list: &mut Vec<Endpoint>,
        problems: &mut Vec<Problem>,
    ) {
        let of_protocol = || {
            self.service
                .ports
                .iter()
                .filter(|p| p.protocol == port.protocol)
        };
        let named = of_protocol().find(|p| !p.name.is_empty() && p.name == port.name);
        let Some(same) = named.or_else(|| of_protocol().find(|p| p.port == port.port)) else {
            problems.push(Problem::ignored(
                self.object.clone(),
                &self.field,
                format!(
                    "Service {} has no port like {} {}, whose connections all stay here",
                    self.name, port.protocol, port.port
                ),
                "give it a port of the same name or number",
            ));
            return;
        };
        // What is wrong with its endpoints is reported on the other Service itself.
        let other = ObjectRef::namespaced(Kind::Service, &self.name);
        let added = endpoints.of(
            &other,
            &self.name,
            self.service,
            same,
            "spec.ports",
            &mut Vec::new(),
        );
        let own: BTreeSet<_> = list.iter().map(|e| (e.ip, e.port)).collect();
        for mut endpoint in added {
            if !own.contains(&(endpoint.ip, endpoint.port)) {
                endpoint.canary = true;
                list.push(endpoint);
            }
        }
        list.sort();
    }
}

/// Percent as hundredths: `12.5` is 1250.
fn hundredths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let part: u16 = format!("{part:0<2}").parse().ok()?;
    let share = whole
        .parse::<u16>()
        .ok()?
        .checked_mul(100)?
        .checked_add(part)?;
    (share <= 10_000).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::hundredths;

    #[test]
    fn a_percentage_has_at_most_two_decimals_and_is_at_most_a_hundred() {
        let good = [
            ("0", 0),
            ("10", 1_000),
            ("12.5", 1_250),
            ("0.01", 1),
            ("100", 10_000),
            ("7.", 700),
        ];
        for (text, share) in good {
            assert_eq!(hundredths(text), Some(share), "{text}");
        }
        for text in ["", ".5", "100.01", "-1", "1e1", "0.001", "ten", "65537"] {
            assert_eq!(hundredths(text), None, "{text}");
        }
    }
}

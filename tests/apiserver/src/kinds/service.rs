//! Services: defaults, ClusterIPs and NodePorts, as the real server gives them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::set;
use crate::resource::Resource;
use crate::status::{FieldError, Refusal};
use crate::store::{Store, about};

pub(super) fn default(object: &mut Value) {
    let spec = &mut object["spec"];
    set(spec, "sessionAffinity", json!("None"));
    set(spec, "type", json!("ClusterIP"));
    if spec["sessionAffinity"] == "ClientIP" {
        set(
            &mut spec["sessionAffinityConfig"]["clientIP"],
            "timeoutSeconds",
            json!(10_800),
        );
    } else if let Some(map) = spec.as_object_mut() {
        map.remove("sessionAffinityConfig");
    }
    for port in super::list(spec, "/ports") {
        set(port, "protocol", json!("TCP"));
        if port["targetPort"].is_null() || port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = port["port"].clone();
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    let has_external = spec["externalIPs"]
        .as_array()
        .is_some_and(|l| !l.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || has_external {
        set(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    set(&mut object["status"], "loadBalancer", json!({}));
}

pub(super) fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    let kind = spec["type"].as_str().unwrap_or_default();
    let mut bad = |field: &str, allowed: &[&str]| {
        let value = &spec[field];
        if !value.is_null() && !allowed.iter().any(|a| value == a) {
            let allowed: Vec<Value> = allowed.iter().map(|a| json!(a)).collect();
            errors.push(FieldError::unsupported(
                format!("spec.{field}"),
                value,
                &allowed,
            ));
        }
    };
    bad(
        "type",
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    );
    bad("sessionAffinity", &["ClientIP", "None"]);
    bad("internalTrafficPolicy", &["Cluster", "Local"]);
    bad("externalTrafficPolicy", &["Cluster", "Local"]);
    bad(
        "ipFamilyPolicy",
        &["PreferDualStack", "RequireDualStack", "SingleStack"],
    );
    let headless = spec["clusterIP"] == "None";
    let ports = spec["ports"].as_array().cloned().unwrap_or_default();
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let mut names = BTreeSet::new();
    let mut used = BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{at}]");
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        } else if !names.insert(name.to_owned()) {
            errors.push(FieldError::duplicate(
                format!("{field}.name"),
                &port["name"],
            ));
        }
        if !port["port"]
            .as_i64()
            .is_some_and(|n| (1..=65_535).contains(&n))
        {
            let why = "must be between 1 and 65535, inclusive";
            errors.push(FieldError::invalid(
                format!("{field}.port"),
                &port["port"],
                why,
            ));
        }
        let protocol = &port["protocol"];
        if !["SCTP", "TCP", "UDP"].iter().any(|p| protocol == p) {
            let allowed = [json!("SCTP"), json!("TCP"), json!("UDP")];
            errors.push(FieldError::unsupported(
                format!("{field}.protocol"),
                protocol,
                &allowed,
            ));
        }
        if !used.insert((port["port"].to_string(), protocol.to_string())) {
            errors.push(FieldError::duplicate(field.clone(), port));
        }
        if kind == "ClusterIP" && port["nodePort"].as_i64().is_some_and(|n| n != 0) {
            errors.push(FieldError::forbidden(
                format!("{field}.nodePort"),
                "may not be used when `type` is 'ClusterIP'",
            ));
        }
    }
}

impl Store {
    /// Gives what only the server can give: ClusterIPs and NodePorts.
    pub(crate) fn allocate(
        &self,
        resource: &Resource,
        old: Option<&Arc<Value>>,
        object: &mut Value,
    ) -> Result<(), Refusal> {
        if resource.kind != "Service" || !resource.group.is_empty() {
            return Ok(());
        }
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let refuse =
            |error: FieldError| Refusal::invalid("Service", about(resource, &name), &[error]);
        let uid = object["metadata"]["uid"].clone();
        let others: Vec<Arc<Value>> = self
            .all("", "services")
            .filter(|s| s["metadata"]["uid"] != uid)
            .cloned()
            .collect();
        self.addresses(old, object, &others).map_err(refuse)?;
        self.ports(old, object, &others).map_err(refuse)
    }

    fn addresses(
        &self,
        old: Option<&Arc<Value>>,
        object: &mut Value,
        others: &[Arc<Value>],
    ) -> Result<(), FieldError> {
        let spec = &mut object["spec"];
        if spec["type"] == "ExternalName" {
            if let Some(map) = spec.as_object_mut() {
                for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                    map.remove(field);
                }
            }
            return Ok(());
        }
        let networks: Vec<ipnetwork::Network> = self
            .options
            .service_networks
            .iter()
            .filter_map(|text| ipnetwork::Network::parse(text))
            .collect();
        // A client that leaves out what was given keeps it.
        if let Some(old) = old
            && old["spec"]["type"] != "ExternalName"
        {
            if spec["clusterIP"].as_str().is_none_or(str::is_empty) && spec["clusterIPs"].is_null()
            {
                for field in ["clusterIP", "clusterIPs"] {
                    spec[field] = old["spec"][field].clone();
                }
            }
            for field in ["ipFamilies", "ipFamilyPolicy"] {
                if spec[field].is_null() {
                    spec[field] = old["spec"][field].clone();
                }
            }
            let before = &old["spec"]["clusterIP"];
            if !before.is_null() && spec["clusterIP"].is_string() && spec["clusterIP"] != *before {
                return Err(FieldError::invalid(
                    "spec.clusterIPs[0]",
                    &json!([spec["clusterIP"]]),
                    "may not change once set",
                ));
            }
        }
        let texts = |value: &Value| -> Vec<String> {
            let list = value.as_array().into_iter().flatten();
            list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let mut addresses = texts(&spec["clusterIPs"]);
        if let Some(first) = spec["clusterIP"].as_str().filter(|f| !f.is_empty()) {
            if addresses.is_empty() {
                addresses.push(first.to_owned());
            } else if addresses[0] != first {
                return Err(FieldError::invalid(
                    "spec.clusterIPs",
                    &spec["clusterIPs"],
                    "first value must match `clusterIP`",
                ));
            }
        }
        let mut families = texts(&spec["ipFamilies"]);
        let headless = addresses.first().is_some_and(|a| a == "None");
        for address in addresses.iter().filter(|a| *a != "None") {
            let family = if address.contains(':') {
                "IPv6"
            } else {
                "IPv4"
            };
            if !families.iter().any(|f| f == family) {
                families.push(family.to_owned());
            }
        }
        if spec["ipFamilyPolicy"].is_null() {
            let dual = families.len() > 1;
            let policy = if dual {
                "RequireDualStack"
            } else {
                "SingleStack"
            };
            spec["ipFamilyPolicy"] = json!(policy);
        }
        let policy = spec["ipFamilyPolicy"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let served: Vec<&str> = networks.iter().map(ipnetwork::Network::family).collect();
        if families.is_empty() {
            families.extend(served.first().map(|f| (*f).to_owned()));
        }
        if policy != "SingleStack" {
            for family in &served {
                if !families.iter().any(|f| f == family) {
                    families.push((*family).to_owned());
                }
            }
        } else {
            families.truncate(1);
            addresses.truncate(1);
        }
        if let Some(family) = families.iter().find(|f| !served.contains(&f.as_str())) {
            return Err(FieldError::invalid(
                "spec.ipFamilies[0]",
                &json!(family),
                "not configured on this cluster",
            ));
        }
        if policy == "RequireDualStack" && served.len() < 2 {
            return Err(FieldError::invalid(
                "spec.ipFamilyPolicy",
                &json!(policy),
                "this cluster is not configured for dual-stack services",
            ));
        }
        spec["ipFamilies"] = json!(families);
        if headless {
            spec["clusterIP"] = json!("None");
            spec["clusterIPs"] = json!(["None"]);
            return Ok(());
        }
        let taken: BTreeSet<IpAddr> = others
            .iter()
            .flat_map(|s| texts(&s["spec"]["clusterIPs"]))
            .filter_map(|a| a.parse().ok())
            .collect();
        let mut given = Vec::new();
        for (at, family) in families.iter().enumerate() {
            let Some(network) = networks.iter().find(|n| n.family() == family) else {
                continue;
            };
            let asked = addresses
                .iter()
                .find(|a| a.contains(':') == (family == "IPv6"));
            let address = match asked {
                Some(text) => {
                    let address: Option<IpAddr> = text.parse().ok();
                    let field = format!("spec.clusterIPs[{at}]");
                    match address {
                        Some(address) if !network.contains(address) => {
                            let why = format!(
                                "failed to allocate IP {text}: the provided IP is not in the valid range"
                            );
                            return Err(FieldError::invalid(field, &json!([text]), why));
                        }
                        Some(address) if taken.contains(&address) => {
                            let why = format!(
                                "failed to allocate IP {text}: provided IP is already allocated"
                            );
                            return Err(FieldError::invalid(field, &json!([text]), why));
                        }
                        Some(address) => address,
                        None => {
                            let why = "must be a valid IP address";
                            return Err(FieldError::invalid(field, &json!(text), why));
                        }
                    }
                }
                None => match network.first_free(&taken) {
                    Some(address) => address,
                    None => {
                        return Err(FieldError::invalid(
                            "spec.clusterIPs",
                            &json!([]),
                            "failed to allocate a serviceIP: range is full",
                        ));
                    }
                },
            };
            given.push(address.to_string());
        }
        spec["clusterIP"] = json!(given.first());
        spec["clusterIPs"] = json!(given);
        Ok(())
    }

    fn ports(
        &self,
        old: Option<&Arc<Value>>,
        object: &mut Value,
        others: &[Arc<Value>],
    ) -> Result<(), FieldError> {
        let (first, last) = self.options.node_ports;
        let spec = &mut object["spec"];
        let kind = spec["type"].as_str().unwrap_or_default().to_owned();
        let balancer = kind == "LoadBalancer";
        let wants =
            kind == "NodePort" || balancer && spec["allocateLoadBalancerNodePorts"] != json!(false);
        let old_ports = old
            .and_then(|old| old["spec"]["ports"].as_array().cloned())
            .unwrap_or_default();
        let mut taken: BTreeSet<(i64, String)> = BTreeSet::new();
        for other in others {
            for port in other["spec"]["ports"].as_array().into_iter().flatten() {
                if let Some(number) = port["nodePort"].as_i64() {
                    taken.insert((number, port["protocol"].to_string()));
                }
            }
            if let Some(number) = other["spec"]["healthCheckNodePort"].as_i64() {
                taken.insert((number, "health".into()));
            }
        }
        let number_taken =
            |taken: &BTreeSet<(i64, String)>, n: i64| taken.iter().any(|(used, _)| *used == n);
        let mut own: Vec<(Value, i64)> = Vec::new();
        for (at, port) in super::list(spec, "/ports").enumerate() {
            let before = old_ports
                .iter()
                .find(|o| o["port"] == port["port"] && o["protocol"] == port["protocol"])
                .and_then(|o| o["nodePort"].as_i64());
            let asked = port["nodePort"].as_i64().filter(|n| *n != 0);
            if kind == "ClusterIP" || kind == "ExternalName" {
                // What came with another type goes with it.
                if asked.is_some()
                    && asked == before
                    && let Some(map) = port.as_object_mut()
                {
                    map.remove("nodePort");
                }
                continue;
            }
            let field = format!("spec.ports[{at}].nodePort");
            let number = match asked.or(before) {
                Some(n) => {
                    if Some(n) != before && !(i64::from(first)..=i64::from(last)).contains(&n) {
                        let why = format!(
                            "provided port is not in the valid range. The range of valid ports is \
                             {first}-{last}"
                        );
                        return Err(FieldError::invalid(field, &json!(n), why));
                    }
                    let protocol = port["protocol"].to_string();
                    if taken.contains(&(n, protocol)) {
                        let why = "provided port is already allocated";
                        return Err(FieldError::invalid(field, &json!(n), why));
                    }
                    n
                }
                None if wants => {
                    // One number serves both protocols of a port.
                    let shared = own
                        .iter()
                        .find(|(p, _)| *p == port["port"])
                        .map(|(_, n)| *n);
                    let free =
                        || (i64::from(first)..=i64::from(last)).find(|n| !number_taken(&taken, *n));
                    match shared.or_else(free) {
                        Some(n) => n,
                        None => {
                            let why = "failed to allocate a nodePort: range is full";
                            return Err(FieldError::invalid(field, &json!(0), why));
                        }
                    }
                }
                None => continue,
            };
            port["nodePort"] = json!(number);
            own.push((port["port"].clone(), number));
            taken.insert((number, port["protocol"].to_string()));
        }
        let local = balancer && spec["externalTrafficPolicy"] == "Local";
        if local && spec["healthCheckNodePort"].as_i64().unwrap_or(0) == 0 {
            let before = old.and_then(|old| old["spec"]["healthCheckNodePort"].as_i64());
            let free = || (i64::from(first)..=i64::from(last)).find(|n| !number_taken(&taken, *n));
            if let Some(number) = before.or_else(free) {
                spec["healthCheckNodePort"] = json!(number);
            }
        } else if !local && let Some(map) = spec.as_object_mut() {
            map.remove("healthCheckNodePort");
        }
        if !balancer {
            object["status"]["loadBalancer"] = json!({});
        }
        Ok(())
    }
}

mod ipnetwork {
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    /// A network that addresses are given from.
    pub(super) struct Network {
        address: IpAddr,
        length: u8,
    }

    impl Network {
        pub(super) fn parse(text: &str) -> Option<Self> {
            let (address, length) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let length: u8 = length.parse().ok()?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            (length <= longest).then_some(Network { address, length })
        }

        pub(super) fn family(&self) -> &'static str {
            if self.address.is_ipv4() {
                "IPv4"
            } else {
                "IPv6"
            }
        }

        fn bounds(&self) -> (u128, u32) {
            match self.address {
                IpAddr::V4(a) => (u128::from(u32::from(a)), 32 - u32::from(self.length)),
                IpAddr::V6(a) => (u128::from(a), 128 - u32::from(self.length)),
            }
        }

        pub(super) fn contains(&self, address: IpAddr) -> bool {
            let number = match address {
                IpAddr::V4(a) => u128::from(u32::from(a)),
                IpAddr::V6(a) => u128::from(a),
            };
            let (network, host) = self.bounds();
            address.is_ipv4() == self.address.is_ipv4()
                && number.checked_shr(host) == network.checked_shr(host)
        }

        /// The lowest address that is free; the first one is the API server's own.
        pub(super) fn first_free(&self, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
            let (network, host) = self.bounds();
            let last = 1_u128.checked_shl(host).unwrap_or(u128::MAX) - 1;
            (2..last).find_map(|n| {
                let address = match self.address {
                    IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(network + n).ok()?)),
                    IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(network + n)),
                };
                (!taken.contains(&address)).then_some(address)
            })
        }
    }
}

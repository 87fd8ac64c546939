//! Addresses that are kept out of the pools: Vips, and IP objects written by hand for a pod that
//! is to come.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::annotations;
use crate::desired::Kept;
use crate::ipam::Want;
use crate::ipam::claim::{self, Claim};
use crate::ipam::owner::Owner;
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::problem::Problem;
use crate::state::{Allocation, State};
use crate::subnets::SubnetPlan;
use crate::view::{ClusterView, Ip, Pod, Vip};

/// The label of IP objects that says whether a person or the controller keeps the address.
const RESERVED: &str = "ovn.kubernetes.io/ip_reserved";

/// Says which IP objects keep nothing, for nobody knows which pod they are for.
pub(crate) fn report(view: &ClusterView, problems: &mut Vec<Problem>) {
    for (name, ip) in view.ips.iter().filter(|(_, ip)| is_reserved(ip)) {
        if *name != name_of(&NamespacedName::new(&ip.namespace, &ip.pod)) {
            problems.push(Problem::refused(
                ObjectRef::cluster(Kind::Ip, name),
                "metadata.name",
                "the name is not podName.namespace, so it is not known which pod it is for; \
                 nothing is kept",
                "call it by the pod's name and namespace with a dot between",
            ));
        }
    }
}

/// True for an IP object that keeps an address: a person's, not one of those that we write.
pub(crate) fn is_reserved(ip: &Ip) -> bool {
    ip.meta.labels.get(RESERVED).is_none_or(|v| v != "false") && !ip.meta.deleting
}

/// The IP object that keeps an address for a pod.
pub(crate) fn of_pod<'a>(view: &'a ClusterView, pod: &NamespacedName) -> Option<&'a Ip> {
    let ip = view.ips.get(&name_of(pod))?;
    (is_reserved(ip) && ip.namespace == pod.namespace && ip.pod == pod.name).then_some(ip)
}

fn name_of(pod: &NamespacedName) -> String {
    format!("{}.{}", pod.name, pod.namespace)
}

/// What an IP object asks for.
pub(crate) fn claim_of(pod: &NamespacedName, ip: &Ip) -> Result<Claim, Box<Problem>> {
    let object = ObjectRef::cluster(Kind::Ip, name_of(pod));
    read(&object, [&ip.v4, &ip.v6], &ip.mac, "spec.v4IpAddress")
}

/// The want of a pod that is not there and has an IP object.
pub(crate) fn of_absent_pod<'a>(
    pod: &NamespacedName,
    ip: &'a Ip,
    plans: &'a BTreeMap<String, SubnetPlan>,
) -> Result<Want<'a>, Box<Problem>> {
    let object = ObjectRef::cluster(Kind::Ip, name_of(pod));
    let Some(plan) = plans.get(&ip.subnet) else {
        return Err(Box::new(no_subnet(object, &ip.subnet)));
    };
    Ok(Want {
        owner: Owner::Pod(pod.clone()),
        object,
        uid: None,
        created: ip.meta.created,
        node: None,
        workload: None,
        away: true,
        candidates: vec![plan],
        pools: Vec::new(),
        claim: claim_of(pod, ip),
    })
}

/// Wants of Vips.
pub(crate) fn of_vips<'a>(
    view: &'a ClusterView,
    plans: &'a BTreeMap<String, SubnetPlan>,
    problems: &mut Vec<Problem>,
) -> Vec<Want<'a>> {
    let mut wants = Vec::new();
    for (name, vip) in &view.vips {
        let object = ObjectRef::cluster(Kind::Vip, name);
        annotations::report_unread(&object, &vip.meta, problems);
        if !vip.kind.is_empty() {
            problems.push(Problem::ignored(
                object.clone(),
                "spec.type",
                format!(
                    "{:?} is not supported; the address is kept, no more",
                    vip.kind
                ),
                "leave it empty",
            ));
        }
        let Some(plan) = plans.get(&vip.subnet) else {
            problems.push(no_subnet(object, &vip.subnet));
            continue;
        };
        wants.push(Want {
            owner: Owner::Vip(name.clone()),
            claim: read(&object, [&vip.v4, &vip.v6], &vip.mac, "spec.v4ip"),
            object,
            uid: None,
            created: vip.meta.created,
            node: None,
            workload: None,
            away: false,
            candidates: vec![plan],
            pools: Vec::new(),
        });
    }
    wants
}

fn no_subnet(object: ObjectRef, subnet: &str) -> Problem {
    Problem::refused(
        object,
        "spec.subnet",
        format!("there is no Subnet {subnet:?} in force; nothing is kept"),
        "create it, mend it if it is refused, or correct the name",
    )
}

fn read(
    object: &ObjectRef,
    addresses: [&String; 2],
    mac: &str,
    field: &str,
) -> Result<Claim, Box<Problem>> {
    let mut claim = Claim {
        address_field: field.to_string(),
        mac_field: "spec.macAddress".into(),
        ..Claim::default()
    };
    let refused = |field: &str, why: String, remedy: String| {
        Box::new(Problem::refused(object.clone(), field, why, remedy))
    };
    for (text, family) in addresses.into_iter().zip(["IPv4", "IPv6"]) {
        let text = text.trim();
        match (text.parse(), family) {
            _ if text.is_empty() => {}
            (Ok(IpAddr::V4(v4)), "IPv4") => claim.v4 = Some(v4),
            (Ok(IpAddr::V6(v6)), "IPv6") => claim.v6 = Some(v6),
            _ => {
                let why = format!("{text:?} is not an {family} address");
                let remedy = "correct it, or remove it to be given one";
                return Err(refused(field, why, remedy.into()));
            }
        }
    }
    if !mac.trim().is_empty() {
        let mac = claim::mac(mac.trim());
        claim.mac = Some(mac.map_err(|(why, remedy)| refused("spec.macAddress", why, remedy))?);
    }
    Ok(claim)
}

/// The addresses of Vips that a pod may use beside its own, by annotation `aaps`.
pub(crate) fn allowed(
    view: &ClusterView,
    state: &State,
    name: &NamespacedName,
    pod: &Pod,
    (subnet, overlay): (&str, bool),
    problems: &mut Vec<Problem>,
) -> Vec<IpAddr> {
    let Some(annotation) = annotations::kube_ovn(&pod.meta, "aaps") else {
        return Vec::new();
    };
    let mut allowed: Vec<IpAddr> = Vec::new();
    let wanted = annotation.value.split(',').map(str::trim);
    for vip in wanted.filter(|vip| !vip.is_empty()) {
        match usable(view, state, name, pod, subnet, vip) {
            Ok(held) => {
                allowed.extend(held.addresses());
                if overlay {
                    let why = format!(
                        "the pod may send from Vip {vip}'s addresses, but in an overlay nobody \
                         follows which pod has them, so it is not found by them"
                    );
                    let remedy = "use a Subnet with a vlan, or a Service";
                    let object = ObjectRef::namespaced(Kind::Pod, name);
                    problems.push(Problem::ignored(object, annotation.field(), why, remedy));
                }
            }
            Err((why, remedy)) => problems.push(Problem::ignored(
                ObjectRef::namespaced(Kind::Pod, name),
                annotation.field(),
                why,
                remedy,
            )),
        }
    }
    allowed.sort();
    allowed.dedup();
    allowed
}

fn usable<'a>(
    view: &ClusterView,
    state: &'a State,
    name: &NamespacedName,
    pod: &Pod,
    subnet: &str,
    vip: &str,
) -> Result<&'a Allocation, (String, &'static str)> {
    let Some(there) = view.vips.get(vip) else {
        return Err((
            format!("there is no Vip {vip:?}"),
            "create it, or correct the name",
        ));
    };
    let Some(held) = state.vips.get(vip) else {
        return Err((
            format!("Vip {vip} has no address"),
            "mend what is reported of it",
        ));
    };
    if there.namespace != name.namespace {
        return Err((
            format!("Vip {vip} is for pods of Namespace {:?}", there.namespace),
            "name the pod's namespace in its spec.namespace",
        ));
    }
    if held.subnet != subnet {
        return Err((
            format!(
                "Vip {vip} is in Subnet {}, the pod in {subnet}",
                held.subnet
            ),
            "choose a Vip of the pod's subnet",
        ));
    }
    if let Some(unmet) = unmet(there, pod) {
        return Err((
            format!("Vip {vip} is for pods with the label {unmet}"),
            "label the pod, or correct the Vip's spec.selector",
        ));
    }
    Ok(held)
}

fn unmet<'a>(vip: &'a Vip, pod: &Pod) -> Option<&'a str> {
    let has = |entry: &&String| {
        let (key, value) = entry.split_once(':').unwrap_or((entry, ""));
        let found = pod.meta.labels.get(key.trim());
        found.is_none_or(|found| found != value.trim())
    };
    vip.selector.iter().find(has).map(String::as_str)
}

/// What is told of an allocation to those who write objects.
pub(crate) fn kept(held: &Allocation) -> Kept {
    Kept {
        subnet: held.subnet.clone(),
        v4: held.v4,
        v6: held.v6,
        mac: held.mac,
    }
}

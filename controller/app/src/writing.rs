//! What shall stand on objects, handed to who writes it: the objects that may differ, no others.

use std::collections::{BTreeMap, BTreeSet};

use cluster::writes::{Picture, ip_object, notices, waiting_to_drain};
use cluster::{
    Changes, ClusterView, DesiredState, Kind, NamespacedName, ObjectRef, Problem, Problems,
    different,
};
use watch::Writer;

/// Keeps the objects of an API server up to date with a picture.
#[derive(Debug)]
pub struct Writing {
    writer: Writer,
    /// What is wrong as it was told last.
    told: Problems,
    /// Something has been told: what is found now is news.
    begun: bool,
}

impl Writing {
    pub fn new(writer: Writer) -> Self {
        Writing {
            writer,
            told: Problems::default(),
            begun: false,
        }
    }

    /// A new picture, which differs in these objects.
    pub fn update(&mut self, picture: &Picture<'_>, changed: &Changes) {
        let problems = self.tell_problems(&picture.desired.problems);
        self.begun = true;
        match changed {
            Changes::Objects(objects) => {
                let mut due = objects.clone();
                due.extend(problems);
                self.stand(picture, due);
            }
            Changes::Everything => {
                let mut due: BTreeSet<ObjectRef> = self.writer.wanted().into_iter().collect();
                due.extend(everything(picture));
                self.stand(picture, due);
            }
        }
    }

    /// The same picture, of which these objects are in force everywhere now.
    pub fn reached(&mut self, picture: &Picture<'_>, reached: &Changes) {
        match reached {
            Changes::Everything => self.stand(picture, everything(picture)),
            Changes::Objects(objects) => self.stand(picture, objects.clone()),
        }
    }

    /// Tells what is new and what is over of what is wrong with one object.
    /// What stands since before us may have been told already.
    pub fn tell(&self, object: &ObjectRef, before: &[Problem], now: &[Problem], standing: bool) {
        for notice in notices(object, before, now) {
            match standing {
                true => self.writer.tell_standing(notice),
                false => self.writer.tell(notice),
            }
        }
    }

    fn stand(&self, picture: &Picture<'_>, mut objects: BTreeSet<ObjectRef>) {
        let namespaces: BTreeMap<String, NamespacedName> = objects
            .iter()
            .filter(|object| object.kind == Kind::Service)
            .filter_map(|object| {
                let namespace = object.namespace.clone()?;
                Some((
                    namespace.clone(),
                    NamespacedName::new(namespace, &object.name),
                ))
            })
            .collect();
        for service in namespaces.values() {
            objects.extend(waiting_to_drain(picture, service));
        }
        for object in objects {
            if object.kind == Kind::Pod {
                let namespace = object.namespace.as_deref().unwrap_or_default();
                let name = NamespacedName::new(namespace, &object.name);
                self.stand_or_go(picture, &ip_object(&name));
            }
            self.stand_or_go(picture, &object);
        }
    }

    fn stand_or_go(&self, picture: &Picture<'_>, object: &ObjectRef) {
        match picture.on(object) {
            None if picture.is_ours_to_remove(object) => self.writer.want_gone(object),
            wanted => self.writer.want(object, wanted),
        }
    }

    /// Tells what is new and what is over; gives the objects that are concerned.
    fn tell_problems(&mut self, now: &Problems) -> BTreeSet<ObjectRef> {
        let before = std::mem::replace(&mut self.told, now.clone());
        let mut concerned = BTreeSet::new();
        for object in different(before.by_object(), now.by_object()) {
            concerned.insert(object.clone());
            self.tell(object, before.of(object), now.of(object), !self.begun);
        }
        concerned
    }
}

/// Every object that may bear something of ours.
fn everything(picture: &Picture<'_>) -> BTreeSet<ObjectRef> {
    let view = picture.view;
    let mut all = BTreeSet::new();
    let cluster = |kind, name: &String| ObjectRef::cluster(kind, name);
    all.extend(view.nodes.keys().map(|n| cluster(Kind::Node, n)));
    all.extend(view.namespaces.keys().map(|n| cluster(Kind::Namespace, n)));
    all.extend(view.subnets.keys().map(|n| cluster(Kind::Subnet, n)));
    all.extend(view.vlans.keys().map(|n| cluster(Kind::Vlan, n)));
    let networks = view.provider_networks.keys();
    all.extend(networks.map(|n| cluster(Kind::ProviderNetwork, n)));
    all.extend(view.ip_pools.keys().map(|n| cluster(Kind::IpPool, n)));
    all.extend(view.ips.keys().map(|n| cluster(Kind::Ip, n)));
    all.extend(view.vips.keys().map(|n| cluster(Kind::Vip, n)));
    let namespaced = ObjectRef::namespaced;
    all.extend(view.pods.keys().map(|n| namespaced(Kind::Pod, n)));
    all.extend(view.services.keys().map(|n| namespaced(Kind::Service, n)));
    let policies = view.network_policies.keys();
    all.extend(policies.map(|n| namespaced(Kind::NetworkPolicy, n)));
    let tiers = [
        (Kind::AdminNetworkPolicy, &view.admin_network_policies),
        (
            Kind::BaselineAdminNetworkPolicy,
            &view.baseline_admin_network_policies,
        ),
        (Kind::ClusterNetworkPolicy, &view.cluster_network_policies),
    ];
    for (kind, policies) in tiers {
        all.extend(policies.keys().map(|n| cluster(kind, n)));
    }
    all
}

/// What differs for those who look at objects, beside what was read: what is desired of others may
/// differ with it.
pub fn differing(
    read: &Changes,
    view: &ClusterView,
    before: Option<&DesiredState>,
    now: &DesiredState,
) -> Changes {
    let (Changes::Objects(read), Some(before)) = (read, before) else {
        return Changes::Everything;
    };
    let mut due = read.clone();
    let pod = |name: &NamespacedName| ObjectRef::namespaced(Kind::Pod, name);
    due.extend(different(&before.pods, &now.pods).map(pod));
    due.extend(different(&before.waiting, &now.waiting).map(pod));
    let subnet = |name: &String| ObjectRef::cluster(Kind::Subnet, name);
    due.extend(different(&before.usage, &now.usage).map(subnet));
    let subnets: BTreeSet<&String> = different(&before.subnets, &now.subnets).collect();
    due.extend(subnets.iter().map(|name| subnet(name)));
    // Vlans say which Subnets they have, ProviderNetworks which Vlans.
    if read
        .iter()
        .any(|object| matches!(object.kind, Kind::Subnet | Kind::Vlan))
    {
        let cluster = |kind, name: &String| ObjectRef::cluster(kind, name);
        due.extend(view.vlans.keys().map(|name| cluster(Kind::Vlan, name)));
        let networks = view.provider_networks.keys();
        due.extend(networks.map(|name| cluster(Kind::ProviderNetwork, name)));
    }
    if !subnets.is_empty() {
        let inside = now.pods.iter().filter(|(_, p)| subnets.contains(&p.subnet));
        due.extend(inside.map(|(name, _)| pod(name)));
    }
    due.extend(different(&before.kept, &now.kept).map(ip_object));
    let vips = different(&before.vips, &now.vips);
    due.extend(vips.map(|name| ObjectRef::cluster(Kind::Vip, name)));
    let pools = different(&before.ip_pools, &now.ip_pools);
    due.extend(pools.map(|name| ObjectRef::cluster(Kind::IpPool, name)));
    let services = different(&before.services, &now.services);
    due.extend(services.map(|name| ObjectRef::namespaced(Kind::Service, name)));
    Changes::Objects(due)
}

/// Of what differs, what switches have to be told before it is in force: a Subnet or an IPPool of
/// which more addresses are used is in force as it was.
pub fn of_network(
    differing: &Changes,
    read: &Changes,
    before: Option<&DesiredState>,
    now: &DesiredState,
) -> Changes {
    let (Changes::Objects(objects), Some(before)) = (differing, before) else {
        return differing.clone();
    };
    let counts_only = |object: &ObjectRef| match object.kind {
        Kind::Subnet => before.subnets.get(&object.name) == now.subnets.get(&object.name),
        Kind::IpPool => true,
        _ => false,
    };
    let kept = objects
        .iter()
        .filter(|object| read.may_concern(object) || !counts_only(object));
    Changes::Objects(kept.cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::view::{ClusterView, Pod, Subnet};
    use cluster::{Settings, State};

    #[test]
    fn a_subnet_that_counts_one_more_pod_is_in_force_as_before() {
        let mut view = ClusterView::default();
        let mut subnet = Subnet {
            cidr_block: "10.16.0.0/24".into(),
            default: true,
            ..Subnet::default()
        };
        view.subnets.insert("a".into(), subnet.clone());
        let (settings, mut state) = (Settings::default(), State::default());
        let first = cluster::resolve(&view, &settings, &mut state);
        let name = NamespacedName::new("bank", "web");
        let pod = Pod {
            node: Some("n1".into()),
            ..Pod::default()
        };
        view.pods.insert(name.clone(), pod);
        let second = cluster::resolve(&view, &settings, &mut state);
        let pod = ObjectRef::namespaced(Kind::Pod, &name);
        let read = Changes::Objects([pod.clone()].into());
        let changed = differing(&read, &view, Some(&first), &second);
        let a = ObjectRef::cluster(Kind::Subnet, "a");
        assert!(changed.may_concern(&a), "it is written");
        let network = of_network(&changed, &read, Some(&first), &second);
        assert!(network.may_concern(&pod) && !network.may_concern(&a));

        subnet.gateway = "10.16.0.9".into();
        view.subnets.insert("a".into(), subnet);
        let third = cluster::resolve(&view, &settings, &mut state);
        let read = Changes::Objects([a.clone()].into());
        let changed = differing(&read, &view, Some(&second), &third);
        assert!(of_network(&changed, &read, Some(&second), &third).may_concern(&a));
    }
}

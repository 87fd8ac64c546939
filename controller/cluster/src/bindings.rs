//! Which subnets and IPPools a pod can have its addresses from, and what it asks for.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::annotations;
use crate::desired::SubnetKind;
use crate::ipam::Want;
use crate::ipam::claim::{self, Claim};
use crate::ipam::named::NamedPool;
use crate::ipam::owner::Owner;
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::nodes;
use crate::problem::Problem;
use crate::reserve;
use crate::sticky;
use crate::subnets::{self, SubnetPlan};
use crate::view::{ClusterView, Ip, Pod};

/// Which subnets a pod can have its addresses from.
pub(crate) struct Bindings<'a> {
    plans: &'a BTreeMap<String, SubnetPlan>,
    pools: &'a BTreeMap<String, NamedPool>,
    view: &'a ClusterView,
    /// The subnet for namespaces that no other names.
    default: Option<&'a str>,
    /// Which IPPools name a namespace, so that namespaces need not look through all of them.
    naming: BTreeMap<&'a str, Vec<&'a str>>,
    /// Namespaces that were asked for.
    by_namespace: RefCell<BTreeMap<String, Bound<'a>>>,
}

/// What a namespace with pods is bound to.
#[derive(Clone, Debug, Default)]
struct Bound<'a> {
    /// Subnets, in the order in which they are tried.
    subnets: Vec<&'a str>,
    /// IPPools that its pods have their addresses from, if there is one.
    pools: Vec<&'a str>,
}

impl<'a> Bindings<'a> {
    pub(crate) fn new(
        view: &'a ClusterView,
        plans: &'a BTreeMap<String, SubnetPlan>,
        pools: &'a BTreeMap<String, NamedPool>,
    ) -> Self {
        let mut naming: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, pool) in &view.ip_pools {
            for namespace in &pool.namespaces {
                naming.entry(namespace).or_default().push(name);
            }
        }
        Bindings {
            plans,
            pools,
            view,
            default: subnets::default_subnet(view, plans, &mut Vec::new()),
            naming,
            by_namespace: RefCell::default(),
        }
    }

    /// Says what is wrong with what namespaces and the default subnet ask for.
    pub(crate) fn report(&self, problems: &mut Vec<Problem>) {
        let (view, pools) = (self.view, self.pools);
        subnets::default_subnet(view, self.plans, problems);
        for (name, namespace) in &view.namespaces {
            let object = ObjectRef::cluster(Kind::Namespace, name);
            annotations::report_unread(&object, &namespace.meta, problems);
            if let Some(annotation) = annotations::kube_ovn(&namespace.meta, "logical_switch") {
                for subnet in names(annotation.value) {
                    if !view.subnets.contains_key(subnet) {
                        problems.push(Problem::refused(
                            object.clone(),
                            annotation.field(),
                            format!("there is no Subnet {subnet:?}"),
                            "create it, or correct the name",
                        ));
                    }
                }
            }
            if let Some(annotation) = annotations::kube_ovn(&namespace.meta, "ip_pool") {
                for pool in names(annotation.value).filter(|pool| !pools.contains_key(*pool)) {
                    problems.push(Problem::refused(
                        object.clone(),
                        annotation.field(),
                        format!("there is no IPPool {pool:?} in force"),
                        "create it, mend it if it is refused, or correct the name",
                    ));
                }
            }
        }
    }

    /// What a namespace with pods is bound to.
    fn bound(&self, namespace: &str) -> Bound<'a> {
        if let Some(known) = self.by_namespace.borrow().get(namespace) {
            return known.clone();
        }
        let there = self.view.namespaces.get(namespace);
        let read = |name| there.and_then(|n| annotations::kube_ovn(&n.meta, name));
        let mut bound = Bound {
            subnets: match read("logical_switch") {
                Some(annotation) => names(annotation.value).collect(),
                None => subnets::bound_to(self.view, namespace, None),
            },
            pools: self.naming.get(namespace).cloned().unwrap_or_default(),
        };
        let by_annotation = read("ip_pool");
        bound
            .pools
            .extend(by_annotation.iter().flat_map(|a| names(a.value)));
        bound.pools.sort_unstable();
        bound.pools.dedup();
        if bound.subnets.is_empty() {
            let of = |pool: &&str| Some(self.pools.get(*pool)?.subnet.as_str());
            bound.subnets = bound.pools.iter().filter_map(of).collect();
            bound.subnets.dedup();
        }
        if bound.subnets.is_empty() {
            bound.subnets.extend(self.default);
        }
        let mut known = self.by_namespace.borrow_mut();
        known.insert(namespace.to_string(), bound.clone());
        bound
    }

    /// What a pod asks for, and from where it may have it. `reserved` is the IP object that keeps
    /// an address for it.
    pub(crate) fn want(
        &self,
        name: &'a NamespacedName,
        pod: &'a Pod,
        reserved: Option<&'a Ip>,
    ) -> Result<Want<'a>, Box<Problem>> {
        let object = ObjectRef::namespaced(Kind::Pod, name);
        let workload = sticky::workload(self.view, name, pod);
        let ordinal = workload.is_some().then(|| sticky::ordinal(&name.name));
        let ordinal = ordinal.flatten().map(|(_, number)| number);
        let mut claim = claim::read(&object, &pod.meta, ordinal);
        let mut subnet = None;
        if let (Some(ip), Ok(own)) = (reserved, &claim)
            && own.all_addresses().next().is_none()
            && own.pool.is_none()
            && let Ok(kept) = reserve::claim_of(name, ip)
        {
            claim = Ok(Claim {
                mac: own.mac.or(kept.mac),
                family: own.family,
                ..kept
            });
            subnet = Some(ip.subnet.as_str());
        }
        let pool = match &claim {
            Ok(Claim {
                pool: Some(pool),
                address_field,
                ..
            }) => match self.pools.get(pool) {
                Some(pool) => Some(pool),
                None => {
                    return Err(Box::new(Problem::refused(
                        object,
                        address_field,
                        format!("there is no IPPool {pool:?} in force; the pod waits"),
                        "create it, mend it if it is refused, or correct the name",
                    )));
                }
            },
            _ => None,
        };
        let subnet = pool.map(|pool| pool.subnet.as_str()).or(subnet);
        let candidates = self.candidates(name, pod, subnet)?;
        let asks = matches!(&claim, Ok(claim) if claim.all_addresses().next().is_some());
        let pools = match pool {
            Some(pool) => vec![pool],
            None if asks => Vec::new(),
            None => self.bound_pools(name, pod, &candidates)?,
        };
        if let Some(pool) = pool
            && !candidates.iter().any(|plan| plan.name() == pool.subnet)
        {
            return Err(Box::new(Problem::refused(
                object,
                claim.map(|claim| claim.address_field).unwrap_or_default(),
                format!(
                    "IPPool {} is of Subnet {}, which is not the pod's; the pod waits",
                    pool.name, pool.subnet
                ),
                "remove ovn.kubernetes.io/logical_switch, or choose a pool of that subnet",
            )));
        }
        Ok(Want {
            owner: Owner::Pod(name.clone()),
            object,
            uid: pod.meta.uid.as_deref(),
            created: pod.meta.created,
            node: pod.node.as_deref(),
            workload,
            away: false,
            candidates,
            pools,
            claim,
        })
    }

    /// The want of a pod that is not there, for which an IP object keeps an address.
    pub(crate) fn absent(
        &self,
        name: &NamespacedName,
        ip: &'a Ip,
    ) -> Result<Want<'a>, Box<Problem>> {
        reserve::of_absent_pod(name, ip, self.plans)
    }

    /// The pools that the pod's namespace is bound to. A pod that names another subnet than the
    /// namespace's is free of them, as in Kube-OVN.
    fn bound_pools(
        &self,
        name: &NamespacedName,
        pod: &Pod,
        candidates: &[&'a SubnetPlan],
    ) -> Result<Vec<&'a NamedPool>, Box<Problem>> {
        let bound = self.bound(&name.namespace);
        let of_candidates =
            |pool: &&'a NamedPool| candidates.iter().any(|plan| plan.name() == pool.subnet);
        let pools = bound.pools.iter().filter_map(|pool| self.pools.get(*pool));
        let pools: Vec<_> = pools.filter(of_candidates).collect();
        let is_own_choice = annotations::kube_ovn(&pod.meta, "logical_switch").is_some();
        if !pools.is_empty() || bound.pools.is_empty() || is_own_choice {
            return Ok(pools);
        }
        Err(Box::new(Problem::refused(
            ObjectRef::namespaced(Kind::Pod, name),
            "",
            format!(
                "Namespace {} is bound to IPPool {}, which is not in force or in none of its \
                 subnets; the pod waits",
                name.namespace,
                bound.pools.join(", ")
            ),
            "mend the pool, or bind the namespace to the pool's subnet",
        )))
    }

    fn candidates(
        &self,
        name: &'a NamespacedName,
        pod: &'a Pod,
        only: Option<&'a str>,
    ) -> Result<Vec<&'a SubnetPlan>, Box<Problem>> {
        let (field, names) = match annotations::kube_ovn(&pod.meta, "logical_switch") {
            Some(annotation) => (annotation.field(), vec![annotation.value]),
            None if only.is_some() => (String::new(), only.into_iter().collect()),
            None => (String::new(), self.bound(&name.namespace).subnets),
        };
        let refused = |message: String, remedy: &str| {
            let object = ObjectRef::namespaced(Kind::Pod, name);
            Err(Box::new(Problem::refused(object, &field, message, remedy)))
        };
        let in_force: Vec<_> = names.iter().filter_map(|n| self.plans.get(*n)).collect();
        let Some(first) = names.first() else {
            return refused(
                format!("Namespace {} has no subnet; the pod waits", name.namespace),
                "name the namespace in a Subnet's spec.namespaces, or set spec.default on one",
            );
        };
        if in_force.is_empty() {
            return if names.iter().any(|n| self.view.subnets.contains_key(*n)) {
                refused(
                    format!("Subnet {} is not in force; the pod waits", names.join(", ")),
                    "mend what is reported of the subnet",
                )
            } else {
                refused(
                    format!("there is no Subnet {first:?}; the pod waits"),
                    "create it, or correct the name",
                )
            };
        }
        let without_uplink = |plan: &&SubnetPlan| match (&plan.subnet.kind, &pod.node) {
            (SubnetKind::Underlay { provider, .. }, Some(node)) => !self.has_uplink(provider, node),
            _ => false,
        };
        let usable: Vec<_> = in_force
            .iter()
            .copied()
            .filter(|plan| !without_uplink(plan))
            .collect();
        match in_force.first() {
            Some(plan) if usable.is_empty() => {
                let node = pod.node.as_deref().unwrap_or_default();
                refused(
                    format!(
                        "Node {node} has no uplink to the physical network of Subnet {}; the pod waits",
                        plan.name()
                    ),
                    "add the node to the ProviderNetwork, or run the pod elsewhere",
                )
            }
            _ => Ok(usable),
        }
    }

    /// Unknown nodes are given the benefit of the doubt: their pods wait for them anyway.
    fn has_uplink(&self, provider: &str, node: &str) -> bool {
        !self.view.nodes.contains_key(node)
            || self
                .view
                .provider_networks
                .get(provider)
                .is_some_and(|network| nodes::uplink(network, node, self.view).is_some())
    }
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

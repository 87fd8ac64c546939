//! Keeps the desired state up to date view by view, at the cost of what differs between two views
//! (docs/adr/0034-per-object.md).
//!
//! 1. The frame: nodes, subnets, pools, namespaces, and what follows from them alone. When it
//!    differs, which is rare, everything is computed anew.
//! 2. [`pods`]: addresses and ports of pods that differ, and of those that wait for others.
//! 3. Services that differ, or whose endpoints do; what they are reached by.
//! 4. Policies, and what is wrong with any of it.

mod pods;
mod problems;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::addr::Family;
use crate::bindings::Bindings;
use crate::desired::{DesiredState, Usage};
use crate::edge;
use crate::ipam::book::Book;
use crate::ipam::named::{self, NamedPool};
use crate::ipam::pool::Pool;
use crate::ipam::ranges::RangeSet;
use crate::map::{Map, changes, different};
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::nodes;
use crate::policy;
use crate::qos;
use crate::reserve;
use crate::resolve::Settings;
use crate::services;
use crate::state::State;
use crate::subnets::{self, SubnetPlan};
use crate::view::ClusterView;

use pods::Pods;
use problems::{Finder, Found};

/// Keeps the desired state up to date. [`crate::resolve`] is one that begins with nothing.
#[derive(Debug)]
pub struct Resolver {
    settings: Settings,
    state: State,
    /// What `desired` was computed from.
    view: Option<ClusterView>,
    desired: DesiredState,
    plans: BTreeMap<String, SubnetPlan>,
    pools: BTreeMap<String, NamedPool>,
    pods: Pods,
    services: services::Index,
    edge: edge::Index,
    policies: policy::Index,
    problems: Found,
}

impl Resolver {
    /// One that knows who holds which address, and nothing else.
    pub fn new(settings: Settings, state: State) -> Self {
        Resolver {
            settings,
            state,
            view: None,
            desired: DesiredState::default(),
            plans: BTreeMap::new(),
            pools: BTreeMap::new(),
            pods: Pods::default(),
            services: services::Index::default(),
            edge: edge::Index::default(),
            policies: policy::Index::default(),
            problems: Found::default(),
        }
    }

    /// Who holds which address; has to be kept before anything is told to switches or pods.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The same, to be told what stands on the objects of the next view.
    pub fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// Who holds which address.
    pub fn into_state(self) -> State {
        self.state
    }

    /// What was computed last.
    pub fn desired(&self) -> &DesiredState {
        &self.desired
    }

    /// What the network shall be by this view.
    pub fn update(&mut self, view: &ClusterView) -> &DesiredState {
        let before = self.view.replace(view.clone());
        let before = before.filter(|before| has_same_frame(before, view));
        let state = self.state.clone();
        let desired = self.desired.clone();
        match &before {
            Some(before) => {
                for object in different(&before.problems, &view.problems) {
                    self.read(view, object);
                }
            }
            None => {
                self.problems.begin_anew();
                for object in view.problems.keys() {
                    self.read(view, object);
                }
                self.frame(view);
            }
        }
        self.place(before.as_ref(), view);
        self.count(before.is_none(), &state);
        let changed = self.serve(before.as_ref(), view, &desired);
        self.expose(before.as_ref(), view, &desired, &changed);
        let (policies, found) = self.policies.update(view, &self.desired);
        self.desired.policies = policies;
        self.problems.tell(found, &mut self.desired.problems);
        &self.desired
    }

    /// Takes over what reading found wrong with an object.
    fn read(&mut self, view: &ClusterView, object: &ObjectRef) {
        let found = view.problems.get(object).cloned().unwrap_or_default();
        self.problems.set(Finder::Read(object.clone()), found);
    }

    /// What everything else stands on.
    fn frame(&mut self, view: &ClusterView) {
        let mut problems = Vec::new();
        let nodes = nodes::nodes(view, &mut problems);
        let provider_networks = nodes::provider_networks(view, &mut problems);
        self.plans = subnets::subnets(
            view,
            &self.settings,
            &provider_networks,
            &mut self.state,
            &mut problems,
        );
        self.pools = named::named_pools(view, &mut self.plans, &mut problems);
        Bindings::new(view, &self.plans, &self.pools).report(&mut problems);
        reserve::report(view, &mut problems);
        let subnet = |(name, plan): (&String, &SubnetPlan)| (name.clone(), plan.subnet.clone());
        let mut limits = Map::new();
        for (name, namespace) in &view.namespaces {
            let object = ObjectRef::cluster(Kind::Namespace, name);
            if let Some(found) = qos::of_namespace(&object, &namespace.meta, &mut problems) {
                limits.insert(name.clone(), found);
            }
            policy::log::of_namespace(&object, &namespace.meta, &mut problems);
        }
        let told = std::mem::take(&mut self.desired);
        self.desired = DesiredState {
            nodes,
            provider_networks,
            subnets: self.plans.iter().map(subnet).collect(),
            namespace_limits: limits,
            policy_log_rate: self.settings.policy_log_rate,
            problems: told.problems,
            ..DesiredState::default()
        };
        self.desired.hosts = edge::hosts(view, &self.desired, &mut problems);
        self.desired.nat_outgoing = edge::nat_outgoing(view, &self.desired, &mut problems);
        self.problems.set(Finder::Frame, problems);
    }

    /// How full the subnets and pools are in which something differs from that state.
    fn count(&mut self, all: bool, before: &State) {
        let state = &self.state;
        let mut subnets: BTreeSet<&str> = BTreeSet::new();
        if all {
            subnets.extend(self.plans.keys().map(String::as_str));
        }
        for change in changes(&before.pods, &state.pods).chain(changes(&before.kept, &state.kept)) {
            let both = change.before.into_iter().chain(change.after);
            subnets.extend(both.map(|held| held.subnet.as_str()));
        }
        for change in changes(&before.vips, &state.vips) {
            let both = change.before.into_iter().chain(change.after);
            subnets.extend(both.map(|held| held.subnet.as_str()));
        }
        for name in &subnets {
            if let Some(plan) = self.plans.get(*name) {
                let of = |pool: &Pool| usage_of(state, name, pool.family(), pool.given(), None);
                let usage = plan.pools.iter().map(of).collect();
                self.desired.usage.set(name.to_string(), Some(usage));
            }
        }
        for (name, pool) in &self.pools {
            if !subnets.contains(pool.subnet.as_str()) {
                continue;
            }
            let of = |family: Family| {
                let (all, given) = (pool.ranges(family), pool.given(family));
                (!all.is_empty()).then(|| usage_of(state, &pool.subnet, family, given, Some(all)))
            };
            let families = [Family::V4, Family::V6].into_iter().filter_map(of);
            self.desired
                .ip_pools
                .set(name.clone(), Some(families.collect()));
        }
        let (kept, vips) = match all {
            true => (Map::new(), Map::new()),
            false => (before.kept.clone(), before.vips.clone()),
        };
        for change in changes(&kept, &state.kept) {
            let now = change.after.map(reserve::kept);
            self.desired.kept.set(change.key.clone(), now);
        }
        for change in changes(&vips, &state.vips) {
            let now = change.after.map(reserve::kept);
            self.desired.vips.set(change.key.clone(), now);
        }
    }

    /// Services that differ, or whose endpoints do; gives those.
    fn serve(
        &mut self,
        before: Option<&ClusterView>,
        view: &ClusterView,
        desired: &DesiredState,
    ) -> BTreeSet<NamespacedName> {
        let none = (ClusterView::default(), Map::new());
        let (then, pods) = match before {
            Some(before) => (before, &desired.pods),
            None => {
                self.services = services::Index::default();
                (&none.0, &none.1)
            }
        };
        let index = &mut self.services;
        for name in different(&then.endpoint_slices, &view.endpoint_slices) {
            let mut problems = Vec::new();
            index.slice(then, view, name, &mut problems);
            self.problems.set(Finder::Slice(name.clone()), problems);
        }
        for name in different(&then.services, &view.services) {
            index.service(then, view, name);
        }
        for change in changes(&then.pods, &view.pods) {
            index.labels(change.key, change.before, change.after);
        }
        for change in changes(pods, &self.desired.pods) {
            index.addresses(view, change.key, change.before, change.after);
        }
        let due = index.due(view);
        for (name, service, problems) in services::compute(view, &self.desired, index, &due) {
            self.problems.set(Finder::Service(name.clone()), problems);
            self.desired.services.set(name, service);
        }
        due
    }

    /// What Services are reached by besides their cluster IPs.
    fn expose(
        &mut self,
        before: Option<&ClusterView>,
        view: &ClusterView,
        desired: &DesiredState,
        changed: &BTreeSet<NamespacedName>,
    ) {
        let whole = match before {
            Some(before) => self.edge.is_concerned(before, view, desired, &self.desired),
            None => true,
        };
        if whole {
            let mut problems = Vec::new();
            let (index, frontends) =
                edge::frontends(view, &self.desired, &mut self.state.balanced, &mut problems);
            self.edge = index;
            let gone = different(&self.desired.frontends, &frontends).cloned();
            for name in gone.collect::<Vec<_>>() {
                let now = frontends.get(&name).cloned();
                self.desired.frontends.set(name, now);
            }
            self.problems.set(Finder::Frontends, problems);
            return;
        }
        for name in changed {
            if let Some(frontends) = self.edge.elect_again(&self.desired, name) {
                self.desired.frontends.set(name.clone(), Some(frontends));
            }
        }
    }
}

/// True if two views differ in nothing that everything stands on.
fn has_same_frame(before: &ClusterView, view: &ClusterView) -> bool {
    // Whoever adds a kind: what depends on it object by object is followed, all else is named here.
    let ClusterView {
        nodes,
        namespaces,
        pods: _,
        services: _,
        endpoint_slices: _,
        subnets,
        vlans,
        provider_networks,
        ip_pools,
        ips,
        vips,
        stateful_sets: _,
        network_policies: _,
        admin_network_policies: _,
        baseline_admin_network_policies: _,
        cluster_network_policies: _,
        problems: _,
        complete,
    } = view;
    let mut ips = changes(&before.ips, ips);
    *complete == before.complete
        && *nodes == before.nodes
        && *namespaces == before.namespaces
        && *subnets == before.subnets
        && *vlans == before.vlans
        && *provider_networks == before.provider_networks
        && *ip_pools == before.ip_pools
        && *vips == before.vips
        && !ips.any(|ip| {
            ip.before
                .into_iter()
                .chain(ip.after)
                .any(reserve::is_reserved)
        })
}

/// What of `given` is free, and how many are held of `all`, or of the whole subnet.
fn usage_of(
    state: &State,
    subnet: &str,
    family: Family,
    given: &RangeSet,
    all: Option<&RangeSet>,
) -> Usage {
    static NOBODY: LazyLock<Book> = LazyLock::new(Book::default);
    let ledger = state.ledger.0.as_deref();
    let book = ledger.and_then(|ledger| ledger.book(subnet, family));
    let book = book.unwrap_or(&NOBODY);
    let held = book.held();
    Usage {
        family: match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        },
        used: match all {
            Some(all) => book.held_of(all),
            None => book.len() as u128,
        },
        available: given.len().saturating_sub(book.held_of(given)),
        used_ranges: match all {
            Some(all) => held.inside_text(all, family),
            None => held.all_text(family),
        },
        available_ranges: held.outside_text(given, family),
    }
}

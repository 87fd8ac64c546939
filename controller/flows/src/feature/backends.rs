//! Backends: to which endpoint a new connection to a Service port goes, and when a known one has to
//! be chosen anew.
//!
//! Whoever knows that a packet is for a Service port ([`target`] gives the actions) leaves the rest to
//! this file:
//!
//! - a select group commits the connection with an endpoint as its destination, by weight;
//! - with session affinity, or where clients of this node are in several cells, the packet asks
//!   [`Table::Affinity`] and [`Table::ClientCell`], then [`Table::Backend`]: the endpoint that its
//!   client was given before, if that is still one, or a group;
//! - [`Table::StillServing`] looks at connections that only their client keeps alive: UDP, and TCP
//!   that was never answered. Where the endpoint takes none any more, the packet gets its
//!   destination back and is treated as a new one; the commit replaces the connection (`force`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use cluster::backends::{Choice, Client, Nobody, Scope, choose, in_use, is_draining};
use cluster::desired::{Endpoint, Protocol, Service, ServicePort};
use cluster::{Family, Kind, ObjectRef};
use net::GroupId;
use net::key::ct_state::{INV, NEW, RPL, TRK};
use openflow::action::{Ct, CtZone, Learn, LearnSource, LearnSpec, LearnTarget, Nat, NatKind};
use openflow::model::{Bucket, GroupType};
use openflow::{Action, Field, SubField};

use super::conntrack::mark;
use super::service::port_fields;
use crate::fields::{BACKEND, CELL, CROSS, CT_ROUTED, CT_SERVICE, ENDPOINT, ROUTE, ZONE_PODS};
use crate::flow::{Flow, FlowSet, IPV4, IPV6, bits, bucket, copy, family as fields_of, load};
use crate::ids;
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

const REMEMBERED: u16 = 300;
const OF_CELL: u16 = 200;
const OF_PORT: u16 = 100;
const LEARNT: u16 = 100;
const SERVES: u16 = 200;
const MOVES: u16 = 100;
const STAYS: u16 = 50;
const REFUSED: u16 = 100;
/// Above all that [`super::conntrack`] says of known connections.
const LOOK: u16 = 300;

/// What a new connection to a Service port gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An endpoint: to be applied to the packet, as the last thing done to it. The destination is
    /// translated, the connection committed with CT_SERVICE and CT_ROUTED, and the packet goes on
    /// to [`Table::PolicyEgress`] with ROUTE and CROSS.
    Send(Vec<Action>),
    /// None.
    Nobody(Nobody),
}

/// Where flows are for.
#[derive(Clone, Copy, Debug)]
pub enum At<'v> {
    /// Every node: for Services that are not in [`crate::Network::by_place`].
    Everywhere,
    /// One node: for those that are.
    Node(&'v View<'v>),
}

impl<'v> At<'v> {
    fn client(self) -> Client<'v> {
        match self {
            At::Everywhere => Client {
                node: "",
                zone: None,
                cell: None,
            },
            At::Node(view) => Client::on(view.state, &view.node.name),
        }
    }

    /// What one node says of an endpoint stands above what all say.
    fn above(self, priority: u16) -> u16 {
        match self {
            At::Everywhere => priority,
            At::Node(_) => priority + 10,
        }
    }
}

/// What a new connection to a Service port gets, of the family of the address that it was sent to.
/// Groups and flows that the actions refer to go to `set`; asking again adds nothing.
///
/// The flow that applies the actions must not ask for a connection that is new: one that moves to
/// another endpoint comes there in whatever state it is. It may refuse packets that are invalid.
pub fn target(
    at: At<'_>,
    set: &mut FlowSet,
    service: &Service,
    port: &ServicePort,
    family: Family,
    scope: Scope,
) -> Target {
    let client = at.client();
    let choice = choose(service, port, family, scope, &client);
    let cells = match (at, scope) {
        (At::Node(view), Scope::Internal) => {
            cells_that_differ(view, service, port, family, &choice)
        }
        _ => BTreeMap::new(),
    };
    let mut ways = Ways {
        object: ObjectRef::namespaced(Kind::Service, &service.name),
        label: label(service, port, family),
        affinity: service.routing.affinity,
        set,
    };
    let on_the_way = [load(&ROUTE, 1), load(&CROSS, 1)];
    if cells.is_empty() && ways.affinity.is_none() {
        return match choice.nobody() {
            Some(nobody) => Target::Nobody(nobody),
            None => {
                let group = ways.direct(&choice);
                Target::Send(
                    on_the_way
                        .into_iter()
                        .chain([Action::Group(group)])
                        .collect(),
                )
            }
        };
    }
    if choice.nobody().is_some() && cells.values().all(|(_, c)| c.nobody().is_some()) {
        return Target::Nobody(choice.nobody().unwrap_or(Nobody::Here));
    }
    let number = ways.told_apart(port, family, scope, &choice, &cells);
    let mut actions: Vec<_> = on_the_way.into();
    actions.push(load(&BACKEND, number));
    if !cells.is_empty() {
        actions.push(ask(Table::ClientCell));
    }
    if service.routing.affinity.is_some() {
        actions.push(ask(Table::Affinity));
    }
    actions.push(ask(Table::Backend));
    Target::Send(actions)
}

/// What becomes of a connection for which there is no endpoint, as kube-proxy has it.
pub fn nobody(nobody: Nobody, flow: impl FnOnce(&'static str) -> Flow) -> Flow {
    match nobody {
        Nobody::Anywhere => flow("There is no endpoint for it: refused.").goto(Table::Refuse),
        Nobody::Here => flow("Only this node's endpoints count, and it has none: dropped."),
    }
}

/// What the groups of a Service port are called, whatever address leads to it.
fn label(service: &Service, port: &ServicePort, family: Family) -> String {
    format!(
        "Service {} {} {} {family}",
        service.name, port.protocol, port.port
    )
}

type ByCell<'a> = BTreeMap<u32, (&'a str, Choice<'a>)>;

/// Choices for cells of pods of this node, where they are not that of the node.
fn cells_that_differ<'a>(
    view: &'a View<'a>,
    service: &Service,
    port: &'a ServicePort,
    family: Family,
    usual: &Choice<'_>,
) -> ByCell<'a> {
    let mut differ = BTreeMap::new();
    for (cell, number) in &view.cells {
        let client = Client {
            cell: Some(cell),
            ..Client::on(view.state, &view.node.name)
        };
        let choice = choose(service, port, family, Scope::Internal, &client);
        if choice.variant != usual.variant {
            differ.insert(*number, (*cell, choice));
        }
    }
    differ
}

/// Groups and flows of one Service port.
struct Ways<'s> {
    object: ObjectRef,
    label: String,
    affinity: Option<u32>,
    set: &'s mut FlowSet,
}

impl Ways<'_> {
    /// The group of a choice; each bucket brings the connection to its endpoint.
    fn direct(&mut self, choice: &Choice<'_>) -> GroupId {
        let label = with_variant(&self.label, &choice.variant);
        let buckets = choice.backends().map(|(endpoint, weight)| Bucket {
            weight,
            ..bucket(vec![commit(endpoint)])
        });
        let buckets = buckets.collect();
        self.set.add_group(GroupType::Select, label, buckets)
    }

    /// The same by way of [`Table::Backend`]; gives the number that BACKEND is to have.
    fn told_apart(
        &mut self,
        port: &ServicePort,
        family: Family,
        scope: Scope,
        choice: &Choice<'_>,
        cells: &ByCell<'_>,
    ) -> u32 {
        let kept = self
            .affinity
            .map_or(String::new(), |s| format!(", kept for {s} s"));
        let from = match scope {
            Scope::Internal => "from inside",
            Scope::External => "from outside",
        };
        let base = format!("{} {from}{kept}", self.label);
        let endpoints: Vec<_> = port
            .endpoints
            .iter()
            .filter(|e| Family::of(e.ip) == family)
            .collect();
        let names: Vec<_> = endpoints
            .iter()
            .map(|e| format!("{}:{}", e.ip, e.port))
            .collect();
        let numbers = ids::number(
            names.iter().map(String::as_str),
            1,
            ENDPOINT.sub().ones() as u32,
            Default::default(),
        );
        let number_of = |e: &Endpoint| {
            let name = format!("{}:{}", e.ip, e.port);
            numbers.get(name.as_str()).copied()
        };
        let usual = self.group_of(base.clone(), choice, &number_of);
        let origin = Origin::object(Feature::Backends, &self.object);
        let ethertype = ethertype(family);
        let flow = |priority, intent| {
            let flow = Flow::new(Table::Backend, priority, intent).ether(ethertype);
            flow.is(&BACKEND, usual.0)
        };
        for (cell, (name, choice)) in cells {
            let group = self.group_of(format!("{base} for cell {name}"), choice, &number_of);
            let intent = "A connection from that cell gets an endpoint for it.";
            let flow = flow(OF_CELL, intent).is(&CELL, *cell);
            self.set.add(&origin, flow.act(Action::Group(group)));
        }
        let intent = "A connection gets an endpoint.";
        self.set
            .add(&origin, flow(OF_PORT, intent).act(Action::Group(usual)));
        let Some(seconds) = self.affinity else {
            return usual.0;
        };
        let mut chosen: Vec<_> = cells
            .values()
            .map(|(_, c)| c)
            .chain([choice])
            .flat_map(Choice::backends)
            .collect();
        chosen.sort();
        chosen.dedup_by_key(|(endpoint, _)| (endpoint.ip, endpoint.port));
        for (endpoint, _) in chosen {
            let Some(number) = number_of(endpoint) else {
                continue;
            };
            let intent = "A connection goes where its client was last, and the client is remembered from now.";
            let flow = flow(REMEMBERED, intent).is(&ENDPOINT, number);
            let flow = flow
                .act(remember(&self.object, family, seconds))
                .act(commit(endpoint));
            self.set.add(&origin, flow);
        }
        usual.0
    }

    /// A group whose buckets leave the rest to [`Table::Backend`] if clients are remembered.
    fn group_of(
        &mut self,
        label: String,
        choice: &Choice<'_>,
        number_of: &dyn Fn(&Endpoint) -> Option<u32>,
    ) -> GroupId {
        let remembers = self.affinity.is_some();
        let buckets = choice.backends().filter_map(|(endpoint, weight)| {
            let actions = if remembers {
                vec![load(&ENDPOINT, number_of(endpoint)?), ask(Table::Backend)]
            } else {
                vec![commit(endpoint)]
            };
            Some(Bucket {
                weight,
                ..bucket(actions)
            })
        });
        let mut buckets: Vec<_> = buckets.collect();
        if choice.nobody() == Some(Nobody::Anywhere) {
            buckets.push(bucket(vec![Action::Reject]));
        }
        self.set.add_group(GroupType::Select, label, buckets)
    }
}

fn with_variant(label: &str, variant: &str) -> String {
    if variant.is_empty() {
        label.into()
    } else {
        format!("{label} {variant}")
    }
}

/// Looks a table up and comes back.
fn ask(table: Table) -> Action {
    Action::Resubmit {
        port: None,
        table: Some(table.id()),
        ct: false,
    }
}

/// Commits the connection with the endpoint as its destination, in the place of one that had another;
/// what follows routes it.
fn commit(endpoint: &Endpoint) -> Action {
    let nat = Action::Nat(Nat {
        kind: NatKind::Dst,
        addresses: Some((endpoint.ip, endpoint.ip)),
        ports: Some((endpoint.port, endpoint.port)),
        persistent: false,
        hash: false,
        random: false,
    });
    Action::Ct(Ct {
        commit: true,
        force: true,
        zone: CtZone::Number(ZONE_PODS.number),
        table: Some(Table::PolicyEgress.id()),
        alg: 0,
        actions: vec![nat, mark(&[&CT_SERVICE, &CT_ROUTED])],
    })
}

fn ethertype(family: Family) -> u16 {
    match family {
        Family::V4 => IPV4,
        Family::V6 => IPV6,
    }
}

/// Leaves a flow behind by which the client's next connection finds the endpoint, until the client
/// has begun none for so long.
fn remember(object: &ObjectRef, family: Family, seconds: u32) -> Action {
    let source = match family {
        Family::V4 => Field::Ipv4Src,
        Family::V6 => Field::Ipv6Src,
    };
    let the_same = |field: SubField| LearnSpec {
        src: LearnSource::Field(field),
        dst: LearnTarget::Match(field),
    };
    Action::Learn(Box::new(Learn {
        idle_timeout: u16::try_from(seconds).unwrap_or(u16::MAX),
        hard_timeout: 0,
        fin_idle_timeout: 0,
        fin_hard_timeout: 0,
        priority: LEARNT,
        cookie: Origin::object(Feature::Affinity, object).cookie,
        flags: 0,
        table: Table::Affinity.id(),
        limit: 0,
        result: None,
        specs: vec![
            LearnSpec {
                src: LearnSource::Value {
                    value: ethertype(family).into(),
                    bits: 16,
                },
                dst: LearnTarget::Match(SubField::whole(Field::EthType)),
            },
            the_same(BACKEND.sub()),
            the_same(SubField::whole(source)),
            LearnSpec {
                src: LearnSource::Field(ENDPOINT.sub()),
                dst: LearnTarget::Load(ENDPOINT.sub()),
            },
        ],
    }))
}

/// Flows of [`Table::StillServing`] about the endpoints of one Service.
pub fn of_service(at: At<'_>, service: &Service, set: &mut FlowSet) {
    // Several Services may have one endpoint, and say the same of it.
    let origin = Origin::table(Feature::Backends, Table::StillServing);
    let client = at.client();
    for port in &service.ports {
        if port.protocol == Protocol::Udp {
            for endpoint in in_use(service, port, &client) {
                set.add(&origin, serves(at, endpoint, port.protocol));
            }
        } else if port.endpoints.iter().any(is_draining) {
            let in_use = in_use(service, port, &client);
            let gone = |e: &&Endpoint| is_draining(e) && in_use.binary_search(e).is_err();
            for endpoint in port.endpoints.iter().filter(gone) {
                let priority = at.above(SERVES);
                let of = (port.protocol, endpoint.port);
                set.add(&origin, moves(priority, endpoint.ip, Some(of)));
            }
        }
    }
}

/// Flows of [`Table::ClientCell`].
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    for (pod, port) in view.local_pods() {
        let number = pod
            .pod
            .cell
            .as_deref()
            .and_then(|cell| view.cells.get(cell));
        let Some(number) = number else { continue };
        let origin = Origin::object(Feature::Backends, &pod.object());
        let intent = "The pod is in a cell of its own.";
        let flow = Flow::new(Table::ClientCell, OF_PORT, intent).when(Field::InPort, port.0);
        set.add(&origin, flow.load(&CELL, *number));
    }
}

/// Flows of [`Table::Refuse`], and of [`Table::ConntrackState`] and [`Table::StillServing`] about
/// connections that may have to move.
pub fn everywhere(set: &mut FlowSet) {
    // An invalid segment is no question; a reset in answer to it would end a connection that lives.
    let intent = "Who begins a connection that nobody serves is told so.";
    let refused = Flow::new(Table::Refuse, REFUSED, intent);
    let refused = refused.ct_state(TRK, INV).act(Action::Reject);
    set.add(&Origin::table(Feature::Backends, Table::Refuse), refused);
    let origin = Origin::table(Feature::Backends, Table::StillServing);
    for (ethertype, any) in [(IPV4, UNSPECIFIED_V4), (IPV6, UNSPECIFIED_V6)] {
        let flow = |protocol: Protocol, intent| {
            let flow = Flow::new(Table::ConntrackState, LOOK, intent).is(&CT_SERVICE, 1);
            let flow = flow
                .ether(ethertype)
                .when(Field::IpProto, protocol.number());
            flow.goto(Table::StillServing)
        };
        let intent = "A Service's datagrams go on to their endpoint if it still serves.";
        set.add(&origin, flow(Protocol::Udp, intent).ct_state(TRK, RPL));
        set.add(&origin, moves(MOVES, any, None));
        for protocol in [Protocol::Tcp, Protocol::Sctp] {
            let intent = "A Service's connection that was not answered yet may still be moved.";
            set.add(&origin, flow(protocol, intent).ct_state(TRK | NEW, RPL));
            let intent = "Its endpoint takes connections: it goes on.";
            let stays = known(Flow::new(Table::StillServing, STAYS, intent));
            let number = protocol.number();
            set.add(&origin, stays.ether(ethertype).when(Field::IpProto, number));
        }
    }
}

const UNSPECIFIED_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
const UNSPECIFIED_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);

/// On its way as [`super::conntrack`] sends a Service's connections.
fn known(flow: Flow) -> Flow {
    flow.load(&ROUTE, 1)
        .load(&CROSS, 1)
        .goto(Table::PolicyEgress)
}

fn serves(at: At<'_>, endpoint: &Endpoint, protocol: Protocol) -> Flow {
    let (_, to_port) = port_fields(protocol);
    let intent = "This endpoint serves: its clients stay.";
    known(Flow::new(Table::StillServing, at.above(SERVES), intent))
        .ip_dst(endpoint.ip)
        .when(Field::IpProto, protocol.number())
        .when(to_port, endpoint.port)
}

/// Gives packets for one endpoint, or for any that is not known, their destination back.
fn moves(priority: u16, address: IpAddr, of: Option<(Protocol, u16)>) -> Flow {
    let (ethertype, _, to) = fields_of(address);
    let intent = match of {
        Some(_) => "This endpoint drains: what it has not answered is brought to another.",
        None => "The endpoint is gone or drains: its clients are brought to another.",
    };
    let (protocol, port) = of.unwrap_or((Protocol::Udp, 0));
    let (_, to_port) = port_fields(protocol);
    let original = match address {
        IpAddr::V4(_) => Field::CtNwDst,
        IpAddr::V6(_) => Field::CtIpv6Dst,
    };
    // The original tuple is there for what is valid only.
    let mut flow = Flow::new(Table::StillServing, priority, intent)
        .ct_state(TRK, INV)
        .ether(ethertype)
        .when(Field::IpProto, protocol.number());
    if of.is_some() {
        flow = flow.when(to, bits(address)).when(to_port, port);
    }
    flow.act(copy(original, to))
        .act(copy(Field::CtTpDst, to_port))
        .goto(Table::Service)
}

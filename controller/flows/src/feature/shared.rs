//! What is the same on every node, object by object: it is compiled once, however many nodes there
//! are, and anew only when its object changes.

use cluster::desired::{DesiredState, Subnet};
use cluster::{Kind, NamespacedName, ObjectRef};

use super::{
    announce, arp, backends, conntrack, edge, frontend, hairpin, host, l2, nd, pipeline, routing,
    service, subnet_rules, tunnel,
};
use crate::blocks::{Block, BlockKey};
use crate::flow::FlowSet;
use crate::network::{Network, SubnetNumbers};
use crate::origin::{Feature, Origin};

/// One object, or one block of objects, and everything that every node has for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Piece {
    /// The way through the tables, subnets, nodes.
    Frame,
    /// Pods of neighbouring addresses.
    Block(BlockKey),
    /// A Service.
    Service(NamespacedName),
}

/// A block and its surroundings.
#[derive(Debug)]
pub struct Place<'a> {
    /// Which block.
    pub key: &'a BlockKey,
    /// What its pods say.
    pub block: Block<'a>,
    /// Its subnet.
    pub subnet: &'a Subnet,
    /// Its subnet's numbers.
    pub numbers: SubnetNumbers,
}

impl Place<'_> {
    /// The origin of what holds for the whole block: its subnet.
    pub fn origin(&self, feature: Feature) -> Origin {
        let subnet = ObjectRef::cluster(Kind::Subnet, &self.subnet.name);
        Origin::object(feature, &subnet)
    }
}

/// A pod as an object.
pub fn object(pod: &NamespacedName) -> ObjectRef {
    ObjectRef::namespaced(Kind::Pod, pod)
}

/// Every piece that a state has.
pub fn pieces(state: &DesiredState, network: &Network) -> Vec<Piece> {
    let blocks = network.blocks.keys().cloned().map(Piece::Block);
    let services = state.services.keys().cloned().map(Piece::Service);
    [Piece::Frame]
        .into_iter()
        .chain(blocks)
        .chain(services)
        .collect()
}

/// The flows, groups and labels of one piece; nothing where its object is gone.
pub fn compile(state: &DesiredState, network: &Network, piece: &Piece, set: &mut FlowSet) {
    match piece {
        Piece::Frame => {
            pipeline::flows(set);
            conntrack::everywhere(set);
            backends::everywhere(set);
            hairpin::everywhere(set);
            routing::everywhere(state, network, set);
            l2::everywhere(state, network, set);
            tunnel::everywhere(state, network, set);
            subnet_rules::everywhere(state, set);
            host::everywhere(state, network, set);
            edge::everywhere(state, set);
        }
        Piece::Block(key) => {
            let numbers = network.subnets.get(&key.subnet).copied();
            let subnet = state.subnets.get(&key.subnet).zip(numbers);
            let Some(((subnet, numbers), block)) = subnet.zip(network.blocks.get(key)) else {
                return;
            };
            let place = Place {
                key,
                block,
                subnet,
                numbers,
            };
            arp::block(&place, set);
            nd::block(&place, set);
            routing::block(&place, set);
            l2::block(&place, set);
        }
        Piece::Service(name) => {
            if let Some(service) = state.services.get(name) {
                service::everywhere(service, network, set);
                if let Some(frontends) = state.frontends.get(name) {
                    frontend::everywhere(service, frontends, network, set);
                    announce::everywhere(service, frontends, network, set);
                }
            }
        }
    }
}

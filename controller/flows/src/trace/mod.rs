//! What would become of a connection's first packet: the flows that nodes shall have, as
//! [`crate::compile`] gives them, run on a header. Each step is a flow with its sentence of intent
//! and its object, so the answer cannot say other than what switches are told.
//!
//! Connections that switches already know, what they have learnt, rates and time are not looked at.

mod ask;
mod machine;
mod track;
mod way;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use cluster::DesiredState;
use cluster::desired::SubnetKind;
use cluster::query::{End, Path, Trace};
use net::PortNo;

pub use ask::{Ask, find_pod};

use crate::view::{HOST_PORT, Ports, TUNNEL_PREFIX};
use machine::{Choices, Switch};

/// Ways that are told, where there are more endpoints than that.
const MOST_PATHS: usize = 16;

/// A node that a packet has met, and what is to be said of it.
type Known = (Rc<Switch>, Option<String>);

/// Traces packets through one state; nodes are compiled as packets meet them.
pub struct Tracer<'a> {
    state: &'a DesiredState,
    ports: &'a dyn Fn(&str) -> Option<Ports>,
    switches: RefCell<BTreeMap<String, Known>>,
    notes: RefCell<Vec<String>>,
}

impl<'a> Tracer<'a> {
    /// `ports` are those of a node's switch; none: it is not connected.
    pub fn new(state: &'a DesiredState, ports: &'a dyn Fn(&str) -> Option<Ports>) -> Self {
        Tracer {
            state,
            ports,
            switches: RefCell::default(),
            notes: RefCell::default(),
        }
    }

    /// Traces a packet.
    ///
    /// # Errors
    /// What does not exist, with what exists and is like it.
    pub fn trace(&self, ask: &Ask) -> Result<Trace, String> {
        self.notes.borrow_mut().clear();
        let packet = ask::packet(self.state, ask)?;
        let mut trace = Trace {
            from: packet.from.clone(),
            to: packet.to.clone(),
            packet: packet.text(),
            backends: packet.backends.clone(),
            ..Trace::default()
        };
        let mut choices = Some(Choices::default());
        while let Some(mut now) = choices.take() {
            if trace.paths.len() == MOST_PATHS {
                trace.more_paths = packet.candidates().saturating_sub(MOST_PATHS).max(1);
                break;
            }
            trace.paths.push(way::follow(self, &packet, &mut now));
            choices = now.next();
        }
        trace.delivered = trace.paths.iter().all(is_delivered);
        trace.verdict = verdict(&trace.paths);
        trace.notes = packet.notes;
        trace.notes.append(&mut self.notes.borrow_mut());
        Ok(trace)
    }

    fn switch(&self, node: &str) -> Rc<Switch> {
        if let Some((known, note)) = self.switches.borrow().get(node) {
            self.note(note.clone());
            return known.clone();
        }
        let known = (self.ports)(node);
        let note = known
            .is_none()
            .then(|| format!("Node {node} is not connected: traced by the flows it is to get"));
        self.note(note.clone());
        let mut ports = known.unwrap_or_else(|| self.usual_ports(node));
        self.add_missing_pods(node, &mut ports);
        let set = crate::compile(self.state, node, &ports);
        let switch = Rc::new(Switch::new(node, set, ports));
        let mut switches = self.switches.borrow_mut();
        switches.insert(node.into(), (switch.clone(), note));
        switch
    }

    fn note(&self, text: Option<String>) {
        let mut notes = self.notes.borrow_mut();
        if let Some(text) = text.filter(|text| !notes.contains(text)) {
            notes.push(text);
        }
    }

    /// What the switch of a node has whose pods reach others.
    fn usual_ports(&self, node: &str) -> Ports {
        let providers = self.state.provider_networks.values();
        let uplinks = providers.filter_map(|p| p.uplinks.get(node).cloned());
        let usual = [format!("{TUNNEL_PREFIX}0"), HOST_PORT.to_string()];
        (1..)
            .map(PortNo)
            .zip(usual.into_iter().chain(uplinks))
            .map(|(n, name)| (name, n))
            .collect()
    }

    /// A pod whose port has not come yet is traced as if it had.
    fn add_missing_pods(&self, node: &str, ports: &mut Ports) {
        let most = ports
            .values()
            .map(|port| port.0)
            .filter(|port| *port < 0xff00)
            .max();
        let mut free = most.unwrap_or(0) + 1;
        for pod in self.state.pods.values().filter(|pod| pod.node == node) {
            ports.entry(pod.port.clone()).or_insert_with(|| {
                free += 1;
                PortNo(free - 1)
            });
        }
    }
}

fn is_delivered(path: &Path) -> bool {
    path.ends.iter().any(End::is_delivery)
}

/// True if a subnet is the VLAN of a provider network.
fn is_vlan(kind: &SubnetKind, provider: &str, tag: Option<u16>) -> bool {
    match kind {
        SubnetKind::Underlay { provider: p, vlan } => {
            p == provider && vlan.map(|vlan| vlan.get()) == tag
        }
        SubnetKind::Overlay { .. } => false,
    }
}

/// What becomes of it, in a sentence.
fn verdict(paths: &[Path]) -> String {
    let mut delivered: Vec<String> = Vec::new();
    let mut lost: Vec<String> = Vec::new();
    for path in paths {
        let good = path.ends.iter().filter(|end| end.is_delivery());
        let good: Vec<String> = good.map(in_words).collect();
        if good.is_empty() {
            lost.extend(path.ends.iter().map(in_words));
        }
        delivered.extend(good);
    }
    for list in [&mut delivered, &mut lost] {
        list.sort();
        list.dedup();
    }
    match (delivered.len(), lost.len()) {
        (0, 0) => "dropped: nothing is sent anywhere".into(),
        (_, 0) if delivered.len() > 3 => format!("one of {} gets it", delivered.len()),
        (_, 0) => delivered.join(", or "),
        (0, _) => lost.join(", or "),
        _ => format!(
            "{}; but also {}",
            delivered.join(", or "),
            lost.join(", or ")
        ),
    }
}

/// An end in words.
pub fn in_words(end: &End) -> String {
    match end {
        End::Pod { pod, node, .. } => format!("Pod {pod} on {node} gets it"),
        End::Node { node, .. } => format!("the kernel of Node {node} gets it"),
        End::Outside {
            node, port, vlan, ..
        } => {
            let tag = vlan.map_or("untagged".into(), |tag| format!("VLAN {tag}"));
            format!("it leaves {node} by {port}, {tag}")
        }
        End::Answered { node, .. } => format!("{node} answers it"),
        End::Dropped {
            node,
            table,
            object,
            why,
        } => {
            format!("dropped on {node} in {table} by {object}: {why}")
        }
        End::Unclear { node, why } => format!("not known on {node}: {why}"),
    }
}

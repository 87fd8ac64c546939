//! A flow, group, meter or limit in the form in which it is sent, and what tells it from another.
//!
//! What thousands of flows are compared by, and what is kept of them for each switch, is a number
//! for what they are (table, priority and match; or the group's number) and a number for what they
//! do. Both are hashes of 64 bits: of a million flows, two share a number once in 10^7 clusters.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use flows::flow::{FlowId, FlowSet, Group, Impaired, Meter, ZoneLimit};
use net::{GroupId, MeterId};
use openflow::model::{
    Band, Bucket, FlowMod, GroupCommand, GroupMod, GroupType, MeterCommand, MeterMod,
};
use openflow::msg::{BUNDLE_ATOMIC, BUNDLE_ORDERED, BundleAdd, Impairment, Message};
use openflow::{Action, Instructions, wire};

use crate::canonical;
use crate::connection::VERSION;

/// The bundle that every session uses: one is open at a time.
pub(crate) const BUNDLE: u32 = 0x5c;
/// Its flags.
pub(crate) const BUNDLE_FLAGS: u16 = BUNDLE_ATOMIC | BUNDLE_ORDERED;

/// Transaction numbers with this bit belong to modifications, and are always the same for the same
/// one: then its bytes are the same for every switch.
const OF_MODIFICATION: u32 = 0x8000_0000;

/// Bytes before the message inside a bundle-add of OpenFlow 1.3 (ONF extension 230: header,
/// experimenter and its type, bundle, padding, flags).
const BUNDLE_ADD_LEN: usize = 24;
/// Where a flow-mod has its command (OpenFlow 1.3.5, 7.3.4.1).
const FLOW_COMMAND: usize = 25;
/// Where group-mod and meter-mod have the low byte of theirs (7.3.4.2 and 7.3.4.3).
const GROUP_COMMAND: usize = 9;

/// Which flow, group or meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Meter(u32),
    /// The limit of a zone of connections.
    Zone(u16),
    /// What a port does to what it sends.
    Impairment(u32),
    Group(u32),
    Flow(u64),
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Add,
    Modify,
    Delete,
}

/// A flow, group or meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub key: Key,
    /// What it does.
    pub digest: u64,
    /// Of a flow.
    pub cookie: u64,
    /// It has timeouts or flags, which ours never have.
    unlike: bool,
    /// A group that refers to others.
    pub chained: bool,
    /// Of a group or meter: the object it comes from.
    pub object: Box<str>,
    /// The bundle-add of the message that adds it.
    wire: Box<[u8]>,
}

impl Entry {
    /// The key of a flow.
    pub fn key_of(id: &FlowId) -> Key {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        Key::Flow(hasher.finish())
    }

    /// A flow.
    pub fn flow(id: &FlowId, cookie: u64, instructions: &Instructions) -> Result<Self, String> {
        let key = Entry::key_of(id);
        let Key::Flow(number) = key else {
            return Err("it has no number".into());
        };
        let instructions = canonical::instructions(instructions);
        let message = Message::FlowMod(FlowMod {
            cookie,
            ..FlowMod::add(id.table, id.priority, id.matching.clone(), instructions)
        });
        Entry::new(key, number, cookie, "", message)
    }

    /// A group.
    pub fn group(
        id: GroupId,
        kind: GroupType,
        buckets: &[Bucket],
        label: &str,
    ) -> Result<Self, String> {
        let message = Message::GroupMod(GroupMod {
            command: GroupCommand::Add,
            kind,
            group: id,
            command_bucket_id: 0,
            buckets: canonical::buckets(kind, buckets),
            selection: None,
            properties: Vec::new(),
        });
        let number = u64::from(id.0);
        let entry = Entry::new(Key::Group(id.0), number, 0, object_of(label), message)?;
        let refers = |action: &Action| matches!(action, Action::Group(_));
        Ok(Entry {
            chained: buckets.iter().any(|b| b.actions.iter().any(refers)),
            ..entry
        })
    }

    /// A meter.
    pub fn meter(id: MeterId, flags: u16, bands: &[Band], label: &str) -> Result<Self, String> {
        let message = Message::MeterMod(MeterMod {
            command: MeterCommand::Add,
            flags,
            meter: id,
            bands: bands.to_vec(),
        });
        let number = u64::from(id.0) | 1 << 32;
        Entry::new(Key::Meter(id.0), number, 0, object_of(label), message)
    }

    /// The limit of a zone of connections.
    pub fn zone(limit: openflow::msg::ZoneLimit, label: &str) -> Result<Self, String> {
        let number = u64::from(limit.zone) | 2 << 32;
        let message = Message::ZoneLimits(vec![limit]);
        Entry::new(Key::Zone(limit.zone), number, 0, object_of(label), message)
    }

    /// What a port does to what it sends.
    pub fn impairment(impairment: Impairment, label: &str) -> Result<Self, String> {
        let port = impairment.port.0;
        let number = u64::from(port) | 3 << 32;
        let message = Message::Impairments(vec![impairment]);
        Entry::new(Key::Impairment(port), number, 0, object_of(label), message)
    }

    fn new(
        key: Key,
        number: u64,
        cookie: u64,
        object: &str,
        message: Message,
    ) -> Result<Self, String> {
        let xid = OF_MODIFICATION | (number ^ (number >> 32) << 28 ^ number >> 32) as u32;
        let wire = in_bundle(xid, message)?;
        let mut hasher = DefaultHasher::new();
        wire.hash(&mut hasher);
        Ok(Entry {
            key,
            digest: hasher.finish(),
            cookie,
            unlike: false,
            chained: false,
            object: object.into(),
            wire: wire.into(),
        })
    }

    /// The same, but unlike any of ours: it has a timeout, for instance.
    pub fn unlike(mut self) -> Self {
        self.digest = !self.digest;
        self.unlike = true;
        self
    }

    /// True if it is unlike any of ours.
    pub fn is_unlike(&self) -> bool {
        self.unlike
    }
}

fn in_bundle(xid: u32, message: Message) -> Result<Vec<u8>, String> {
    let add = Message::BundleAdd(BundleAdd {
        bundle: BUNDLE,
        flags: BUNDLE_FLAGS,
        xid,
        message: Box::new(message),
        properties: Vec::new(),
    });
    let mut bytes = Vec::new();
    wire::encode(VERSION, xid, &add, &mut bytes)
        .map_err(|error| format!("it cannot be written in OpenFlow 1.3: {error}"))?;
    Ok(bytes)
}

/// One modification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub(crate) act: Act,
    pub(crate) entry: Arc<Entry>,
}

impl Step {
    pub(crate) fn new(act: Act, entry: &Arc<Entry>) -> Self {
        Step {
            act,
            entry: entry.clone(),
        }
    }

    /// Its transaction number, the same whatever is done.
    pub(crate) fn xid(&self) -> u32 {
        self.entry.wire.get(4..8).map_or(0, |bytes| {
            bytes
                .iter()
                .fold(0, |xid, byte| xid << 8 | u32::from(*byte))
        })
    }

    /// Appends it as a part of the bundle.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self.act {
            Act::Add => out.extend_from_slice(&self.entry.wire),
            Act::Modify => {
                let command = match self.entry.key {
                    // OFPFC_MODIFY_STRICT keeps counters and age.
                    Key::Flow(_) => Some((FLOW_COMMAND, 2)),
                    // OFPGC_MODIFY, OFPMC_MODIFY
                    Key::Group(_) | Key::Meter(_) => Some((GROUP_COMMAND, 1)),
                    // What is set replaces what was.
                    Key::Zone(_) | Key::Impairment(_) => None,
                };
                let start = out.len();
                out.extend_from_slice(&self.entry.wire);
                if let Some((at, command)) = command
                    && let Some(byte) = out.get_mut(start + BUNDLE_ADD_LEN + at)
                {
                    *byte = command;
                }
            }
            // What was written can be deleted: the message is shorter.
            Act::Delete => {
                if let Ok(bytes) = in_bundle(self.xid(), self.message()) {
                    out.extend_from_slice(&bytes);
                }
            }
        }
    }

    /// Appends it by itself.
    pub(crate) fn write_bare(&self, out: &mut Vec<u8>) {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        out.extend(bytes.into_iter().skip(BUNDLE_ADD_LEN));
    }

    /// What is sent.
    pub fn message(&self) -> Message {
        let bare = self.entry.wire.get(BUNDLE_ADD_LEN..).unwrap_or_default();
        // We wrote it, so it can be read.
        let mut message = wire::decode(VERSION, bare).unwrap_or(Message::BarrierRequest);
        match (self.act, &mut message) {
            (Act::Add, _) => {}
            (Act::Modify, Message::FlowMod(m)) => {
                m.command = openflow::model::FlowCommand::ModifyStrict;
            }
            (Act::Modify, Message::GroupMod(m)) => m.command = GroupCommand::Modify,
            (Act::Modify, Message::MeterMod(m)) => m.command = MeterCommand::Modify,
            (Act::Delete, Message::FlowMod(m)) => {
                *m = FlowMod::delete_strict(m.table, m.priority, m.matching.clone());
            }
            (Act::Delete, Message::GroupMod(m)) => {
                m.command = GroupCommand::Delete;
                m.kind = GroupType::All;
                m.buckets.clear();
            }
            (Act::Delete, Message::MeterMod(m)) => {
                m.command = MeterCommand::Delete;
                m.flags = 0;
                m.bands.clear();
            }
            (Act::Delete, Message::ZoneLimits(zones)) => {
                for zone in zones {
                    (zone.limit, zone.owner) = (None, 0);
                }
            }
            (Act::Delete, Message::Impairments(ports)) => {
                for impairment in ports {
                    *impairment = Impairment {
                        port: impairment.port,
                        ..Impairment::default()
                    };
                }
            }
            _ => {}
        }
        message
    }
}

/// The entries of a set, and what of it cannot be sent: object and why.
pub(crate) fn entries(set: &FlowSet) -> (Vec<Arc<Entry>>, Vec<(String, String)>) {
    let mut entries = Vec::with_capacity(set.flows.len() + set.groups.len() + set.meters.len());
    let mut problems = Vec::new();
    let mut keep = |object: &str, entry: Result<Entry, String>| match entry {
        Ok(entry) => entries.push(Arc::new(entry)),
        Err(why) => problems.push((object.to_string(), why)),
    };
    for (
        id,
        Meter {
            flags,
            bands,
            label,
        },
    ) in &set.meters
    {
        keep(object_of(label), Entry::meter(*id, *flags, bands, label));
    }
    for (
        zone,
        ZoneLimit {
            limit,
            owner,
            label,
        },
    ) in &set.zone_limits
    {
        let limit = openflow::msg::ZoneLimit {
            zone: *zone,
            limit: Some(*limit),
            owner: *owner,
        };
        keep(object_of(label), Entry::zone(limit, label));
    }
    for (port, impaired) in &set.impairments {
        let Impaired { impairment, label } = impaired;
        debug_assert_eq!(*port, impairment.port);
        keep(object_of(label), Entry::impairment(*impairment, label));
    }
    for (
        id,
        Group {
            kind,
            buckets,
            label,
        },
    ) in &set.groups
    {
        keep(object_of(label), Entry::group(*id, *kind, buckets, label));
    }
    for (id, flow) in &set.flows {
        let label = set.labels.get(&flow.cookie).map_or("", String::as_str);
        keep(label, Entry::flow(id, flow.cookie, &flow.instructions));
    }
    (entries, problems)
}

/// The object at the front of a group's or meter's label, `Kind namespace/name for what`.
pub(crate) fn object_of(label: &str) -> &str {
    let mut spaces = label.match_indices(' ').map(|(at, _)| at);
    let end = spaces.nth(1).unwrap_or(label.len());
    label.get(..end).unwrap_or(label)
}

#[cfg(test)]
mod tests {
    use flows::flow::{Flow, bucket, output};
    use flows::{Feature, Origin, Table};
    use net::PortNo;
    use openflow::Field;

    use super::*;

    #[test]
    fn what_is_patched_is_what_the_codec_writes() {
        let mut set = FlowSet::default();
        let origin = Origin::table(Feature::Output, Table::Output);
        let flow = Flow::new(Table::Output, 7, "test").when(Field::InPort, 3u32);
        set.add(&origin, flow.output(PortNo(4)));
        let label = "Service a/b for this".to_string();
        set.add_group(
            GroupType::Select,
            label,
            vec![bucket(vec![output(PortNo(1))])],
        );
        let rate = cluster::desired::Rate {
            kbps: 1,
            burst_kbit: 2,
        };
        let meter = Meter::drop_above(rate, "Pod a/b rate".into());
        set.meters.insert(MeterId(9), meter);
        let label = "Pod a/b connections".to_string();
        let (limit, owner) = (7, 8);
        set.zone_limits.insert(
            5,
            ZoneLimit {
                limit,
                owner,
                label,
            },
        );
        let impairment = Impairment {
            port: PortNo(4),
            delay_us: 1000,
            ..Impairment::default()
        };
        let label = "Pod a/b latency".to_string();
        set.impairments
            .insert(PortNo(4), Impaired { impairment, label });
        let (entries, problems) = entries(&set);
        assert_eq!((entries.len(), problems), (5, vec![]));
        for entry in &entries {
            for act in [Act::Add, Act::Modify, Act::Delete] {
                let step = Step::new(act, entry);
                let (mut bundled, mut bare) = (Vec::new(), Vec::new());
                step.write(&mut bundled);
                step.write_bare(&mut bare);
                assert_eq!(wire::decode(VERSION, &bare), Ok(step.message()));
                assert_eq!(bundled, in_bundle(step.xid(), step.message()).unwrap());
                assert_eq!(wire::Header::read(&bundled).unwrap().xid, step.xid());
                assert_eq!(wire::Header::read(&bare).unwrap().xid, step.xid());
            }
        }
        assert_eq!(&*entries[0].object, "Pod a/b");
        assert_eq!(&*entries[1].object, "Pod a/b");
        assert_eq!(&*entries[3].object, "Service a/b");
    }
}

//! What a program depends on, and whom its packets are counted for.

use net::{GroupId, MeterId, PortNo, TableId};
use smallvec::SmallVec;
use tables::{Group, Pipeline, Rule};

use super::{ByAddress, TableDeps};
use crate::PortMap;

/// What a walk looked at: the program holds as long as none of it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Deps {
    /// Tables.
    pub tables: TableDeps,
    /// Groups, with their generation if they exist.
    pub groups: SmallVec<[(GroupId, Option<u64>); 2]>,
    /// Meters, likewise.
    pub meters: SmallVec<[(MeterId, Option<u64>); 2]>,
    /// Ports, likewise.
    pub ports: SmallVec<[(PortNo, Option<u64>); 2]>,
    /// All ports, for those who flood.
    pub all_ports: Option<u64>,
    /// Tunnel endpoints.
    pub endpoints: Option<u64>,
    /// Fragments were to be dropped; every program depends on that.
    pub drops_fragments: bool,
}

impl Deps {
    pub fn group(&mut self, group: GroupId, generation: Option<u64>) {
        if !self.groups.iter().any(|(known, _)| *known == group) {
            self.groups.push((group, generation));
        }
    }

    pub fn meter(&mut self, meter: MeterId, generation: Option<u64>) {
        if !self.meters.iter().any(|(known, _)| *known == meter) {
            self.meters.push((meter, generation));
        }
    }

    pub fn port(&mut self, port: PortNo, changed: Option<u64>) {
        if !self.ports.iter().any(|(known, _)| *known == port) {
            self.ports.push((port, changed));
        }
    }

    /// True while nothing has changed that could make a difference. Remembers that it was so.
    pub fn hold(&mut self, pipeline: &Pipeline, ports: &PortMap) -> bool {
        let groups = &mut self.groups.iter();
        let meters = &mut self.meters.iter();
        let used = &mut self.ports.iter();
        groups.all(|(id, seen)| pipeline.group(*id).map(|g| g.generation()) == *seen)
            && meters.all(|(id, seen)| pipeline.meter(*id).map(|m| m.generation()) == *seen)
            && used.all(|(id, seen)| ports.get(*id).map(|p| p.changed) == *seen)
            && ports.drops_fragments() == self.drops_fragments
            && self.all_ports.is_none_or(|seen| ports.generation() == seen)
            && self
                .endpoints
                .is_none_or(|seen| ports.endpoints_changed() == seen)
            && self.tables.hold(pipeline)
    }
}

/// Whom packets are counted for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Hits {
    pub rules: SmallVec<[ByAddress<Rule>; 8]>,
    /// Tables looked up, and whether a rule matched.
    pub tables: SmallVec<[(TableId, bool); 8]>,
    /// Groups, and separately each bucket of theirs that was taken.
    pub groups: SmallVec<[(ByAddress<Group>, Option<u16>); 2]>,
}

impl Hits {
    /// Adds packets to everyone's counters.
    pub fn count(&self, pipeline: &Pipeline, packets: u64, bytes: u64, used: u64) {
        for rule in &self.rules {
            rule.0.stats.add(packets, bytes, used);
        }
        for (table, matched) in &self.tables {
            if let Some(stats) = pipeline.table_stats(*table) {
                stats.add(packets, if *matched { packets } else { 0 });
            }
        }
        for (group, bucket) in &self.groups {
            let group = &group.0;
            let stats = match bucket {
                None => Some(&group.stats),
                Some(at) => group.buckets.get(usize::from(*at)).map(|b| &b.stats),
            };
            if let Some(stats) = stats {
                stats.add(packets, bytes);
            }
        }
    }
}

//! What a switch holds, as it tells us.

use std::sync::Arc;

use flows::Table;
use flows::flow::FlowId;
use net::{GroupId, MeterId};
use openflow::msg::{FlowStatsRequest, Impairment, ReplyBody, RequestBody, ZoneLimit};

use crate::connection::{Connection, ConnectionError};
use crate::entry::{Act, Entry, Step};
use crate::limits;
use crate::plan::Known;

/// Everything a switch holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    pub(crate) entries: Known,
}

impl Inventory {
    /// Reads it.
    pub(crate) async fn read(connection: &mut Connection) -> Result<Self, ConnectionError> {
        let mut held = Inventory::default();
        let flows = RequestBody::Flow(FlowStatsRequest::default());
        connection
            .ask_each(flows, "for its flows", |part| held.add(part))
            .await?;
        connection
            .ask_each(
                RequestBody::GroupDesc(GroupId::ALL),
                "for its groups",
                |part| held.add(part),
            )
            .await?;
        let meters = RequestBody::MeterConfig(MeterId::ALL);
        match connection
            .ask_each(meters, "for its meters", |part| held.add(part))
            .await
        {
            Ok(()) => {}
            // A switch without meters: those we send will be refused one by one and reported.
            Err(ConnectionError::Refused { error, .. }) => {
                tracing::warn!("the switch has no meters: {error}; bandwidth limits will not hold");
            }
            Err(other) => return Err(other),
        }
        let (zones, impairments) = limits::read(connection).await?;
        held.add_limits(&zones, &impairments);
        Ok(held)
    }

    /// Follows a step that the switch has taken.
    pub fn follow(&mut self, step: &Step) {
        match step.act {
            Act::Delete => drop(self.entries.remove(&step.entry.key)),
            Act::Add | Act::Modify => {
                self.entries.insert(step.entry.key, step.entry.clone());
            }
        }
    }

    /// True if the switch holds nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn add_limits(&mut self, zones: &[ZoneLimit], impairments: &[Impairment]) {
        for zone in zones {
            self.keep(Entry::zone(*zone, &format!("zone {}", zone.zone)));
        }
        for impairment in impairments {
            let label = format!("port {}", impairment.port);
            self.keep(Entry::impairment(*impairment, &label));
        }
    }

    pub(crate) fn add(&mut self, part: ReplyBody) {
        match part {
            ReplyBody::Flow(flows) => {
                for flow in flows {
                    // What connections leave behind goes by itself, and is nobody's to take away.
                    if flow.table == Table::Affinity.id() && flow.idle_timeout > 0 {
                        continue;
                    }
                    let id = FlowId {
                        table: flow.table,
                        priority: flow.priority,
                        matching: flow.matching,
                    };
                    let entry = Entry::flow(&id, flow.cookie, &flow.instructions);
                    // Ours have no timeouts and no flags.
                    let timeouts = u32::from(flow.idle_timeout) + u32::from(flow.hard_timeout);
                    let plain = timeouts == 0 && flow.flags == 0;
                    self.keep(entry.map(|e| if plain { e } else { e.unlike() }));
                }
            }
            ReplyBody::GroupDesc(groups) => {
                for group in groups {
                    let label = format!("group {}", group.group);
                    let entry = Entry::group(group.group, group.kind, &group.buckets, &label);
                    self.keep(entry);
                }
            }
            ReplyBody::MeterConfig(meters) => {
                for meter in meters {
                    let label = format!("meter {}", meter.meter);
                    self.keep(Entry::meter(meter.meter, meter.flags, &meter.bands, &label));
                }
            }
            _ => {}
        }
    }

    fn keep(&mut self, entry: Result<Entry, String>) {
        match entry {
            Ok(entry) => drop(self.entries.insert(entry.key, Arc::new(entry))),
            // It came to us in the same version, so it can be written; but for its size, perhaps.
            Err(why) => tracing::warn!("something that the switch holds is left alone: {why}"),
        }
    }
}

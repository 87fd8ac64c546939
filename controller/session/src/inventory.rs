//! What a switch holds, as it tells us and as we change it.

use std::collections::HashMap;

use flows::flow::FlowId;
use net::{GroupId, MeterId};
use openflow::Instructions;
use openflow::model::{Band, Bucket, GroupType};
use openflow::msg::{FlowStatsRequest, ReplyBody, RequestBody};

use crate::canonical;
use crate::connection::{Connection, ConnectionError};

/// A flow of the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldFlow {
    pub cookie: u64,
    pub instructions: Instructions,
    /// It has no timeouts and no flags; ours never do.
    pub plain: bool,
}

/// A group of the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldGroup {
    pub kind: GroupType,
    pub buckets: Vec<Bucket>,
}

/// A meter of the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldMeter {
    pub flags: u16,
    pub bands: Vec<Band>,
}

/// Everything a switch holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    pub(crate) flows: HashMap<FlowId, HeldFlow>,
    pub(crate) groups: HashMap<GroupId, HeldGroup>,
    pub(crate) meters: HashMap<MeterId, HeldMeter>,
}

impl Inventory {
    /// Reads it.
    pub(crate) async fn read(connection: &mut Connection) -> Result<Self, ConnectionError> {
        let mut held = Inventory::default();
        let flows = RequestBody::Flow(FlowStatsRequest::default());
        for part in connection.ask_parts(flows, "for its flows").await? {
            held.add(part);
        }
        for part in connection
            .ask_parts(RequestBody::GroupDesc(GroupId::ALL), "for its groups")
            .await?
        {
            held.add(part);
        }
        let meters = RequestBody::MeterConfig(MeterId::ALL);
        match connection.ask_parts(meters, "for its meters").await {
            Ok(parts) => parts.into_iter().for_each(|part| held.add(part)),
            // A switch without meters: those we send will be refused one by one and reported.
            Err(ConnectionError::Refused { error, .. }) => {
                tracing::warn!("the switch has no meters: {error}; bandwidth limits will not hold");
            }
            Err(other) => return Err(other),
        }
        Ok(held)
    }

    fn add(&mut self, part: ReplyBody) {
        match part {
            ReplyBody::Flow(flows) => self.flows.extend(flows.into_iter().map(|flow| {
                let id = FlowId {
                    table: flow.table,
                    priority: flow.priority,
                    matching: flow.matching,
                };
                let timeouts = u32::from(flow.idle_timeout) + u32::from(flow.hard_timeout);
                let held = HeldFlow {
                    cookie: flow.cookie,
                    instructions: canonical::instructions(&flow.instructions),
                    plain: timeouts == 0 && flow.flags == 0,
                };
                (id, held)
            })),
            ReplyBody::GroupDesc(groups) => self.groups.extend(groups.into_iter().map(|group| {
                let buckets = canonical::buckets(group.kind, &group.buckets);
                let kind = group.kind;
                (group.group, HeldGroup { kind, buckets })
            })),
            ReplyBody::MeterConfig(meters) => self.meters.extend(meters.into_iter().map(|meter| {
                let (flags, bands) = (meter.flags, meter.bands);
                (meter.meter, HeldMeter { flags, bands })
            })),
            _ => {}
        }
    }
}

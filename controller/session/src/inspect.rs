//! What a switch holds at this moment, read for somebody who asks.

use std::collections::BTreeMap;

use flows::Ports;
use net::{GroupId, MeterId};
use openflow::msg::{
    FlowStats, FlowStatsRequest, GroupDesc, Impairment, MeterConfig, ReplyBody, RequestBody,
    ZoneLimit,
};
use tokio::sync::oneshot;

use crate::connection::{Connection, ConnectionError};
use crate::inventory::Inventory;
use crate::limits;

/// What is to be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Which flows.
    pub flows: FlowStatsRequest,
    /// Groups, meters and limits, too.
    pub rest: bool,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The ports of the switch.
    pub ports: Ports,
    /// The picture that it was told last ([`Intent::picture`](crate::Intent::picture)).
    pub picture: u64,
    /// Flows, with their counters.
    pub flows: Vec<FlowStats>,
    /// Groups.
    pub groups: Vec<GroupDesc>,
    /// Meters.
    pub meters: Vec<MeterConfig>,
    /// Limits of zones of connections.
    pub zones: Vec<ZoneLimit>,
    /// What ports do to what they send.
    pub impairments: Vec<Impairment>,
    /// What cookies of the flows stand for, as far as we gave them.
    pub labels: BTreeMap<u64, String>,
}

/// A wish on its way to the session of a switch.
#[derive(Debug)]
pub(crate) struct Inspection {
    pub wish: Wish,
    pub answer: oneshot::Sender<Reading>,
}

impl Reading {
    /// Reads it.
    pub(crate) async fn read(
        connection: &mut Connection,
        wish: &Wish,
    ) -> Result<Self, ConnectionError> {
        let mut reading = Reading::default();
        let flows = RequestBody::Flow(wish.flows.clone());
        connection
            .ask_each(flows, "for its flows", |part| reading.add(part))
            .await?;
        if !wish.rest {
            return Ok(reading);
        }
        let groups = RequestBody::GroupDesc(GroupId::ALL);
        connection
            .ask_each(groups, "for its groups", |part| reading.add(part))
            .await?;
        let meters = RequestBody::MeterConfig(MeterId::ALL);
        match connection
            .ask_each(meters, "for its meters", |part| reading.add(part))
            .await
        {
            // A switch without meters has none.
            Ok(()) | Err(ConnectionError::Refused { .. }) => {}
            Err(other) => return Err(other),
        }
        (reading.zones, reading.impairments) = limits::read(connection).await?;
        Ok(reading)
    }

    fn add(&mut self, part: ReplyBody) {
        match part {
            ReplyBody::Flow(flows) => self.flows.extend(flows),
            ReplyBody::GroupDesc(groups) => self.groups.extend(groups),
            ReplyBody::MeterConfig(meters) => self.meters.extend(meters),
            _ => {}
        }
    }

    /// The same, to be compared.
    pub(crate) fn inventory(&self) -> Inventory {
        let mut inventory = Inventory::default();
        inventory.add(ReplyBody::Flow(self.flows.clone()));
        inventory.add(ReplyBody::GroupDesc(self.groups.clone()));
        inventory.add(ReplyBody::MeterConfig(self.meters.clone()));
        inventory.add_limits(&self.zones, &self.impairments);
        inventory
    }
}

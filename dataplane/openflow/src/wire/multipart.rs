//! Multipart requests and replies (OpenFlow 1.3.5, 7.3.5).

use net::{GroupId, MeterId, PortNo, TableId};

use super::oxm::{Strictness, read_match, write_match};
use super::{
    EncodeError, Reader, Writer, bundle, events, framed, group, kind, meter, monitor, port, queue,
    stats, table, table_features,
};
use crate::Version;
use crate::error::{self, OfError};
use crate::msg::{
    ExperimenterMultipart, FlowStatsRequest, MultipartReply, MultipartRequest, ONF, ReplyBody,
    RequestBody,
};

/// OFPMP_*.
mod part {
    pub(super) const DESC: u16 = 0;
    pub(super) const FLOW: u16 = 1;
    pub(super) const AGGREGATE: u16 = 2;
    pub(super) const TABLE: u16 = 3;
    pub(super) const PORT_STATS: u16 = 4;
    pub(super) const QUEUE: u16 = 5;
    pub(super) const GROUP: u16 = 6;
    pub(super) const GROUP_DESC: u16 = 7;
    pub(super) const GROUP_FEATURES: u16 = 8;
    pub(super) const METER: u16 = 9;
    pub(super) const METER_CONFIG: u16 = 10;
    pub(super) const METER_FEATURES: u16 = 11;
    pub(super) const TABLE_FEATURES: u16 = 12;
    pub(super) const PORT_DESC: u16 = 13;
    pub(super) const TABLE_DESC: u16 = 14;
    pub(super) const QUEUE_DESC: u16 = 15;
    pub(super) const FLOW_MONITOR: u16 = 16;
    pub(super) const FLOW_COUNTERS: u16 = 17;
    pub(super) const CONTROLLER_STATUS: u16 = 18;
    pub(super) const BUNDLE_FEATURES: u16 = 19;
    pub(super) const EXPERIMENTER: u16 = 0xffff;
}

/// The ONF's flow monitors for 1.3 (extension 187).
const ONF_FLOW_MONITOR: u32 = 1870;

/// Fails for a type that a later version brought.
fn known(kind: u16, version: Version) -> Result<(), OfError> {
    let since = match kind {
        part::TABLE_DESC..=part::FLOW_MONITOR => Version::V1_4,
        part::FLOW_COUNTERS..=part::BUNDLE_FEATURES => Version::V1_5,
        _ => Version::V1_3,
    };
    if version < since {
        return Err(error::OFPBRC_BAD_MULTIPART);
    }
    Ok(())
}

/// OFPMPF_REQ_MORE and OFPMPF_REPLY_MORE.
const MORE: u16 = 1;

pub(super) fn read_request(mut r: Reader<'_>) -> Result<MultipartRequest, OfError> {
    let (kind, flags) = (r.u16()?, r.u16()?);
    r.skip(4)?;
    known(kind, r.version)?;
    let empty = |body: RequestBody| r.end().map(|()| body);
    let later = r.version >= Version::V1_5;
    let body = match kind {
        part::DESC => empty(RequestBody::Desc)?,
        part::FLOW => RequestBody::Flow(read_flow_request(r)?),
        part::AGGREGATE => RequestBody::Aggregate(read_flow_request(r)?),
        part::TABLE => empty(RequestBody::Table)?,
        part::PORT_STATS => RequestBody::PortStats(PortNo(read_number(r)?)),
        part::QUEUE | part::QUEUE_DESC => {
            let (port, queue) = (PortNo(r.u32()?), r.u32()?);
            r.end()?;
            match kind {
                part::QUEUE => RequestBody::Queue { port, queue },
                _ => RequestBody::QueueDesc { port, queue },
            }
        }
        part::GROUP => RequestBody::Group(GroupId(read_number(r)?)),
        part::GROUP_DESC if later => RequestBody::GroupDesc(GroupId(read_number(r)?)),
        part::GROUP_DESC => empty(RequestBody::GroupDesc(GroupId::ALL))?,
        part::GROUP_FEATURES => empty(RequestBody::GroupFeatures)?,
        part::METER => RequestBody::Meter(MeterId(read_number(r)?)),
        part::METER_CONFIG => RequestBody::MeterConfig(MeterId(read_number(r)?)),
        part::METER_FEATURES => empty(RequestBody::MeterFeatures)?,
        part::TABLE_FEATURES => RequestBody::TableFeatures(all(r, table_features::read)?),
        part::PORT_DESC if later => RequestBody::PortDesc(PortNo(read_number(r)?)),
        part::PORT_DESC => empty(RequestBody::PortDesc(PortNo::ANY))?,
        part::TABLE_DESC => empty(RequestBody::TableDesc)?,
        part::FLOW_MONITOR => RequestBody::FlowMonitor(all(r, monitor::read_request)?),
        part::FLOW_COUNTERS => RequestBody::FlowCounters(read_flow_request(r)?),
        part::CONTROLLER_STATUS => empty(RequestBody::ControllerStatus)?,
        part::BUNDLE_FEATURES => RequestBody::BundleFeatures(bundle::read_features_request(r)?),
        part::EXPERIMENTER => match read_experimenter(&mut r)? {
            (ONF, ONF_FLOW_MONITOR) if r.version < Version::V1_4 => {
                RequestBody::FlowMonitor(all(r, monitor::read_request)?)
            }
            (experimenter, exp_type) => RequestBody::Experimenter(ExperimenterMultipart {
                experimenter,
                exp_type,
                data: r.rest().to_vec(),
            }),
        },
        _ => return Err(error::OFPBRC_BAD_MULTIPART),
    };
    Ok(MultipartRequest {
        more: flags & MORE != 0,
        body,
    })
}

/// A number and four bytes of padding.
fn read_number(mut r: Reader<'_>) -> Result<u32, OfError> {
    let number = r.u32()?;
    r.skip(4)?;
    r.end()?;
    Ok(number)
}

fn read_flow_request(mut r: Reader<'_>) -> Result<FlowStatsRequest, OfError> {
    let table = TableId(r.u8()?);
    r.skip(3)?;
    let (out_port, out_group) = (PortNo(r.u32()?), GroupId(r.u32()?));
    r.skip(4)?;
    let (cookie, cookie_mask) = (r.u64()?, r.u64()?);
    let matching = read_match(&mut r, Strictness::Prerequisites)?;
    r.end()?;
    Ok(FlowStatsRequest {
        table,
        out_port,
        out_group,
        cookie,
        cookie_mask,
        matching,
    })
}

/// Who defines it and which of theirs it is.
fn read_experimenter(r: &mut Reader<'_>) -> Result<(u32, u32), OfError> {
    Ok((r.u32()?, r.u32()?))
}

/// Reads entries until nothing is left.
fn all<T>(
    mut r: Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, OfError>,
) -> Result<Vec<T>, OfError> {
    let mut entries = Vec::new();
    while !r.is_empty() {
        entries.push(read(&mut r)?);
    }
    Ok(entries)
}

pub(super) fn write_request(
    w: &mut Writer<'_>,
    xid: u32,
    request: &MultipartRequest,
) -> Result<(), EncodeError> {
    let what = "multipart request";
    framed(w, kind::MULTIPART_REQUEST, xid, what, |w| {
        let kind = match &request.body {
            RequestBody::Desc => part::DESC,
            RequestBody::Flow(_) => part::FLOW,
            RequestBody::Aggregate(_) => part::AGGREGATE,
            RequestBody::Table => part::TABLE,
            RequestBody::PortStats(_) => part::PORT_STATS,
            RequestBody::Queue { .. } => part::QUEUE,
            RequestBody::Group(_) => part::GROUP,
            RequestBody::GroupDesc(_) => part::GROUP_DESC,
            RequestBody::GroupFeatures => part::GROUP_FEATURES,
            RequestBody::Meter(_) => part::METER,
            RequestBody::MeterConfig(_) => part::METER_CONFIG,
            RequestBody::MeterFeatures => part::METER_FEATURES,
            RequestBody::TableFeatures(_) => part::TABLE_FEATURES,
            RequestBody::PortDesc(_) => part::PORT_DESC,
            RequestBody::TableDesc => part::TABLE_DESC,
            RequestBody::QueueDesc { .. } => part::QUEUE_DESC,
            RequestBody::FlowMonitor(_) if w.version < Version::V1_4 => part::EXPERIMENTER,
            RequestBody::FlowMonitor(_) => part::FLOW_MONITOR,
            RequestBody::FlowCounters(_) => part::FLOW_COUNTERS,
            RequestBody::ControllerStatus => part::CONTROLLER_STATUS,
            RequestBody::BundleFeatures(_) => part::BUNDLE_FEATURES,
            RequestBody::Experimenter(_) => part::EXPERIMENTER,
        };
        if known(kind, w.version).is_err() {
            return w.unsupported("that request");
        }
        write_head(w, kind, request.more);
        let later = w.version >= Version::V1_5;
        let number = |w: &mut Writer<'_>, number: u32| {
            w.u32(number);
            w.zeros(4);
        };
        match &request.body {
            RequestBody::Flow(m) | RequestBody::Aggregate(m) | RequestBody::FlowCounters(m) => {
                return write_flow_request(w, m);
            }
            RequestBody::PortStats(port) => number(w, port.0),
            RequestBody::Queue { port, queue } | RequestBody::QueueDesc { port, queue } => {
                w.u32(port.0);
                w.u32(*queue);
            }
            RequestBody::Group(group) => number(w, group.0),
            RequestBody::Meter(meter) | RequestBody::MeterConfig(meter) => number(w, meter.0),
            RequestBody::TableFeatures(tables) => {
                for table in tables {
                    table_features::write(w, table)?;
                }
            }
            RequestBody::GroupDesc(group) if later => number(w, group.0),
            RequestBody::PortDesc(port) if later => number(w, port.0),
            RequestBody::GroupDesc(group) if *group != GroupId::ALL => {
                return w.unsupported("a question about one group");
            }
            RequestBody::PortDesc(port) if *port != PortNo::ANY => {
                return w.unsupported("a question about one port");
            }
            RequestBody::FlowMonitor(monitors) => {
                if kind == part::EXPERIMENTER {
                    w.u32(ONF);
                    w.u32(ONF_FLOW_MONITOR);
                }
                for monitor in monitors {
                    monitor::write_request(w, monitor)?;
                }
            }
            RequestBody::BundleFeatures(m) => return bundle::write_features_request(w, m),
            RequestBody::Experimenter(m) => write_experimenter(w, m),
            RequestBody::Desc
            | RequestBody::Table
            | RequestBody::GroupDesc(_)
            | RequestBody::GroupFeatures
            | RequestBody::MeterFeatures
            | RequestBody::PortDesc(_)
            | RequestBody::TableDesc
            | RequestBody::ControllerStatus => {}
        }
        Ok(())
    })
}

fn write_head(w: &mut Writer<'_>, kind: u16, more: bool) {
    w.u16(kind);
    w.u16(if more { MORE } else { 0 });
    w.zeros(4);
}

fn write_experimenter(w: &mut Writer<'_>, m: &ExperimenterMultipart) {
    w.u32(m.experimenter);
    w.u32(m.exp_type);
    w.bytes(&m.data);
}

fn write_flow_request(w: &mut Writer<'_>, m: &FlowStatsRequest) -> Result<(), EncodeError> {
    w.u8(m.table.0);
    w.zeros(3);
    w.u32(m.out_port.0);
    w.u32(m.out_group.0);
    w.zeros(4);
    w.u64(m.cookie);
    w.u64(m.cookie_mask);
    write_match(w, &m.matching)
}

pub(super) fn read_reply(mut r: Reader<'_>) -> Result<MultipartReply, OfError> {
    let (kind, flags) = (r.u16()?, r.u16()?);
    r.skip(4)?;
    known(kind, r.version)?;
    let body = match kind {
        part::DESC => ReplyBody::Desc(stats::read_desc(r)?),
        part::FLOW => ReplyBody::Flow(all(r, stats::read_flow)?),
        part::AGGREGATE => ReplyBody::Aggregate(stats::read_aggregate(r)?),
        part::TABLE => ReplyBody::Table(all(r, stats::read_table)?),
        part::PORT_STATS => ReplyBody::PortStats(all(r, port::read_stats)?),
        part::QUEUE => ReplyBody::Queue(all(r, queue::read_stats)?),
        part::GROUP => ReplyBody::Group(all(r, stats::read_group)?),
        part::GROUP_DESC => ReplyBody::GroupDesc(all(r, group::read_desc)?),
        part::GROUP_FEATURES => ReplyBody::GroupFeatures(stats::read_group_features(r)?),
        part::METER => ReplyBody::Meter(all(r, stats::read_meter)?),
        part::METER_CONFIG => ReplyBody::MeterConfig(all(r, meter::read_config)?),
        part::METER_FEATURES => ReplyBody::MeterFeatures(stats::read_meter_features(r)?),
        part::TABLE_FEATURES => ReplyBody::TableFeatures(all(r, table_features::read)?),
        part::PORT_DESC => ReplyBody::PortDesc(all(r, port::read_desc)?),
        part::TABLE_DESC => ReplyBody::TableDesc(all(r, table::read_desc)?),
        part::QUEUE_DESC => ReplyBody::QueueDesc(all(r, queue::read_desc)?),
        part::FLOW_MONITOR => ReplyBody::FlowMonitor(all(r, monitor::read_update)?),
        part::FLOW_COUNTERS => ReplyBody::FlowCounters(all(r, stats::read_flow_counters)?),
        part::CONTROLLER_STATUS => ReplyBody::ControllerStatus(all(r, events::read_controller)?),
        part::BUNDLE_FEATURES => ReplyBody::BundleFeatures(bundle::read_features(r)?),
        part::EXPERIMENTER => match read_experimenter(&mut r)? {
            (ONF, ONF_FLOW_MONITOR) if r.version < Version::V1_4 => {
                ReplyBody::FlowMonitor(all(r, monitor::read_update)?)
            }
            (experimenter, exp_type) => ReplyBody::Experimenter(ExperimenterMultipart {
                experimenter,
                exp_type,
                data: r.rest().to_vec(),
            }),
        },
        _ => return Err(error::OFPBRC_BAD_MULTIPART),
    };
    Ok(MultipartReply {
        more: flags & MORE != 0,
        body,
    })
}

pub(super) fn write_reply(
    w: &mut Writer<'_>,
    xid: u32,
    reply: &MultipartReply,
) -> Result<(), EncodeError> {
    let reply_of = Reply {
        xid,
        more: reply.more,
    };
    let plain = |w: &mut Writer<'_>, kind: u16, body: &dyn Fn(&mut Writer<'_>)| {
        framed(w, kind::MULTIPART_REPLY, xid, "multipart reply", |w| {
            write_head(w, kind, reply.more);
            body(w);
            Ok(())
        })
    };
    match &reply.body {
        ReplyBody::Desc(m) => plain(w, part::DESC, &|w| stats::write_desc(w, m)),
        ReplyBody::GroupFeatures(m) => plain(w, part::GROUP_FEATURES, &|w| {
            stats::write_group_features(w, m);
        }),
        ReplyBody::MeterFeatures(m) => plain(w, part::METER_FEATURES, &|w| {
            stats::write_meter_features(w, m);
        }),
        ReplyBody::Experimenter(m) => plain(w, part::EXPERIMENTER, &|w| write_experimenter(w, m)),
        ReplyBody::Flow(list) => reply_of.list(w, part::FLOW, list, stats::write_flow),
        ReplyBody::Table(list) => reply_of.list(w, part::TABLE, list, stats::write_table),
        ReplyBody::PortStats(list) => reply_of.list(w, part::PORT_STATS, list, port::write_stats),
        ReplyBody::Queue(list) => reply_of.list(w, part::QUEUE, list, queue::write_stats),
        ReplyBody::Group(list) => reply_of.list(w, part::GROUP, list, stats::write_group),
        ReplyBody::GroupDesc(list) => reply_of.list(w, part::GROUP_DESC, list, group::write_desc),
        ReplyBody::Meter(list) => reply_of.list(w, part::METER, list, stats::write_meter),
        ReplyBody::MeterConfig(list) => {
            reply_of.list(w, part::METER_CONFIG, list, meter::write_config)
        }
        ReplyBody::TableFeatures(list) => {
            reply_of.list(w, part::TABLE_FEATURES, list, table_features::write)
        }
        ReplyBody::PortDesc(list) => reply_of.list(w, part::PORT_DESC, list, port::write_desc),
        ReplyBody::TableDesc(list) => reply_of.list(w, part::TABLE_DESC, list, table::write_desc),
        ReplyBody::QueueDesc(list) => reply_of.list(w, part::QUEUE_DESC, list, queue::write_desc),
        ReplyBody::FlowMonitor(list) => {
            let native = w.version >= Version::V1_4;
            let kind = if native {
                part::FLOW_MONITOR
            } else {
                part::EXPERIMENTER
            };
            reply_of.list(w, kind, list, monitor::write_update)
        }
        ReplyBody::FlowCounters(list) => {
            reply_of.list(w, part::FLOW_COUNTERS, list, stats::write_flow_counters)
        }
        ReplyBody::ControllerStatus(list) => {
            reply_of.list(w, part::CONTROLLER_STATUS, list, events::write_controller)
        }
        ReplyBody::Aggregate(m) => {
            reply_of.one(w, part::AGGREGATE, |w| stats::write_aggregate(w, m))
        }
        ReplyBody::BundleFeatures(m) => {
            reply_of.one(w, part::BUNDLE_FEATURES, |w| bundle::write_features(w, m))
        }
    }
}

/// A reply that may take several messages.
struct Reply {
    xid: u32,
    more: bool,
}

impl Reply {
    /// Writes a body that is one thing.
    fn one(
        &self,
        w: &mut Writer<'_>,
        kind: u16,
        body: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = self.begin(w, kind)?;
        body(w)?;
        w.patch_length(start + 2, start, "multipart reply")
    }

    /// Writes entries into as many messages as they need.
    fn list<T>(
        &self,
        w: &mut Writer<'_>,
        kind: u16,
        entries: &[T],
        write: impl Fn(&mut Writer<'_>, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let what = "multipart reply";
        let mut start = self.begin(w, kind)?;
        for entry in entries {
            let at = w.len();
            write(w, entry)?;
            if w.len() - start <= usize::from(u16::MAX) {
                continue;
            }
            // One too many: it begins the next message.
            let entry = w.out.split_off(at);
            w.patch_u16(start + 10, MORE);
            w.patch_length(start + 2, start, what)?;
            start = self.begin(w, kind)?;
            w.bytes(&entry);
        }
        w.patch_length(start + 2, start, what)
    }

    fn begin(&self, w: &mut Writer<'_>, kind: u16) -> Result<usize, EncodeError> {
        if known(kind, w.version).is_err() {
            return w.unsupported("that reply");
        }
        let start = w.len();
        w.u8(w.version.to_wire());
        w.u8(kind::MULTIPART_REPLY);
        w.u16(0);
        w.u32(self.xid);
        write_head(w, kind, self.more);
        // Lists of experimenters' are flow monitors of 1.3.
        if kind == part::EXPERIMENTER {
            w.u32(ONF);
            w.u32(ONF_FLOW_MONITOR);
        }
        Ok(start)
    }
}

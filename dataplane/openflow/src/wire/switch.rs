//! The switch itself: hello, errors, features, configuration, ports, queues, roles.

use net::{PortNo, TableId};

use super::{EncodeError, Reader, Writer};
use crate::Message;
use crate::error::{self, OfError};
use crate::model::PortDesc;
use crate::msg::{
    AsyncEntry, AsyncKind, AsyncSettings, ErrorMsg, Hello, PacketQueue, PortMod, PortReason,
    PortStatus, Role, RoleRequest, SwitchConfig, SwitchFeatures, TableMod,
};

/// OFPHET_VERSIONBITMAP.
const HELLO_VERSION_BITMAP: u16 = 1;

pub(super) fn read_hello(mut r: Reader<'_>) -> Result<Hello, OfError> {
    let mut hello = Hello::default();
    // Elements that are not known, or cut short, are passed over: a peer of a later version must
    // still find an agreement (OpenFlow 1.3.5, A.5.1).
    while r.len() >= 4 {
        let (kind, length) = (r.u16()?, usize::from(r.u16()?));
        let Some(payload) = length.checked_sub(4).filter(|n| *n <= r.len()) else {
            break;
        };
        let mut element = r.sub(payload)?;
        if kind == HELLO_VERSION_BITMAP && payload >= 4 {
            hello.versions = Some(element.u32()?);
        }
        let padding = length.next_multiple_of(8) - length;
        r.skip(padding.min(r.len()))?;
    }
    Ok(hello)
}

pub(super) fn write_hello(w: &mut Writer<'_>, hello: &Hello) {
    if let Some(versions) = hello.versions {
        w.u16(HELLO_VERSION_BITMAP);
        w.u16(8);
        w.u32(versions);
    }
}

pub(super) fn read_error(mut r: Reader<'_>) -> Result<ErrorMsg, OfError> {
    let mut error = OfError::new(r.u16()?, r.u16()?);
    if error.kind == OfError::EXPERIMENTER_KIND {
        error.experimenter = r.u32()?;
    }
    Ok(ErrorMsg {
        error: error.from_version(),
        data: r.rest().to_vec(),
    })
}

pub(super) fn write_error(w: &mut Writer<'_>, m: &ErrorMsg) {
    let error = m.error.for_version(w.version);
    w.u16(error.kind);
    w.u16(error.code);
    if error.kind == OfError::EXPERIMENTER_KIND {
        w.u32(error.experimenter);
    }
    w.bytes(&m.data);
}

pub(super) fn read_features(mut r: Reader<'_>) -> Result<SwitchFeatures, OfError> {
    let features = SwitchFeatures {
        datapath_id: r.u64()?,
        n_buffers: r.u32()?,
        n_tables: r.u8()?,
        auxiliary_id: r.u8()?,
        capabilities: {
            r.skip(2)?;
            r.u32()?
        },
    };
    r.skip(4)?;
    r.end()?;
    Ok(features)
}

pub(super) fn write_features(w: &mut Writer<'_>, m: &SwitchFeatures) {
    w.u64(m.datapath_id);
    w.u32(m.n_buffers);
    w.u8(m.n_tables);
    w.u8(m.auxiliary_id);
    w.zeros(2);
    w.u32(m.capabilities);
    w.zeros(4);
}

pub(super) fn read_config(mut r: Reader<'_>) -> Result<SwitchConfig, OfError> {
    let config = SwitchConfig {
        flags: r.u16()?,
        miss_send_len: r.u16()?,
    };
    r.end()?;
    Ok(config)
}

pub(super) fn write_config(w: &mut Writer<'_>, m: SwitchConfig) {
    w.u16(m.flags);
    w.u16(m.miss_send_len);
}

pub(super) fn read_port(r: &mut Reader<'_>) -> Result<PortDesc, OfError> {
    let port = PortNo(r.u32()?);
    r.skip(4)?;
    let hw_addr = r.mac()?;
    r.skip(2)?;
    Ok(PortDesc {
        port,
        hw_addr,
        name: r.text(16)?,
        config: r.u32()?,
        state: r.u32()?,
        curr: r.u32()?,
        advertised: r.u32()?,
        supported: r.u32()?,
        peer: r.u32()?,
        curr_speed: r.u32()?,
        max_speed: r.u32()?,
        properties: Vec::new(),
    })
}

pub(super) fn write_port(w: &mut Writer<'_>, m: &PortDesc) {
    w.u32(m.port.0);
    w.zeros(4);
    w.mac(m.hw_addr);
    w.zeros(2);
    w.text(&m.name, 16);
    w.u32(m.config);
    w.u32(m.state);
    w.u32(m.curr);
    w.u32(m.advertised);
    w.u32(m.supported);
    w.u32(m.peer);
    w.u32(m.curr_speed);
    w.u32(m.max_speed);
}

pub(super) fn read_port_status(mut r: Reader<'_>) -> Result<PortStatus, OfError> {
    let reason = match r.u8()? {
        0 => PortReason::Add,
        1 => PortReason::Delete,
        2 => PortReason::Modify,
        _ => return Err(error::OFPBRC_BAD_TYPE),
    };
    r.skip(7)?;
    let desc = read_port(&mut r)?;
    r.end()?;
    Ok(PortStatus { reason, desc })
}

pub(super) fn write_port_status(w: &mut Writer<'_>, m: &PortStatus) {
    w.u8(m.reason as u8);
    w.zeros(7);
    write_port(w, &m.desc);
}

pub(super) fn read_port_mod(mut r: Reader<'_>) -> Result<PortMod, OfError> {
    let port = PortNo(r.u32()?);
    r.skip(4)?;
    let hw_addr = r.mac()?;
    r.skip(2)?;
    let m = PortMod {
        port,
        hw_addr,
        config: r.u32()?,
        mask: r.u32()?,
        advertise: r.u32()?,
        properties: Vec::new(),
    };
    r.skip(4)?;
    r.end()?;
    Ok(m)
}

pub(super) fn write_port_mod(w: &mut Writer<'_>, m: &PortMod) {
    w.u32(m.port.0);
    w.zeros(4);
    w.mac(m.hw_addr);
    w.zeros(2);
    w.u32(m.config);
    w.u32(m.mask);
    w.u32(m.advertise);
    w.zeros(4);
}

pub(super) fn read_table_mod(mut r: Reader<'_>) -> Result<TableMod, OfError> {
    let table = TableId(r.u8()?);
    r.skip(3)?;
    let config = r.u32()?;
    r.end()?;
    Ok(TableMod {
        table,
        config,
        ..TableMod::default()
    })
}

pub(super) fn write_table_mod(w: &mut Writer<'_>, m: &TableMod) {
    w.u8(m.table.0);
    w.zeros(3);
    w.u32(m.config);
}

pub(super) fn read_role(mut r: Reader<'_>) -> Result<RoleRequest, OfError> {
    let role = match r.u32()? {
        0 => Role::NoChange,
        1 => Role::Equal,
        2 => Role::Master,
        3 => Role::Slave,
        _ => return Err(error::OFPRRFC_BAD_ROLE),
    };
    r.skip(4)?;
    let generation_id = r.u64()?;
    r.end()?;
    Ok(RoleRequest {
        role,
        generation_id,
        short_id: 0,
    })
}

pub(super) fn write_role(w: &mut Writer<'_>, m: RoleRequest) {
    w.u32(m.role as u32);
    w.zeros(4);
    w.u64(m.generation_id);
}

/// The kinds of 1.3, in their order there.
const ASYNC_1_3: [AsyncKind; 3] = [
    AsyncKind::PacketIn,
    AsyncKind::PortStatus,
    AsyncKind::FlowRemoved,
];

pub(super) fn read_async(mut r: Reader<'_>) -> Result<AsyncSettings, OfError> {
    let mut settings = AsyncSettings::default();
    for kind in ASYNC_1_3 {
        for slave in [false, true] {
            let mask = r.u32()?;
            settings.entries.push(AsyncEntry { kind, slave, mask });
        }
    }
    r.end()?;
    Ok(settings)
}

pub(super) fn write_async(w: &mut Writer<'_>, m: &AsyncSettings) -> Result<(), EncodeError> {
    for kind in ASYNC_1_3 {
        for slave in [false, true] {
            let entry = m
                .entries
                .iter()
                .find(|e| e.kind == kind && e.slave == slave);
            match entry {
                Some(entry) => w.u32(entry.mask),
                None => return w.unsupported("a part of the asynchronous configuration"),
            }
        }
    }
    Ok(())
}

pub(super) fn read_queue_request(mut r: Reader<'_>) -> Result<Message, OfError> {
    let port = PortNo(r.u32()?);
    r.skip(4)?;
    r.end()?;
    Ok(Message::QueueGetConfigRequest(port))
}

pub(super) fn write_queue_request(w: &mut Writer<'_>, port: PortNo) {
    w.u32(port.0);
    w.zeros(4);
}

/// OFPQT_MIN_RATE.
const QUEUE_MIN_RATE: u16 = 1;
/// OFPQT_MAX_RATE.
const QUEUE_MAX_RATE: u16 = 2;

pub(super) fn read_queue_reply(mut r: Reader<'_>) -> Result<Message, OfError> {
    let port = PortNo(r.u32()?);
    r.skip(4)?;
    let mut queues = Vec::new();
    while !r.is_empty() {
        queues.push(read_queue(&mut r)?);
    }
    Ok(Message::QueueGetConfigReply { port, queues })
}

fn read_queue(r: &mut Reader<'_>) -> Result<PacketQueue, OfError> {
    let (queue, port) = (r.u32()?, PortNo(r.u32()?));
    let length = usize::from(r.u16()?);
    r.skip(6)?;
    let mut properties = r.sub(length.checked_sub(16).ok_or(error::OFPBRC_BAD_LEN)?)?;
    let mut queue = PacketQueue {
        queue,
        port,
        min_rate: None,
        max_rate: None,
        properties: Vec::new(),
    };
    while !properties.is_empty() {
        let (kind, length) = (properties.u16()?, usize::from(properties.u16()?));
        let mut property = properties.sub(length.checked_sub(4).ok_or(error::OFPBRC_BAD_LEN)?)?;
        property.skip(4)?;
        match kind {
            QUEUE_MIN_RATE => queue.min_rate = Some(property.u16()?),
            QUEUE_MAX_RATE => queue.max_rate = Some(property.u16()?),
            _ => {}
        }
    }
    Ok(queue)
}

pub(super) fn write_queue_reply(w: &mut Writer<'_>, port: PortNo, queues: &[PacketQueue]) {
    w.u32(port.0);
    w.zeros(4);
    for queue in queues {
        let rates = [
            (QUEUE_MIN_RATE, queue.min_rate),
            (QUEUE_MAX_RATE, queue.max_rate),
        ];
        let given = rates.iter().filter(|(_, rate)| rate.is_some()).count();
        w.u32(queue.queue);
        w.u32(queue.port.0);
        w.u16(16 + 16 * given as u16);
        w.zeros(6);
        for (kind, rate) in rates {
            if let Some(rate) = rate {
                w.u16(kind);
                w.u16(16);
                w.zeros(4);
                w.u16(rate);
                w.zeros(6);
            }
        }
    }
}

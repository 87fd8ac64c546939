//! A switch for tests: it speaks the real protocol over a real socket, keeps flows, groups, meters
//! and ports as a switch does, and writes down what it was sent.
#![allow(dead_code)] // each test file uses its part

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use flows::flow::FlowId;
use net::{GroupId, MacAddr, MeterId, PortNo};
use openflow::error::{self, OfError};
use openflow::model::{
    FlowCommand, GroupCommand, MeterCommand, PORT_NO_FWD, PORT_NO_RECV, PortDesc,
};
use openflow::msg::{
    BundleControlType, ErrorMsg, FlowStats, GroupDesc, Hello, Impairment, Message, MeterConfig,
    MultipartReply, PacketIn, PortReason, PortStatus, ReplyBody, RequestBody, Role, RoleRequest,
    SwitchDesc, SwitchFeatures, ZoneLimit,
};
use openflow::{Instructions, Version, wire};
use session::Target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const V: Version = Version::V1_3;

type Refusal = Box<dyn Fn(&Message) -> Option<OfError> + Send>;

/// What the switch holds and what it is like.
pub struct State {
    pub name: String,
    pub datapath: u64,
    pub flows: BTreeMap<FlowId, (u64, Instructions)>,
    pub groups: BTreeMap<GroupId, GroupDesc>,
    pub meters: BTreeMap<MeterId, MeterConfig>,
    /// Limits of zones and impairments of ports; none: it does not know what they are.
    pub limits: Option<(BTreeMap<u16, ZoneLimit>, BTreeMap<PortNo, Impairment>)>,
    pub ports: BTreeMap<PortNo, PortDesc>,
    /// Everything but requests for reading, in order; messages in bundles when they are committed.
    pub log: Vec<Message>,
    pub bundles: bool,
    pub labels: BTreeMap<u64, String>,
    /// Says which modifications fail.
    pub refuse: Refusal,
    /// Answers nothing any more.
    pub mute: bool,
    /// The generation of the last master or slave.
    pub generation: Option<u64>,
    /// Connections so far, and which of them is the master.
    pub connections: usize,
    pub master: Option<usize>,
    pub slaves: std::collections::BTreeSet<usize>,
}

impl State {
    pub fn new(name: &str) -> Arc<Mutex<State>> {
        Arc::new(Mutex::new(State {
            name: name.into(),
            datapath: 1,
            flows: BTreeMap::new(),
            groups: BTreeMap::new(),
            meters: BTreeMap::new(),
            limits: Some(Default::default()),
            ports: BTreeMap::new(),
            log: Vec::new(),
            bundles: true,
            labels: BTreeMap::new(),
            refuse: Box::new(|_| None),
            mute: false,
            generation: None,
            connections: 0,
            master: None,
            slaves: std::collections::BTreeSet::new(),
        }))
    }

    pub fn add_port(&mut self, number: u32, name: &str) -> PortDesc {
        let desc = PortDesc {
            port: PortNo(number),
            hw_addr: MacAddr([2, 0, 0, 0, 0, number as u8]),
            name: name.into(),
            config: PORT_NO_RECV | PORT_NO_FWD,
            state: 0,
            curr: 0,
            advertised: 0,
            supported: 0,
            peer: 0,
            curr_speed: 0,
            max_speed: 0,
            properties: Vec::new(),
        };
        self.ports.insert(desc.port, desc.clone());
        desc
    }

    /// Modifications that were carried out, by kind of message.
    pub fn modifications(&self) -> Vec<&Message> {
        let is_mod = |m: &&Message| {
            matches!(
                m,
                Message::FlowMod(_) | Message::GroupMod(_) | Message::MeterMod(_)
            )
        };
        self.log.iter().filter(is_mod).collect()
    }

    fn modify(&mut self, message: &Message) -> Result<(), OfError> {
        if let Some(error) = (self.refuse)(message) {
            return Err(error);
        }
        match message {
            Message::FlowMod(m) => {
                let id = FlowId {
                    table: m.table,
                    priority: m.priority,
                    matching: m.matching.clone(),
                };
                let meter = m.instructions.meter;
                if meter.is_some_and(|meter| !self.meters.contains_key(&meter)) {
                    return Err(error::OFPMMFC_UNKNOWN_METER);
                }
                match m.command {
                    FlowCommand::Add => {
                        self.flows.insert(id, (m.cookie, m.instructions.clone()));
                    }
                    FlowCommand::ModifyStrict => {
                        if let Some(there) = self.flows.get_mut(&id) {
                            there.1 = m.instructions.clone();
                        }
                    }
                    FlowCommand::DeleteStrict => drop(self.flows.remove(&id)),
                    other => panic!("the controller never sends {other:?}"),
                }
            }
            Message::GroupMod(m) => {
                let there = self.groups.contains_key(&m.group);
                let desc = GroupDesc {
                    group: m.group,
                    kind: m.kind,
                    buckets: m.buckets.clone(),
                    selection: None,
                    properties: Vec::new(),
                };
                match m.command {
                    GroupCommand::Add if there => return Err(error::OFPGMFC_GROUP_EXISTS),
                    GroupCommand::Modify if !there => return Err(error::OFPGMFC_UNKNOWN_GROUP),
                    GroupCommand::Add | GroupCommand::Modify => {
                        self.groups.insert(m.group, desc);
                    }
                    GroupCommand::Delete => drop(self.groups.remove(&m.group)),
                    other => panic!("the controller never sends {other:?}"),
                }
            }
            Message::MeterMod(m) => {
                let config = MeterConfig {
                    flags: m.flags,
                    meter: m.meter,
                    bands: m.bands.clone(),
                };
                match m.command {
                    MeterCommand::Add | MeterCommand::Modify => {
                        self.meters.insert(m.meter, config);
                    }
                    MeterCommand::Delete => drop(self.meters.remove(&m.meter)),
                }
            }
            Message::ZoneLimits(entries) => {
                let (zones, _) = (self.limits.as_mut()).ok_or(error::OFPBRC_BAD_EXPERIMENTER)?;
                for entry in entries {
                    match entry.limit {
                        Some(_) => drop(zones.insert(entry.zone, *entry)),
                        None => drop(zones.remove(&entry.zone)),
                    }
                }
            }
            Message::Impairments(entries) => {
                let (_, ports) = (self.limits.as_mut()).ok_or(error::OFPBRC_BAD_EXPERIMENTER)?;
                for entry in entries {
                    match entry.is_none() {
                        false => drop(ports.insert(entry.port, *entry)),
                        true => drop(ports.remove(&entry.port)),
                    }
                }
            }
            Message::PortMod(m) => {
                let port = self.ports.get_mut(&m.port).ok_or(error::OFPPMFC_BAD_PORT)?;
                if port.hw_addr != m.hw_addr {
                    return Err(error::OFPPMFC_BAD_HW_ADDR);
                }
                port.config = (port.config & !m.mask) | (m.config & m.mask);
            }
            other => panic!("no modification: {other:?}"),
        }
        self.log.push(message.clone());
        Ok(())
    }

    /// OpenFlow 1.3.5, 6.3.5.
    fn elect(&mut self, us: usize, request: &RoleRequest) -> Result<RoleRequest, OfError> {
        if matches!(request.role, Role::Master | Role::Slave) {
            let older = |last: u64| (request.generation_id.wrapping_sub(last) as i64) < 0;
            if self.generation.is_some_and(older) {
                return Err(error::OFPRRFC_STALE);
            }
            self.generation = Some(request.generation_id);
            self.slaves.remove(&us);
            if request.role == Role::Slave {
                self.slaves.insert(us);
            } else if let Some(before) = self.master.replace(us).filter(|m| *m != us) {
                self.slaves.insert(before);
            }
        }
        Ok(RoleRequest {
            generation_id: self.generation.unwrap_or(u64::MAX),
            ..*request
        })
    }

    fn parts(&self, body: RequestBody) -> Vec<ReplyBody> {
        match body {
            RequestBody::Desc => vec![ReplyBody::Desc(SwitchDesc {
                dp_desc: self.name.clone(),
                ..SwitchDesc::default()
            })],
            RequestBody::PortDesc(_) => {
                vec![ReplyBody::PortDesc(self.ports.values().cloned().collect())]
            }
            RequestBody::GroupDesc(_) => vec![ReplyBody::GroupDesc(
                self.groups.values().cloned().collect(),
            )],
            RequestBody::Meter(_) => vec![ReplyBody::Meter(Vec::new())],
            RequestBody::MeterConfig(_) => {
                vec![ReplyBody::MeterConfig(
                    self.meters.values().cloned().collect(),
                )]
            }
            RequestBody::Flow(_) => {
                let flows = self
                    .flows
                    .iter()
                    .map(|(id, (cookie, instructions))| FlowStats {
                        table: id.table,
                        duration_sec: 1,
                        duration_nsec: 0,
                        priority: id.priority,
                        idle_timeout: 0,
                        hard_timeout: 0,
                        flags: 0,
                        importance: 0,
                        cookie: *cookie,
                        packet_count: 5,
                        byte_count: 500,
                        matching: id.matching.clone(),
                        instructions: instructions.clone(),
                        more: openflow::msg::MoreStats::default(),
                    });
                let flows: Vec<_> = flows.collect();
                // In several messages, as large answers come.
                let mut parts: Vec<_> = flows
                    .chunks(7)
                    .map(|c| ReplyBody::Flow(c.to_vec()))
                    .collect();
                if parts.is_empty() {
                    parts.push(ReplyBody::Flow(Vec::new()));
                }
                parts
            }
            other => panic!("the controller does not ask for {other:?}"),
        }
    }
}

/// A connection of the switch to the controller.
pub struct Switch {
    pub state: Arc<Mutex<State>>,
    unasked: mpsc::UnboundedSender<Message>,
    task: tokio::task::JoinHandle<()>,
}

impl Switch {
    pub async fn connect(target: &Target, state: Arc<Mutex<State>>) -> Switch {
        let address = target.local_address().expect("tests use TCP");
        let stream = TcpStream::connect(address).await.unwrap();
        let (unasked, queue) = mpsc::unbounded_channel();
        let task = tokio::spawn(serve(stream, state.clone(), queue));
        Switch {
            state,
            unasked,
            task,
        }
    }

    pub fn announce(&self, reason: PortReason, desc: PortDesc) {
        let status = PortStatus { reason, desc };
        self.unasked.send(Message::PortStatus(status)).unwrap();
    }

    /// Sends a packet to the controller.
    pub fn packet_in(&self, packet: PacketIn) {
        self.unasked.send(Message::PacketIn(packet)).unwrap();
    }

    pub fn disconnect(self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    state: Arc<Mutex<State>>,
    mut unasked: mpsc::UnboundedReceiver<Message>,
) {
    let mut framer = wire::Framer::new();
    let mut buffer = vec![0; 65536];
    let mut bundle: Vec<(u32, Message)> = Vec::new();
    let mut out = Vec::new();
    let us = {
        let mut state = state.lock().unwrap();
        state.connections += 1;
        state.connections
    };
    wire::encode(V, 0, &Message::Hello(Hello::offering(&[V])), &mut out).unwrap();
    loop {
        stream
            .write_all(&std::mem::take(&mut out))
            .await
            .unwrap_or_default();
        tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(bytes) => framer.push(&buffer[..bytes]),
            },
            Some(message) = unasked.recv() => wire::encode(V, 0, &message, &mut out).unwrap(),
        }
        while let Some(frame) = framer.next_frame().unwrap() {
            let (xid, frame) = (wire::Header::read(frame).unwrap().xid, frame.to_vec());
            let message = wire::decode(V, &frame).unwrap();
            let mut state = state.lock().unwrap();
            if state.mute {
                continue;
            }
            if let Message::RoleRequest(request) = &message {
                let reply = match state.elect(us, request) {
                    Ok(reply) => Message::RoleReply(reply),
                    Err(stale) => Message::Error(ErrorMsg::about(stale, &frame)),
                };
                wire::encode(V, xid, &reply, &mut out).unwrap();
                continue;
            }
            if state.slaves.contains(&us) && is_write(&message) {
                let fenced = ErrorMsg::about(error::OFPBRC_IS_SLAVE, &frame);
                wire::encode(V, xid, &Message::Error(fenced), &mut out).unwrap();
                continue;
            }
            for (xid, reply) in answer(&mut state, &mut bundle, xid, message, &frame) {
                wire::encode(V, xid, &reply, &mut out).unwrap();
            }
        }
    }
}

fn is_write(message: &Message) -> bool {
    matches!(
        message,
        Message::FlowMod(_)
            | Message::GroupMod(_)
            | Message::MeterMod(_)
            | Message::PortMod(_)
            | Message::BundleControl(_)
            | Message::BundleAdd(_)
            | Message::CookieLabels(_)
            | Message::ZoneLimits(_)
            | Message::Impairments(_)
    )
}

fn answer(
    state: &mut State,
    bundle: &mut Vec<(u32, Message)>,
    xid: u32,
    message: Message,
    frame: &[u8],
) -> Vec<(u32, Message)> {
    let error = |xid, error| vec![(xid, Message::Error(ErrorMsg::about(error, frame)))];
    match message {
        Message::Hello(_) => vec![],
        Message::EchoRequest(data) => vec![(xid, Message::EchoReply(data))],
        Message::EchoReply(_) => {
            state.log.push(message);
            vec![]
        }
        Message::FeaturesRequest => {
            let features = SwitchFeatures {
                datapath_id: state.datapath,
                n_tables: 254,
                ..SwitchFeatures::default()
            };
            vec![(xid, Message::FeaturesReply(features))]
        }
        Message::BarrierRequest => {
            state.log.push(message);
            vec![(xid, Message::BarrierReply)]
        }
        Message::MultipartRequest(request) => {
            let parts = state.parts(request.body);
            let last = parts.len() - 1;
            let reply = |(at, body)| {
                let more = at < last;
                (xid, Message::MultipartReply(MultipartReply { more, body }))
            };
            parts.into_iter().enumerate().map(reply).collect()
        }
        Message::BundleControl(_) | Message::BundleAdd(_) if !state.bundles => {
            error(xid, error::OFPBRC_BAD_EXPERIMENTER)
        }
        Message::BundleControl(mut control) => {
            state.log.push(Message::BundleControl(control.clone()));
            if control.kind == BundleControlType::CommitRequest {
                let before = (state.flows.clone(), state.groups.clone(), state.log.len());
                for (inner, message) in bundle.drain(..) {
                    if let Err(refused) = state.modify(&message) {
                        (state.flows, state.groups) = (before.0, before.1);
                        state.log.truncate(before.2);
                        let mut errors = error(inner, refused);
                        errors.extend(error(xid, error::OFPBFC_MSG_FAILED));
                        return errors;
                    }
                }
            }
            bundle.clear();
            control.kind = control.kind.reply();
            vec![(xid, Message::BundleControl(control))]
        }
        Message::BundleAdd(add) => {
            assert_eq!(add.xid, xid, "OFPBFC_MSG_BAD_XID");
            assert!(
                !matches!(*add.message, Message::MeterMod(_)),
                "OFPBFC_MSG_UNSUP"
            );
            bundle.push((xid, *add.message));
            vec![]
        }
        Message::ZoneLimitsRequest | Message::ImpairmentsRequest if state.limits.is_none() => {
            error(xid, error::OFPBRC_BAD_EXPERIMENTER)
        }
        Message::ZoneLimitsRequest => {
            let zones = state.limits.iter().flat_map(|(zones, _)| zones.values());
            let zones = zones.copied().collect();
            vec![(xid, Message::ZoneLimits(zones))]
        }
        Message::ImpairmentsRequest => {
            let ports = state.limits.iter().flat_map(|(_, ports)| ports.values());
            let ports = ports.copied().collect();
            vec![(xid, Message::Impairments(ports))]
        }
        Message::HttpAnswers(_) => vec![],
        Message::CookieLabels(labels) => {
            state.labels.extend(labels.entries.clone());
            state.labels.retain(|_, label| !label.is_empty());
            vec![]
        }
        modification => match state.modify(&modification) {
            Ok(()) => vec![],
            Err(refused) => error(xid, refused),
        },
    }
}

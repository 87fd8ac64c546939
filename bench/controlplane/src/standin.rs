//! A stand-in switch: speaks OpenFlow 1.3 over a real connection, takes bundles, and of what it is
//! told to hold keeps two numbers a flow or group.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use net::{MacAddr, PortNo};
use openflow::error::OFPBRC_BAD_EXPERIMENTER;
use openflow::model::{PORT_NO_FWD, PORT_NO_RECV, PortDesc};
use openflow::msg::{
    BundleControlType, ErrorMsg, Hello, MultipartReply, PortReason, PortStatus, ReplyBody,
    RequestBody, SwitchDesc, SwitchFeatures,
};
use openflow::{Message, Version, wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const VERSION: Version = Version::V1_3;
/// Type of experimenter messages, flow-mods, group-mods (OpenFlow 1.3.5, A.1).
const EXPERIMENTER: u8 = 4;
const FLOW_MOD: u8 = 14;
const GROUP_MOD: u8 = 15;
/// ONF and its type of a bundle-add (extension 230).
const BUNDLE_ADD: [u8; 8] = [0x4f, 0x4e, 0x46, 0, 0, 0, 0x08, 0xfd];

/// What all stand-ins tell the measurement.
#[derive(Debug, Default)]
pub struct Log {
    /// When a switch brought something into force: which one, and modifications in it.
    pub commits: Vec<(usize, Instant, usize)>,
    pub bytes: u64,
}

pub type SharedLog = Arc<Mutex<Log>>;

/// What one holds.
#[derive(Debug, Default)]
pub struct Held {
    pub flows: HashMap<u64, u64>,
    pub groups: HashMap<u64, u64>,
    /// What the open bundle has so far: modifications, put off until it is committed.
    bundle: Vec<(bool, u8, u64, u64)>,
}

/// One stand-in.
pub struct StandIn {
    pub number: usize,
    pub name: String,
    pub ports: Vec<PortDesc>,
    pub log: SharedLog,
    pub held: Arc<Mutex<Held>>,
    /// Ports that appear later.
    pub plugged: mpsc::UnboundedReceiver<PortDesc>,
}

/// A pod's port as `sluice-cni` gets one: closed.
pub fn port(number: u32, name: String) -> PortDesc {
    let mac = MacAddr::from_u64(0x0200_0000_0000 | u64::from(number));
    PortDesc {
        port: PortNo(number),
        hw_addr: mac,
        name,
        config: PORT_NO_RECV | PORT_NO_FWD,
        state: 0,
        curr: 0,
        advertised: 0,
        supported: 0,
        peer: 0,
        curr_speed: 0,
        max_speed: 0,
        properties: Vec::new(),
    }
}

impl StandIn {
    /// Connects, again and again until there is a controller, and serves until the end.
    pub async fn run(mut self, controller: SocketAddr) -> Result<()> {
        let stream = loop {
            match TcpStream::connect(controller).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        stream.set_nodelay(true)?;
        let (mut read, mut write) = stream.into_split();
        let mut out = Vec::new();
        encode(0, &Message::Hello(Hello::offering(&[VERSION])), &mut out)?;
        let mut buffer = Vec::with_capacity(1 << 16);
        loop {
            if !out.is_empty() {
                write.write_all(&out).await?;
                out.clear();
            }
            tokio::select! {
                got = read.read_buf(&mut buffer) => {
                    let got = got?;
                    ensure!(got > 0, "the controller closed the connection of {}", self.name);
                    self.lock_log().bytes += got as u64;
                    let used = self.take(&buffer, &mut out)?;
                    buffer.drain(..used);
                }
                Some(desc) = self.plugged.recv() => {
                    let status = PortStatus { reason: PortReason::Add, desc: desc.clone() };
                    self.ports.push(desc);
                    encode(0, &Message::PortStatus(status), &mut out)?;
                }
            }
        }
    }

    fn lock_log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes whole messages; gives how many bytes they were.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        let mut used = 0;
        while let Some([_, kind, high, low, ..]) = bytes.get(used..).filter(|b| b.len() >= 8) {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            ensure!(length >= 8, "a message of {length} bytes");
            let Some(frame) = bytes.get(used..used + length) else {
                break;
            };
            let is_add = *kind == EXPERIMENTER && frame.get(8..16) == Some(&BUNDLE_ADD[..]);
            if is_add {
                self.modify(frame.get(24..).unwrap_or_default(), true)?;
            } else if matches!(*kind, FLOW_MOD | GROUP_MOD) {
                self.modify(frame, false)?;
            } else {
                self.answer(frame, out)?;
            }
            used += length;
        }
        Ok(used)
    }

    /// Notes a flow-mod or group-mod: what it is about and what it says.
    fn modify(&mut self, frame: &[u8], bundled: bool) -> Result<()> {
        let mut held = self
            .held
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let part = |from: usize, to: usize| frame.get(from..to).unwrap_or_default();
        let (is_flow, command, key, value) = match frame.get(1) {
            Some(&FLOW_MOD) => {
                let length = part(50, 52).iter().fold(0, |n, b| n << 8 | usize::from(*b));
                let end = 48 + length.next_multiple_of(8);
                let key = hash(hash(hash(1, part(24, 25)), part(30, 32)), part(48, end));
                let value = hash(hash(2, part(8, 16)), frame.get(end..).unwrap_or_default());
                (true, part(25, 26).first().copied().unwrap_or(0), key, value)
            }
            Some(&GROUP_MOD) => {
                let key = hash(3, part(12, 16));
                let value = hash(4, frame.get(10..).unwrap_or_default());
                (false, part(9, 10).first().copied().unwrap_or(0), key, value)
            }
            other => bail!("a message of type {other:?} in a bundle"),
        };
        let change = (is_flow, command, key, value);
        if bundled {
            held.bundle.push(change);
        } else {
            held.apply(change);
        }
        Ok(())
    }

    fn answer(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let xid = wire::Header::read(frame).map_or(0, |header| header.xid);
        let message = match wire::decode(VERSION, frame) {
            Ok(message) => message,
            Err(error) => bail!("{}: a message that cannot be read: {error}", self.name),
        };
        let reply = match message {
            Message::EchoRequest(data) => Message::EchoReply(data),
            Message::BarrierRequest => Message::BarrierReply,
            Message::FeaturesRequest => Message::FeaturesReply(SwitchFeatures {
                datapath_id: self.number as u64 + 1,
                n_tables: 254,
                ..SwitchFeatures::default()
            }),
            Message::MultipartRequest(request) => {
                let body = match request.body {
                    RequestBody::Desc => ReplyBody::Desc(SwitchDesc {
                        dp_desc: self.name.clone(),
                        ..SwitchDesc::default()
                    }),
                    RequestBody::PortDesc(_) => ReplyBody::PortDesc(self.ports.clone()),
                    // It has just been started.
                    RequestBody::Flow(_) => ReplyBody::Flow(Vec::new()),
                    RequestBody::GroupDesc(_) => ReplyBody::GroupDesc(Vec::new()),
                    RequestBody::MeterConfig(_) => ReplyBody::MeterConfig(Vec::new()),
                    other => bail!("nobody asks a stand-in for {other:?}"),
                };
                Message::MultipartReply(MultipartReply { more: false, body })
            }
            Message::BundleControl(mut control) => {
                if control.kind == BundleControlType::CommitRequest {
                    let mut held = self
                        .held
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    let bundle = std::mem::take(&mut held.bundle);
                    let changes = bundle.len();
                    bundle.into_iter().for_each(|change| held.apply(change));
                    drop(held);
                    let now = Instant::now();
                    self.lock_log().commits.push((self.number, now, changes));
                }
                control.kind = control.kind.reply();
                Message::BundleControl(control)
            }
            // Names of cookies are for switches that show them.
            Message::CookieLabels(_) => {
                Message::Error(ErrorMsg::about(OFPBRC_BAD_EXPERIMENTER, frame))
            }
            Message::Hello(_) | Message::PortMod(_) | Message::EchoReply(_) => return Ok(()),
            Message::MeterMod(_) | Message::Error(_) => return Ok(()),
            // Roles and settings are acknowledged by doing as told.
            Message::RoleRequest(role) => Message::RoleReply(role),
            Message::ZoneLimitsRequest => Message::ZoneLimits(Vec::new()),
            Message::ImpairmentsRequest => Message::Impairments(Vec::new()),
            _ => return Ok(()),
        };
        encode(xid, &reply, out)
    }
}

impl Held {
    fn apply(&mut self, (is_flow, command, key, value): (bool, u8, u64, u64)) {
        let map = if is_flow {
            &mut self.flows
        } else {
            &mut self.groups
        };
        // OFPFC_DELETE_STRICT is 4, OFPGC_DELETE 2.
        let gone = command == if is_flow { 4 } else { 2 };
        if gone {
            map.remove(&key);
        } else {
            map.insert(key, value);
        }
    }
}

/// Eight bytes at a time: it only has to tell differences, and there are 10 GB to read.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| {
        (hash ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    };
    let mut chunks = bytes.chunks_exact(8);
    let mut state = mix(seed, bytes.len() as u64);
    for chunk in chunks.by_ref() {
        state = mix(state, chunk.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
    }
    let rest = chunks.remainder();
    mix(state, rest.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
}

fn encode(xid: u32, message: &Message, out: &mut Vec<u8>) -> Result<()> {
    wire::encode(VERSION, xid, message, out).map_err(|error| anyhow::anyhow!("{error}"))
}

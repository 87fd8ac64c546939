//! One Ethernet port of a DPDK device.

use crate::{DpdkError, Eal, RxQueue, TxQueue, log};
use dpdk_sys as sys;
use packet::Pool;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// An attached port. It is stopped, closed and given back when dropped.
#[derive(Debug)]
pub struct DevicePort {
    id: u16,
    devargs: String,
    info: PortInfo,
    started: AtomicBool,
}

/// The queues of a started port, each for one thread.
#[derive(Debug)]
pub struct Queues {
    /// As many as were configured.
    pub rx: Vec<RxQueue>,
    /// As many as were configured.
    pub tx: Vec<TxQueue>,
}

/// What the driver says of a port.
#[derive(Clone, Debug)]
pub struct PortInfo {
    /// The driver, as in `net_af_packet`.
    pub driver: String,
    /// The device's address.
    pub mac: [u8; 6],
    /// Smallest MTU, bytes.
    pub min_mtu: u16,
    /// Largest MTU, bytes.
    pub max_mtu: u16,
    /// Most rx queues.
    pub max_rx_queues: u16,
    /// Most tx queues.
    pub max_tx_queues: u16,
    /// NUMA node; None if the device is on none.
    pub socket: Option<u32>,
    /// `RTE_ETH_RX_OFFLOAD_*` it has.
    pub rx_offloads: u64,
    /// `RTE_ETH_TX_OFFLOAD_*` it has.
    pub tx_offloads: u64,
    /// `RTE_ETH_RSS_*` it has: by what it can spread packets over rx queues.
    pub rss_types: u64,
    /// Length of the key of that hash, bytes; 0 if it takes none.
    pub rss_key_len: u8,
}

impl PortInfo {
    /// The device computes IPv4, TCP and UDP checksums of what it sends.
    pub fn finishes_checksums(&self) -> bool {
        let all = sys::DP_TX_OFFLOAD_IPV4_CKSUM
            | sys::DP_TX_OFFLOAD_TCP_CKSUM
            | sys::DP_TX_OFFLOAD_UDP_CKSUM;
        self.tx_offloads & all == all
    }

    /// The device cuts large TCP frames.
    pub fn segments_tcp(&self) -> bool {
        self.tx_offloads & sys::DP_TX_OFFLOAD_TCP_TSO != 0
    }
}

/// How a port is set up.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Number of rx queues.
    pub rx_queues: u16,
    /// Number of tx queues.
    pub tx_queues: u16,
    /// Descriptors per queue; the driver's limits apply.
    pub descriptors: u16,
    /// Largest L3 packet, bytes; None: the device's own.
    pub mtu: Option<u16>,
    /// Where received packets are stored.
    pub pool: Pool,
    /// Key of the hash by which the device spreads packets over several rx queues, of
    /// [`PortInfo::rss_key_len`] bytes; empty: the device's own.
    pub rss_key: Vec<u8>,
}

/// State of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// There is a carrier.
    pub up: bool,
    /// Mbit/s; 0 is unknown.
    pub speed: u32,
}

/// The device's own counters.
pub type DeviceStats = sys::dp_port_stats;

/// Ports attached here. Held while attaching and detaching: DPDK's hot-plug is not to be called by two
/// threads at once, and it finds a device that is attached already without a word.
static ATTACHED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Offloads that are used where a port has them.
const RX_OFFLOADS: u64 = sys::DP_RX_OFFLOAD_CHECKSUM;
const TX_OFFLOADS: u64 = sys::DP_TX_OFFLOAD_IPV4_CKSUM
    | sys::DP_TX_OFFLOAD_TCP_CKSUM
    | sys::DP_TX_OFFLOAD_UDP_CKSUM
    | sys::DP_TX_OFFLOAD_TCP_TSO
    | sys::DP_TX_OFFLOAD_MULTI_SEGS;
/// Ethernet header, two VLAN tags and frame check sequence: what a frame has beyond its MTU, bytes.
const FRAME_OVERHEAD: usize = 14 + 8 + 4;

impl DevicePort {
    /// Attaches the device that `devargs` names, as DPDK spells it: a PCI address or a virtual device,
    /// with its arguments.
    pub fn attach(_eal: Eal, devargs: &str) -> Result<DevicePort, DpdkError> {
        let c_devargs =
            CString::new(devargs).map_err(|_| DpdkError::refused("device", libc::EINVAL, &[]))?;
        let mut ids = [0; 2];
        let mut attached = ATTACHED.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: EAL runs; string and array live for the call and the length is the array's.
        let (found, mut said) = log::capture(|| unsafe {
            sys::dp_port_attach(c_devargs.as_ptr(), ids.as_mut_ptr(), ids.len() as u32)
        });
        let ids = ids.get(..found.max(0) as usize).unwrap_or(&ids);
        if found == -libc::EEXIST || ids.iter().any(|id| attached.contains(id)) {
            said.push("another port uses this device".into());
            return Err(DpdkError::refused("attach", libc::EEXIST, &said));
        }
        if found == -libc::EFAULT {
            said.push(
                "no bus or driver knows such a name; PCI devices are spelled 0000:3b:00.0".into(),
            );
            return Err(DpdkError::refused("attach", libc::ENODEV, &said)); // EAL says "bad address"
        }
        if found < 0 {
            return Err(DpdkError::refused("attach", found, &said));
        }
        let [id] = *ids else {
            ids.iter().for_each(|&id| detach(id));
            said.push(format!("it has {found} ports, and exactly one is needed"));
            return Err(DpdkError::refused("attach", libc::ENODEV, &said));
        };
        let info = read_info(id).inspect_err(|_| detach(id))?;
        attached.insert(id);
        Ok(DevicePort {
            id,
            devargs: devargs.to_owned(),
            info,
            started: AtomicBool::new(false),
        })
    }

    /// DPDK's number of the port.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The device as it was attached.
    pub fn devargs(&self) -> &str {
        &self.devargs
    }

    /// What the driver says of it.
    pub fn info(&self) -> &PortInfo {
        &self.info
    }

    /// Configures queues and starts the port, in promiscuous mode where it has one. Once per port.
    pub fn start(self: &Arc<Self>, config: &PortConfig) -> Result<Queues, DpdkError> {
        if self.started.swap(true, Ordering::SeqCst) {
            return Err(DpdkError::State("the port was started before"));
        }
        let Some(pool) = config.pool.mempool() else {
            return Err(DpdkError::State(
                "a DPDK port needs a pool in DPDK's memory",
            ));
        };
        let mut rx_offloads = RX_OFFLOADS & self.info.rx_offloads;
        let frame = usize::from(config.mtu.unwrap_or(1500)) + FRAME_OVERHEAD;
        if frame > config.pool.data_room() {
            rx_offloads |= sys::DP_RX_OFFLOAD_SCATTER & self.info.rx_offloads;
        }
        let raw = sys::dp_port_config {
            rx_queues: config.rx_queues,
            tx_queues: config.tx_queues,
            rx_descriptors: config.descriptors,
            tx_descriptors: config.descriptors,
            mtu: config.mtu.unwrap_or(0),
            rx_offloads,
            tx_offloads: TX_OFFLOADS & self.info.tx_offloads,
            pool,
            rss: config.rx_queues > 1 && self.info.rss_types != 0,
            rss_key: match config.rss_key.is_empty() {
                true => std::ptr::null(),
                false => config.rss_key.as_ptr(),
            },
            rss_key_len: config.rss_key.len() as u8,
        };
        // SAFETY: the port is attached; the configuration lives for the call; pools live for ever.
        self.check("configure", || unsafe { sys::dp_port_setup(self.id, &raw) })?;
        // SAFETY: the port is attached and configured.
        self.check("start", || unsafe { sys::rte_eth_dev_start(self.id) })?;
        if let Some(mtu) = config.mtu {
            self.confirm_mtu(mtu)?;
        }
        // Virtual devices often have no such mode and see everything anyway.
        // SAFETY: the port is attached.
        let _ = log::capture(|| unsafe { sys::rte_eth_promiscuous_enable(self.id) });
        // SAFETY: started with these numbers of queues, once, so no queue is made twice.
        unsafe {
            let rx = (0..config.rx_queues).map(|n| RxQueue::new(Arc::clone(self), n));
            let tx = (0..config.tx_queues)
                .map(|n| TxQueue::new(Arc::clone(self), n, config.pool.clone()));
            Ok(Queues {
                rx: rx.collect(),
                tx: tx.collect(),
            })
        }
    }

    /// The link, without waiting for it to settle.
    pub fn link(&self) -> Link {
        let mut link = sys::dp_port_link::default();
        // SAFETY: the port is attached; the structure lives for the call.
        match unsafe { sys::dp_port_link(self.id, &mut link) } {
            0 => Link {
                up: link.up,
                speed: link.speed,
            },
            _ => Link {
                up: false,
                speed: 0,
            },
        }
    }

    /// The device's own counters; zeroes if it has none.
    pub fn stats(&self) -> DeviceStats {
        let mut stats = DeviceStats::default();
        // SAFETY: the port is attached; the structure lives for the call.
        match unsafe { sys::dp_port_stats(self.id, &mut stats) } {
            0 => stats,
            _ => DeviceStats::default(),
        }
    }

    /// The device's present address.
    pub fn mac(&self) -> [u8; 6] {
        let mut mac = self.info.mac;
        // SAFETY: the port is attached; the array is of the length the function writes.
        unsafe { sys::dp_port_mac(self.id, mac.as_mut_ptr()) };
        mac
    }

    /// Largest L3 packet, bytes.
    pub fn mtu(&self) -> u16 {
        let mut mtu = 0;
        // SAFETY: the port is attached; the number lives for the call.
        unsafe { sys::rte_eth_dev_get_mtu(self.id, &mut mtu) };
        mtu
    }

    /// Sets the largest L3 packet, bytes.
    pub fn set_mtu(&self, mtu: u16) -> Result<(), DpdkError> {
        // SAFETY: the port is attached.
        let (code, mut said) = log::capture(|| unsafe { sys::rte_eth_dev_set_mtu(self.id, mtu) });
        if code == 0 {
            return Ok(());
        }
        if self.info.driver == "net_af_packet" {
            let hint =
                "net_af_packet takes frames as large as its framesz: give framesz and blocksz";
            said.push(hint.into());
        }
        Err(DpdkError::refused(format!("set mtu {mtu}"), code, &said))
    }

    /// Drivers take the MTU from the configuration, or only by this call (`net_af_packet` sets it on the
    /// interface behind), or have no such call.
    fn confirm_mtu(&self, mtu: u16) -> Result<(), DpdkError> {
        match self.set_mtu(mtu) {
            Err(DpdkError::Refused { code, .. }) if code == -libc::ENOTSUP => Ok(()),
            result => result,
        }
    }

    /// Sets the link administratively up or down, if the device has such a switch.
    pub fn set_link(&self, up: bool) -> Result<(), DpdkError> {
        // SAFETY: the port is attached.
        let (code, said) = log::capture(|| unsafe {
            match up {
                true => sys::rte_eth_dev_set_link_up(self.id),
                false => sys::rte_eth_dev_set_link_down(self.id),
            }
        });
        match code {
            0 => Ok(()),
            code if code == -libc::ENOTSUP => Ok(()),
            code => Err(DpdkError::refused("set link", code, &said)),
        }
    }

    fn check(&self, what: &str, call: impl FnOnce() -> i32) -> Result<(), DpdkError> {
        match log::capture(call) {
            (code, said) if code < 0 => Err(DpdkError::refused(what, code, &said)),
            _ => Ok(()),
        }
    }
}

impl Drop for DevicePort {
    fn drop(&mut self) {
        let mut attached = ATTACHED.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the port is attached, and its queues are gone: they hold a reference to it.
        let _ = log::capture(|| unsafe { sys::rte_eth_dev_stop(self.id) });
        detach(self.id);
        attached.remove(&self.id);
    }
}

/// Closes a port and takes its device away; [`ATTACHED`] is held.
fn detach(id: u16) {
    // SAFETY: the port is attached and not started, and nobody uses it any more.
    let _ = log::capture(|| unsafe { sys::dp_port_detach(id) });
}

fn read_info(id: u16) -> Result<PortInfo, DpdkError> {
    // SAFETY: all zeroes is a valid dp_port_info: numbers and arrays of them.
    let mut raw: sys::dp_port_info = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives for the call.
    let (code, said) = log::capture(|| unsafe { sys::dp_port_info(id, &mut raw) });
    if code < 0 {
        return Err(DpdkError::refused("read device information", code, &said));
    }
    let driver: Vec<u8> = raw
        .driver
        .iter()
        .map(|&c| c as u8)
        .take_while(|&c| c != 0)
        .collect();
    Ok(PortInfo {
        driver: String::from_utf8_lossy(&driver).into_owned(),
        mac: raw.mac,
        min_mtu: raw.min_mtu,
        max_mtu: raw.max_mtu,
        max_rx_queues: raw.max_rx_queues,
        max_tx_queues: raw.max_tx_queues,
        socket: u32::try_from(raw.socket).ok(),
        rx_offloads: raw.rx_offloads,
        tx_offloads: raw.tx_offloads,
        rss_types: raw.rss_types,
        rss_key_len: raw.rss_key_len,
    })
}

//! A kernel interface as the control plane sees it.

use crate::counters::Counters;
use crate::{Caps, PortControl, PortError, PortSpec, PortStats};
use net::MacAddr;
use os::{OsError, PacketSocket, Received, Tap, VNET_HEADER, interface};
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed};

/// A file descriptor that carries frames with the offload header.
pub(super) enum Device {
    Tap(Tap),
    Socket(PacketSocket),
}

impl Device {
    #[inline]
    pub(super) fn recv(
        &self,
        header: &mut [u8; VNET_HEADER],
        head: &mut [u8],
        tail: &mut [u8],
    ) -> io::Result<Received> {
        match self {
            Device::Tap(tap) => tap.recv(header, head, tail),
            Device::Socket(socket) => socket.recv(header, head, tail),
        }
    }

    #[inline]
    pub(super) fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Device::Tap(tap) => tap.send(parts),
            Device::Socket(socket) => socket.send(parts),
        }
    }
}

pub(super) struct VnetControl {
    name: String,
    iface: String,
    pub(super) device: Device,
    pub(super) counters: Counters,
    caps: Caps,
    /// What was last known: a tap that moved to another namespace cannot be asked.
    mtu: AtomicU16,
    /// The carrier a tap was given.
    carrier: AtomicBool,
}

impl VnetControl {
    /// Creates a tap and, unless the port starts closed (then its user will), brings it up.
    pub(super) fn tap(spec: &PortSpec, iface: &str) -> Result<VnetControl, PortError> {
        let opened = Tap::create(iface).and_then(|tap| {
            configure(spec, iface, !spec.closed)?;
            Ok(tap)
        });
        let tap = opened.map_err(|e| open_error(spec, &e))?;
        let caps = Caps {
            csum: true,
            tso: true,
            uso: tap.has_uso(),
        };
        Ok(Self::new(spec, iface, Device::Tap(tap), caps))
    }

    /// Opens a packet socket on an existing interface and takes it away from the host's IP stack.
    pub(super) fn veth(spec: &PortSpec, iface: &str) -> Result<VnetControl, PortError> {
        let opened = PacketSocket::open(iface).and_then(|socket| {
            interface::detach_host_stack(iface);
            configure(spec, iface, true)?;
            Ok(socket)
        });
        let socket = opened.map_err(|e| open_error(spec, &e))?;
        // The kernel cuts what the interface behind cannot take.
        let caps = Caps {
            csum: true,
            tso: true,
            uso: true,
        };
        Ok(Self::new(spec, iface, Device::Socket(socket), caps))
    }

    fn new(spec: &PortSpec, iface: &str, device: Device, caps: Caps) -> VnetControl {
        VnetControl {
            name: spec.name.clone(),
            iface: iface.to_owned(),
            device,
            counters: Counters::default(),
            caps,
            mtu: AtomicU16::new(spec.mtu.unwrap_or(1500)),
            carrier: AtomicBool::new(true),
        }
    }

    fn set_error(&self, what: String, error: &OsError) -> PortError {
        PortError::Set {
            port: self.name.clone(),
            what,
            reason: error.to_string(),
        }
    }
}

impl PortControl for VnetControl {
    fn name(&self) -> &str {
        &self.name
    }

    fn mac(&self) -> MacAddr {
        let mac = match &self.device {
            Device::Tap(tap) => tap.mac(),
            Device::Socket(_) => interface::mac(&self.iface),
        };
        MacAddr(mac.unwrap_or_default())
    }

    fn mtu(&self) -> u16 {
        let mtu = interface::mtu(&self.iface).ok();
        if let Some(mtu) = mtu.and_then(|mtu| u16::try_from(mtu).ok()) {
            self.mtu.store(mtu, Relaxed);
        }
        self.mtu.load(Relaxed)
    }

    fn link_up(&self) -> bool {
        match &self.device {
            Device::Tap(tap) => self.carrier.load(Relaxed) && tap.is_up(),
            Device::Socket(_) => interface::is_running(&self.iface).unwrap_or(false),
        }
    }

    fn speed(&self) -> u32 {
        interface::speed(&self.iface).unwrap_or(0)
    }

    fn caps(&self) -> Caps {
        self.caps
    }

    fn stats(&self) -> PortStats {
        let mut stats = self.counters.read();
        if let Device::Socket(socket) = &self.device {
            stats.rx_dropped += socket.dropped();
        }
        stats
    }

    /// A tap may be in a pod's namespace, out of reach by name: there it is the carrier that is set.
    fn set_up(&self, up: bool) -> Result<(), PortError> {
        let set = match &self.device {
            Device::Tap(tap) => tap.set_carrier(up),
            Device::Socket(_) => interface::set_up(&self.iface, up),
        };
        let what = if up { "up" } else { "down" };
        set.map_err(|e| self.set_error(what.into(), &e))?;
        self.carrier.store(up, Relaxed);
        Ok(())
    }

    fn set_mtu(&self, mtu: u16) -> Result<(), PortError> {
        interface::set_mtu(&self.iface, u32::from(mtu))
            .map_err(|e| self.set_error(format!("mtu {mtu}"), &e))?;
        self.mtu.store(mtu, Relaxed);
        Ok(())
    }
}

fn configure(spec: &PortSpec, iface: &str, up: bool) -> Result<(), OsError> {
    if let Some(mtu) = spec.mtu {
        interface::set_mtu(iface, u32::from(mtu))?;
    }
    if up {
        interface::set_up(iface, true)?;
    }
    Ok(())
}

fn open_error(spec: &PortSpec, error: &OsError) -> PortError {
    PortError::Open {
        port: spec.name.clone(),
        device: spec.kind.to_string(),
        reason: error.to_string(),
    }
}

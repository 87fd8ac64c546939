//! Settings of one interface in this thread's network namespace, by name.

use crate::OsError;
use crate::control::{control_socket, ifreq, ioctl};
use std::os::fd::AsFd;

/// The kernel's index of the interface.
pub fn index(name: &str) -> Result<u32, OsError> {
    let request = call(name, libc::SIOCGIFINDEX, "index", |_| {})?;
    // SAFETY: SIOCGIFINDEX fills this variant.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex } as u32)
}

/// True if the interface is up and has a carrier.
pub fn is_running(name: &str) -> Result<bool, OsError> {
    let wanted = libc::IFF_UP | libc::IFF_RUNNING;
    Ok(i32::from(flags(name)?) & wanted == wanted)
}

/// Sets the interface administratively up or down.
pub fn set_up(name: &str, up: bool) -> Result<(), OsError> {
    let mut flags = flags(name)?;
    if up {
        flags |= libc::IFF_UP as libc::c_short;
    } else {
        flags &= !(libc::IFF_UP as libc::c_short);
    }
    let what = if up { "up" } else { "down" };
    call(name, libc::SIOCSIFFLAGS, what, |request| {
        request.ifr_ifru.ifru_flags = flags
    })?;
    Ok(())
}

/// Largest L3 packet, bytes.
pub fn mtu(name: &str) -> Result<u32, OsError> {
    let request = call(name, libc::SIOCGIFMTU, "MTU", |_| {})?;
    // SAFETY: SIOCGIFMTU fills this variant.
    Ok(unsafe { request.ifr_ifru.ifru_mtu } as u32)
}

/// Sets the largest L3 packet, bytes.
pub fn set_mtu(name: &str, mtu: u32) -> Result<(), OsError> {
    let value = libc::c_int::try_from(mtu).unwrap_or(libc::c_int::MAX);
    let what = format!("MTU {mtu}");
    call(name, libc::SIOCSIFMTU, &what, |request| {
        request.ifr_ifru.ifru_mtu = value
    })?;
    Ok(())
}

/// The Ethernet address.
pub fn mac(name: &str) -> Result<[u8; 6], OsError> {
    let request = call(name, libc::SIOCGIFHWADDR, "address", |_| {})?;
    Ok(address_of(&request))
}

/// Sets the Ethernet address.
pub fn set_mac(name: &str, mac: [u8; 6]) -> Result<(), OsError> {
    call(name, libc::SIOCSIFHWADDR, "address", |request| {
        let mut address = libc::sockaddr {
            sa_family: libc::ARPHRD_ETHER,
            sa_data: [0; 14],
        };
        for (to, from) in address.sa_data.iter_mut().zip(mac) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_hwaddr = address;
    })?;
    Ok(())
}

/// Mbit/s as the driver says; None if it does not.
pub fn speed(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/speed")).ok()?;
    text.trim().parse().ok().filter(|&speed| speed != u32::MAX)
}

/// Keeps the host's own IP stack from answering or forwarding what comes in by this interface, which
/// belongs to the dataplane. What cannot be set (no IPv6, read-only /proc/sys) is left.
pub fn detach_host_stack(name: &str) {
    for (family, key, value) in [
        ("ipv4", "arp_ignore", "8"), // do not reply for any local address
        ("ipv4", "forwarding", "0"),
        ("ipv6", "disable_ipv6", "1"),
    ] {
        let path = format!("/proc/sys/net/{family}/conf/{name}/{key}");
        let _ = std::fs::write(path, value);
    }
}

/// The address that SIOCGIFHWADDR left in `request`.
pub(crate) fn address_of(request: &libc::ifreq) -> [u8; 6] {
    // SAFETY: every byte pattern is a valid sockaddr; SIOCGIFHWADDR fills this variant.
    let data = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
    std::array::from_fn(|i| data[i] as u8)
}

fn flags(name: &str) -> Result<libc::c_short, OsError> {
    let request = call(name, libc::SIOCGIFFLAGS, "flags", |_| {})?;
    // SAFETY: SIOCGIFFLAGS fills this variant.
    Ok(unsafe { request.ifr_ifru.ifru_flags })
}

/// One of the interface ioctls, all of which take an `ifreq`.
fn call(
    name: &str,
    number: libc::c_ulong,
    what: &str,
    fill: impl FnOnce(&mut libc::ifreq),
) -> Result<libc::ifreq, OsError> {
    let socket = control_socket()?;
    let mut request = ifreq(name)?;
    fill(&mut request);
    // SAFETY: callers in this file pass SIOC[GS]IF* numbers, which take an ifreq.
    unsafe { ioctl(socket.as_fd(), number, &mut request) }
        .map_err(|e| OsError::new(format!("interface {name}: {what}"), e))?;
    Ok(request)
}

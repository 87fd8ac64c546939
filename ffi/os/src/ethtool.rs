//! Offload switches, as `ethtool -K` sets them (linux/ethtool.h).

use crate::OsError;
use crate::control::{control_socket, ifreq, ioctl};
use std::io;
use std::os::fd::AsFd;

const SIOCETHTOOL: libc::c_ulong = 0x8946;
/// Command numbers of `ethtool_value` setters, with `ethtool -K`'s names.
const SWITCHES: [(u32, &str); 5] = [
    (0x1f, "tso"),
    (0x24, "gso"),
    (0x2c, "gro"),
    (0x17, "tx"),
    (0x19, "sg"),
];

#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// Switches off segmentation, checksum and receive merging of an interface, so that every frame on it
/// is what a wire would carry. A switch the driver does not have counts as off.
pub fn disable_offloads(name: &str) -> Result<(), OsError> {
    let socket = control_socket()?;
    for (cmd, switch) in SWITCHES {
        let mut value = EthtoolValue { cmd, data: 0 };
        let mut request = ifreq(name)?;
        request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut value).cast();
        // SAFETY: SIOCETHTOOL takes an ifreq whose data points to the command's structure, here an
        // ethtool_value that outlives the call.
        let done = unsafe { ioctl(socket.as_fd(), SIOCETHTOOL, &mut request) };
        match done {
            Err(e) if !is_unsupported(&e) => {
                return Err(OsError::new(format!("interface {name}: {switch} off"), e));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

//! Pools of packet buffers in DPDK's memory.

use crate::{DpdkError, Eal, eal, log};
use dpdk_sys as sys;
use packet::{HEADROOM, PRIVATE_SIZE, Pool};
use std::ffi::CString;
use std::ptr::NonNull;

/// Buffers each registered thread keeps for itself; measured: none costs twice the time per packet.
const CACHE: u32 = 250;

/// A pool of `count` segments with room for `data_room` bytes behind the headroom. It lives as long as
/// the process. `name` is the mempool's, unique and at most 25 bytes.
pub fn create_pool(_eal: Eal, name: &str, count: u32, data_room: usize) -> Result<Pool, DpdkError> {
    let buf_len = data_room.saturating_add(usize::from(HEADROOM));
    let buf_len = u16::try_from(buf_len).unwrap_or(u16::MAX);
    let what = || format!("packet pool {name} of {count} buffers of {buf_len} bytes");
    let c_name = CString::new(name).map_err(|_| DpdkError::refused(what(), libc::EINVAL, &[]))?;
    // DPDK wants a cache of at most two thirds of the pool.
    let cache = CACHE.min(count / 2);
    let (private, any_socket) = (PRIVATE_SIZE as u16, -1);
    // SAFETY: EAL runs; the name lives for the call. PRIVATE_SIZE is a multiple of 8, as asked.
    let create = || unsafe {
        sys::rte_pktmbuf_pool_create(c_name.as_ptr(), count, cache, private, buf_len, any_socket)
    };
    let (pool, mut said) = log::capture(create);
    let Some(pool) = NonNull::new(pool) else {
        let code = eal::errno();
        if code == libc::ENOMEM {
            said.push("give the dataplane more with --memory".into());
        }
        return Err(DpdkError::refused(what(), code, &said));
    };
    // SAFETY: just made, and nothing ever frees it.
    unsafe { Pool::dpdk(pool) }.ok_or_else(|| DpdkError::refused(what(), libc::EINVAL, &[]))
}

//! Segments in a DPDK mempool.

use crate::mbuf::{Mbuf, PRIVATE_SIZE};
use dpdk_sys as sys;
use std::ptr::NonNull;

/// A mempool of mbufs. Mempools live as long as the process: nothing frees one.
#[derive(Clone, Copy)]
pub(crate) struct DpdkPool {
    pool: NonNull<sys::rte_mempool>,
    buf_len: u16,
}

// SAFETY: a mempool may be used from any thread, registered with EAL or not.
unsafe impl Send for DpdkPool {}
// SAFETY: as above.
unsafe impl Sync for DpdkPool {}

impl DpdkPool {
    /// None if the pool's mbufs have no room for [`crate::PacketMeta`].
    ///
    /// # Safety
    /// `pool` is a mempool of mbufs made by `rte_pktmbuf_pool_create` and never freed.
    pub(crate) unsafe fn new(pool: NonNull<sys::rte_mempool>) -> Option<DpdkPool> {
        // SAFETY: the caller's promise.
        let (private, buf_len) = unsafe {
            (
                sys::dp_mbuf_private_size(pool.as_ptr()),
                sys::dp_mbuf_data_room(pool.as_ptr()),
            )
        };
        (usize::from(private) >= PRIVATE_SIZE).then_some(DpdkPool { pool, buf_len })
    }

    /// The pool of a live segment.
    ///
    /// # Safety
    /// `segment` came from a [`DpdkPool`], or from a device that was given one.
    pub(crate) unsafe fn of(segment: NonNull<Mbuf>) -> Option<DpdkPool> {
        // SAFETY: the caller's promise: the pointer is a live mempool.
        unsafe { DpdkPool::new(NonNull::new(segment.as_ref().pool.cast())?) }
    }

    pub(crate) fn as_ptr(self) -> *mut sys::rte_mempool {
        self.pool.as_ptr()
    }

    pub(crate) fn buf_len(self) -> u16 {
        self.buf_len
    }

    pub(crate) fn in_use(self) -> usize {
        // SAFETY: the pool is alive for ever.
        unsafe { sys::rte_mempool_in_use_count(self.pool.as_ptr()) as usize }
    }

    /// An empty segment, or None when the pool is empty.
    #[inline]
    pub(crate) fn alloc(self, data_off: u16) -> Option<NonNull<Mbuf>> {
        // SAFETY: the pool is alive for ever; it hands out a reset mbuf that is ours alone.
        unsafe {
            let mut segment = NonNull::new(sys::dp_mbuf_alloc(self.pool.as_ptr()).cast::<Mbuf>())?;
            let mbuf = segment.as_mut();
            mbuf.data_off = data_off.min(mbuf.buf_len);
            Some(segment)
        }
    }
}

/// Returns a chain to its pools.
///
/// # Safety
/// The caller owns the chain, whose segments come from mempools, and does not use it again.
#[inline]
pub(crate) unsafe fn free_chain(head: NonNull<Mbuf>) {
    // SAFETY: the caller's promise.
    unsafe { sys::dp_mbuf_free(head.as_ptr().cast()) };
}

/// Returns many chains to their pools.
///
/// # Safety
/// As [`free_chain`], for each.
#[inline]
pub(crate) unsafe fn free_chains(heads: &mut [*mut Mbuf]) {
    // SAFETY: the caller's promise; the array is alive and its length true.
    unsafe { sys::rte_pktmbuf_free_bulk(heads.as_mut_ptr().cast(), heads.len() as u32) };
}

//! Segments given back to their pools.

use crate::heap::HeapPool;
use crate::mbuf::Mbuf;
use crate::packet::Packet;
use std::ptr::NonNull;

/// Packets given back in one call.
const FREE_BATCH: usize = 32;

/// Frees many packets at once; the hot path's way, since mempools take segments back in bulk.
pub fn free_bulk(packets: impl IntoIterator<Item = Packet>) {
    let mut batch = [std::ptr::null_mut(); FREE_BATCH];
    let mut n = 0;
    for packet in packets {
        if packet.mbuf().is_heap() {
            continue; // dropped here
        }
        batch[n] = packet.into_raw().as_ptr();
        n += 1;
        if n == FREE_BATCH {
            // SAFETY: the batch owns these chains, which are of mempools.
            unsafe { free_mempool_chains(&mut batch) };
            n = 0;
        }
    }
    // SAFETY: as above.
    unsafe { free_mempool_chains(&mut batch[..n]) };
}

/// Returns a chain to its pool.
///
/// # Safety
/// The caller owns the chain alone and does not use it again.
#[inline]
pub(crate) unsafe fn free_chain(head: NonNull<Mbuf>) {
    // SAFETY: the chain is the caller's.
    if unsafe { !head.as_ref().is_heap() } {
        // SAFETY: one chain of mempool segments, the caller's.
        return unsafe { free_mempool_chains(&mut [head.as_ptr()]) };
    }
    let mut at = Some(head);
    while let Some(segment) = at {
        // SAFETY: the chain is the caller's; `next` is read before the segment goes.
        unsafe {
            at = NonNull::new(segment.as_ref().next);
            HeapPool::free(segment);
        }
    }
}

/// Returns chains of mempool segments.
///
/// # Safety
/// The caller owns each chain and does not use it again.
#[cfg(feature = "dpdk")]
#[inline]
unsafe fn free_mempool_chains(heads: &mut [*mut Mbuf]) {
    // SAFETY: the caller's promise.
    unsafe {
        match heads {
            [] => {}
            [head] => crate::dpdk::free_chain(NonNull::new_unchecked(*head)),
            heads => crate::dpdk::free_chains(heads),
        }
    }
}

/// Without DPDK there are no such chains.
#[cfg(not(feature = "dpdk"))]
unsafe fn free_mempool_chains(heads: &mut [*mut Mbuf]) {
    debug_assert!(heads.is_empty());
}

//! Segments on the heap: the pool of builds and tests without DPDK.
//!
//! Freed segments are kept for the next allocation, so a warm pool allocates nothing.

use crate::mbuf::{Mbuf, PRIVATE_SIZE};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

const HEADER: usize = size_of::<Mbuf>() + PRIVATE_SIZE;

/// Segments of one size, at most `limit` of them.
pub(crate) struct HeapPool {
    buf_len: u16,
    limit: usize,
    state: Mutex<State>,
}

struct State {
    free: Vec<NonNull<Mbuf>>,
    made: usize,
}

// SAFETY: the pointers in `free` are owned by the pool alone and are reached under its mutex.
unsafe impl Send for HeapPool {}
// SAFETY: as above.
unsafe impl Sync for HeapPool {}

impl HeapPool {
    pub(crate) fn new(buf_len: u16, limit: usize) -> Arc<HeapPool> {
        let state = State {
            free: Vec::new(),
            made: 0,
        };
        Arc::new(HeapPool {
            buf_len,
            limit,
            state: Mutex::new(state),
        })
    }

    pub(crate) fn buf_len(&self) -> u16 {
        self.buf_len
    }

    /// Segments in the hands of packets.
    pub(crate) fn in_use(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.made - state.free.len()
    }

    /// An empty segment, or None when `limit` are in use. It keeps the pool alive.
    pub(crate) fn alloc(self: &Arc<Self>, data_off: u16) -> Option<NonNull<Mbuf>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut segment = match state.free.pop() {
            Some(segment) => segment,
            None if state.made >= self.limit => return None,
            None => {
                state.made += 1;
                self.make()
            }
        };
        drop(state);
        // SAFETY: the segment came from `make` and left the free list, so nobody else has it.
        let mbuf = unsafe { segment.as_mut() };
        mbuf.reset(data_off.min(self.buf_len));
        mbuf.set_heap_pool(Arc::into_raw(Arc::clone(self)));
        Some(segment)
    }

    /// Takes back one segment.
    ///
    /// # Safety
    /// `segment` came from [`HeapPool::alloc`] and the caller gives up its only owner.
    pub(crate) unsafe fn free(segment: NonNull<Mbuf>) {
        // SAFETY: by the caller's promise the segment is alive and its pool pointer is the
        // reference that `alloc` leaked into it.
        let pool = unsafe { Arc::from_raw(segment.as_ref().heap_pool::<HeapPool>()) };
        let mut state = pool.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.free.push(segment);
    }

    /// The pool a live heap segment belongs to.
    ///
    /// # Safety
    /// `segment` is alive and came from [`HeapPool::alloc`].
    pub(crate) unsafe fn of(segment: NonNull<Mbuf>) -> Arc<HeapPool> {
        // SAFETY: the segment holds one reference, so the pool is alive; a second one is counted
        // before the first could go.
        unsafe {
            let pool = segment.as_ref().heap_pool::<HeapPool>();
            Arc::increment_strong_count(pool);
            Arc::from_raw(pool)
        }
    }

    fn layout(&self) -> Layout {
        // Cannot fail: the size is below 2^17 and the alignment a power of two.
        Layout::from_size_align(HEADER + usize::from(self.buf_len), align_of::<Mbuf>())
            .unwrap_or(Layout::new::<Mbuf>())
    }

    fn make(&self) -> NonNull<Mbuf> {
        let layout = self.layout();
        // SAFETY: the layout is not empty. Zeroed, so that buffer bytes are always initialised.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(segment) = NonNull::new(base.cast::<Mbuf>()) else {
            handle_alloc_error(layout)
        };
        // SAFETY: the allocation holds the header, the private area and `buf_len` bytes.
        unsafe {
            let buffer = base.add(HEADER);
            segment.write(Mbuf::for_heap(buffer, self.buf_len));
        }
        segment
    }
}

impl Drop for HeapPool {
    fn drop(&mut self) {
        let layout = self.layout();
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for segment in state.free.drain(..) {
            // SAFETY: made by `make` with the same layout; every segment is in the free list,
            // since one in use would keep the pool alive.
            unsafe { dealloc(segment.as_ptr().cast(), layout) };
        }
    }
}

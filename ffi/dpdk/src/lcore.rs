//! Threads that EAL knows.

use crate::{DpdkError, Eal, eal};
use dpdk_sys as sys;
use std::marker::PhantomData;

/// The calling thread has a number of its own in EAL, and with it mempool caches: without, each
/// allocation goes to the shared ring. Dropped on the same thread.
#[derive(Debug)]
pub struct RegisteredThread {
    _not_send: PhantomData<*const ()>,
}

impl RegisteredThread {
    /// Registers the calling thread; at most RTE_MAX_LCORE (Debian: 128) at a time.
    pub fn register(_eal: Eal) -> Result<RegisteredThread, DpdkError> {
        // SAFETY: EAL runs.
        match unsafe { sys::rte_thread_register() } {
            0 => Ok(RegisteredThread {
                _not_send: PhantomData,
            }),
            _ => Err(DpdkError::refused(
                "register a worker thread with EAL",
                eal::errno(),
                &[],
            )),
        }
    }

    /// The thread's number in EAL.
    pub fn id(&self) -> u32 {
        // SAFETY: no preconditions.
        unsafe { sys::dp_lcore_id() }
    }
}

impl Drop for RegisteredThread {
    fn drop(&mut self) {
        // SAFETY: this thread registered; it is the same, since the type is not Send.
        unsafe { sys::rte_thread_unregister() };
    }
}

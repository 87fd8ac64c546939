//! DPDK's environment and packet memory; heap memory in builds without DPDK.

use anyhow::Result;
use ports::Pools;

use crate::config::Config;

#[cfg(feature = "dpdk")]
mod with {
    use super::*;
    use dpdk::{Eal, EalConfig, LogLevel, RegisteredThread};
    use std::cell::RefCell;

    thread_local! {
        /// Ends with its thread.
        static REGISTERED: RefCell<Option<RegisteredThread>> = const { RefCell::new(None) };
    }

    /// Starts EAL and makes the pools.
    pub fn start(config: &Config) -> Result<Pools> {
        dpdk::forward_logs(|level, line| match level {
            // What fails is told again, in our words, where it matters.
            LogLevel::Error => tracing::warn!("DPDK: {line}"),
            LogLevel::Warning | LogLevel::Info => tracing::debug!("DPDK: {line}"),
        });
        let eal = Eal::start(&EalConfig {
            memory: Some(config.memory),
            no_huge: config.no_huge,
            file_prefix: format!("sluice-{}", std::process::id()),
            extra: config.eal.clone(),
        })?;
        Ok(Pools::dpdk(eal, config.memory)?)
    }

    /// Makes the calling thread known to EAL.
    pub fn register_thread() {
        let registered = Eal::running().and_then(RegisteredThread::register);
        match registered {
            Ok(thread) => REGISTERED.with(|place| *place.borrow_mut() = Some(thread)),
            Err(error) => tracing::warn!("{error}; packets will cost more"),
        }
    }

    /// DPDK's version.
    pub fn version() -> Option<String> {
        let version = Eal::version();
        Some(version.strip_prefix("DPDK ").unwrap_or(&version).to_owned())
    }
}

#[cfg(not(feature = "dpdk"))]
mod with {
    use super::*;
    use packet::Pool;

    /// Makes pools on the heap, of the size that was asked for.
    pub fn start(config: &Config) -> Result<Pools> {
        if !config.eal.is_empty() {
            tracing::warn!("this build has no DPDK: --eal is not used");
        }
        // Half for frames, a quarter for large ones.
        let bytes = (config.memory as usize) << 20;
        let (frames, big) = (bytes / 2 / Pools::FRAME_ROOM, bytes / 4 / Pools::BIG_ROOM);
        Ok(Pools {
            frames: Pool::heap_limited(Pools::FRAME_ROOM, frames),
            big: Pool::heap_limited(Pools::BIG_ROOM, big),
            counts: Some((frames, big)),
        })
    }

    /// Nothing to do without DPDK.
    pub fn register_thread() {}

    /// Not built in.
    pub fn version() -> Option<String> {
        None
    }
}

pub use with::{register_thread, start, version};

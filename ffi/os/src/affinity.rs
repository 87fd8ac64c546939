//! Which CPUs a thread may use, and how exactly it sleeps.

use std::num::NonZeroU64;

use crate::OsError;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Binds the calling thread to one CPU.
pub fn pin_current_thread(cpu: usize) -> Result<(), OsError> {
    let mut set = CpuSet::new();
    if cpu >= CpuSet::MAX_CPU {
        let error = std::io::Error::from_raw_os_error(libc::EINVAL);
        return Err(OsError::new(format!("pin to CPU {cpu}"), error));
    }
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|e| {
        OsError::new(
            format!("pin to CPU {cpu} (is it online and allowed?)"),
            e.into(),
        )
    })
}

/// CPUs the calling thread may use, ascending.
pub fn allowed_cpus() -> Result<Vec<usize>, OsError> {
    let set = sched_getaffinity(None).map_err(|e| OsError::new("read CPU affinity", e.into()))?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect())
}

/// Lets the calling thread's sleeps end within a microsecond of the time asked for, instead of the
/// kernel's usual 50 (prctl(2), PR_SET_TIMERSLACK).
pub fn sleep_exactly() -> Result<(), OsError> {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1000))
        .map_err(|e| OsError::new("set the timer slack", e.into()))
}

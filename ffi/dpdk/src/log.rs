//! DPDK's log: kept for error messages, and handed on to whoever wants it.

use std::collections::VecDeque;
use std::ffi::c_char;
use std::sync::{Mutex, PoisonError};

use dpdk_sys as sys;

/// Severity of a log line, coarser than syslog's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something may not work.
    Warning,
    /// All else.
    Info,
}

/// Receives complete lines.
type Forward = Box<dyn Fn(LogLevel, &str) + Send>;

/// Lines kept for [`capture`].
const KEPT: usize = 200;

struct Log {
    /// Lines written so far; the last of them are in `kept`.
    written: usize,
    kept: VecDeque<(LogLevel, String)>,
    forward: Option<Forward>,
    /// Lines wait here while stderr, where they may end up, is redirected.
    held: Option<Vec<(LogLevel, String)>>,
}

static LOG: Mutex<Log> = Mutex::new(Log {
    written: 0,
    kept: VecDeque::new(),
    forward: None,
    held: None,
});

/// Hands every line that DPDK logs from now on to `forward`, which must not call DPDK.
pub fn forward_logs(forward: impl Fn(LogLevel, &str) + Send + 'static) {
    lock().forward = Some(Box::new(forward));
}

/// Runs `work` and hands the lines that DPDK logs meanwhile on afterwards.
pub(crate) fn hold<T>(work: impl FnOnce() -> T) -> T {
    lock().held = Some(Vec::new());
    let result = work();
    let mut log = lock();
    for (level, line) in log.held.take().unwrap_or_default() {
        if let Some(forward) = &log.forward {
            forward(level, &line);
        }
    }
    result
}

/// Makes DPDK log here instead of to stderr.
pub(crate) fn install() -> i32 {
    // SAFETY: `write_line` matches the type and may be called by any thread at any time.
    unsafe { sys::dp_log_to(Some(write_line)) }
}

/// Runs `work` and returns with its result what DPDK complained of meanwhile, without prefixes.
pub(crate) fn capture<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let before = lock().written;
    let result = work();
    let log = lock();
    let new = (log.written - before).min(log.kept.len());
    let lines = log.kept.iter().skip(log.kept.len() - new);
    let mut said: Vec<String> = Vec::new();
    for (level, text) in lines {
        if *level < LogLevel::Info && !said.contains(text) {
            said.push(text.clone());
        }
    }
    (result, said)
}

extern "C" fn write_line(text: *const c_char, length: usize, level: u32) {
    if text.is_null() {
        return;
    }
    // SAFETY: the shim passes a buffer of `length` bytes that lives for the call.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    let level = match level {
        0..=sys::RTE_LOG_ERR => LogLevel::Error,
        sys::RTE_LOG_WARNING => LogLevel::Warning,
        _ => LogLevel::Info,
    };
    // A panic must not cross into C.
    let _ = std::panic::catch_unwind(|| {
        for line in String::from_utf8_lossy(bytes).lines() {
            record(level, line.trim());
        }
    });
}

fn record(level: LogLevel, line: &str) {
    if line.is_empty() {
        return;
    }
    let log = &mut *lock();
    match (&mut log.held, &log.forward) {
        (Some(held), _) => held.push((level, line.to_owned())),
        (None, Some(forward)) => forward(level, line),
        (None, None) => {}
    }
    if log.kept.len() == KEPT {
        log.kept.pop_front();
    }
    log.written += 1;
    log.kept.push_back((level, line.to_owned()));
}

fn lock() -> std::sync::MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

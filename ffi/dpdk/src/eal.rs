//! The environment abstraction layer: memory, drivers, threads of DPDK.

use crate::error::reason;
use crate::{DpdkError, log, stdio};
use dpdk_sys as sys;
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// How EAL is started.
#[derive(Clone, Debug, Default)]
pub struct EalConfig {
    /// Memory to reserve at start, MiB. None: as needed with hugepages, EAL's 64 MiB without.
    pub memory: Option<u32>,
    /// Run without hugepages: slower, but needs no preparation. Virtual devices only.
    pub no_huge: bool,
    /// Tells the processes of one machine apart; two with the same prefix cannot run side by side.
    pub file_prefix: String,
    /// More EAL arguments, which win over what would be chosen here.
    pub extra: Vec<String>,
}

/// The running environment layer.
#[derive(Clone, Copy, Debug)]
pub struct Eal {
    _only_start_makes_one: (),
}

/// A PCI address that no device has: allowing only this one keeps EAL from taking every NIC it finds
/// at start. Ports are attached one by one.
const NO_DEVICE: &str = "0000:00:00.0";

static STARTED: AtomicBool = AtomicBool::new(false);
static RUNNING: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts EAL; once per process, also if it fails. The calling thread becomes EAL's main thread and
    /// keeps the CPUs it may run on.
    pub fn start(config: &EalConfig) -> Result<Eal, DpdkError> {
        let wants_hugepages = !config.no_huge && !has(&config.extra, &["--no-huge"]);
        if wants_hugepages && free_hugepages() == Some(0) {
            let reason = no_hugepages("none are free");
            return Err(DpdkError::Start { reason });
        }
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(DpdkError::State(
                "DPDK was started before; it starts once per process",
            ));
        }
        log::install();
        let arguments = arguments(config);
        let ((code, said), printed) =
            log::hold(|| stdio::collect(|| log::capture(|| init(&arguments))));
        if code < 0 {
            let mut said = said;
            said.extend(complaints(&printed));
            let mut reason = reason(errno(), &said);
            if wants_hugepages && said.iter().any(|line| line.contains("hugepage")) {
                reason = no_hugepages(&reason);
            }
            return Err(DpdkError::Start { reason });
        }
        remove_runtime_directory();
        RUNNING.store(true, Ordering::SeqCst);
        Ok(Eal {
            _only_start_makes_one: (),
        })
    }

    /// The environment layer if it runs.
    pub fn running() -> Result<Eal, DpdkError> {
        if RUNNING.load(Ordering::SeqCst) {
            return Ok(Eal {
                _only_start_makes_one: (),
            });
        }
        Err(DpdkError::State("DPDK is not running"))
    }

    /// DPDK's version, as in `DPDK 22.11.11`.
    pub fn version() -> String {
        // SAFETY: a static string.
        let version = unsafe { CStr::from_ptr(sys::rte_version()) };
        version.to_string_lossy().into_owned()
    }

    /// Ticks per second of [`Eal::ticks`].
    pub fn ticks_per_second(self) -> u64 {
        // SAFETY: EAL runs.
        unsafe { sys::rte_get_tsc_hz() }
    }

    /// The time stamp counter.
    #[inline]
    pub fn ticks(self) -> u64 {
        // SAFETY: no preconditions.
        unsafe { sys::dp_rdtsc() }
    }
}

/// DPDK's errno of this thread.
pub(crate) fn errno() -> c_int {
    // SAFETY: no preconditions.
    unsafe { sys::dp_errno() }
}

fn init(arguments: &[String]) -> c_int {
    let strings: Vec<CString> = arguments
        .iter()
        .map(|a| CString::new(a.replace('\0', "")).unwrap_or_default())
        .collect();
    let mut pointers: Vec<*mut c_char> = strings.iter().map(|s| s.as_ptr().cast_mut()).collect();
    let count = pointers.len() as c_int;
    pointers.push(std::ptr::null_mut());
    // EAL keeps pointers into the arguments, so they are never freed.
    std::mem::forget(strings);
    let pointers = pointers.leak();
    // SAFETY: a null-terminated argument vector that lives for ever; called once (`STARTED`).
    unsafe { sys::rte_eal_init(count, pointers.as_mut_ptr()) }
}

/// What EAL printed beside its log: getopt's complaints; each once.
fn complaints(printed: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in printed.lines() {
        let line = line.trim().trim_start_matches("sluice-dataplane: ");
        if !line.is_empty() && !line.contains("FATAL") && !lines.iter().any(|l| l == line) {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// EAL makes a directory for what processes share, and leaves it. Ours share nothing unless the operator
/// asks for it, so it is empty and goes.
fn remove_runtime_directory() {
    // SAFETY: EAL ran; a static string.
    let path = unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) };
    let _ = fs::remove_dir(Path::new(OsStr::from_bytes(path.to_bytes())));
}

/// The arguments, each only if `extra` does not decide the same.
fn arguments(config: &EalConfig) -> Vec<String> {
    let extra = &config.extra;
    let mut arguments = vec!["sluice-dataplane".to_owned()];
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|&w| w.to_owned()));
    if !has(extra, &["-l", "-c", "--lcores"]) {
        // One lcore that floats over all allowed CPUs: workers are threads of our own that register.
        add(&["--lcores", &format!("0@({})", allowed_cpus())]);
    }
    if !has(extra, &["--file-prefix"]) && !config.file_prefix.is_empty() {
        add(&["--file-prefix", &config.file_prefix]);
    }
    if config.no_huge && !has(extra, &["--no-huge"]) {
        add(&["--no-huge"]);
    }
    if let Some(memory) = config.memory
        && !has(extra, &["-m", "--socket-mem"])
    {
        add(&["-m", &memory.to_string()]);
    }
    if !has(extra, &["--in-memory", "--no-shconf", "--proc-type"]) {
        // Leave nothing on disk. --in-memory does not work together with --no-huge (seen on 22.11).
        let no_huge = config.no_huge || has(extra, &["--no-huge"]);
        add(&[if no_huge {
            "--no-shconf"
        } else {
            "--in-memory"
        }]);
    }
    if !has(extra, &["--telemetry", "--no-telemetry"]) {
        add(&["--no-telemetry"]);
    }
    if !has(extra, &["-a", "--allow", "-b", "--block", "--no-pci"]) {
        add(&["-a", NO_DEVICE]);
    }
    arguments.extend(extra.iter().cloned());
    arguments
}

/// True if one of `names` is among the arguments, as `NAME`, `NAME=value` or `-Nvalue`.
fn has(arguments: &[String], names: &[&str]) -> bool {
    arguments.iter().any(|argument| {
        names.iter().any(|name| match argument.strip_prefix(name) {
            Some("") => true,
            Some(rest) => !name.starts_with("--") || rest.starts_with('='),
            None => false,
        })
    })
}

/// CPUs this process may use, as the kernel lists them: `0-3,8`.
fn allowed_cpus() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map_or("0", str::trim).to_owned()
}

/// Free hugepages of all sizes; None if the kernel does not say.
fn free_hugepages() -> Option<u64> {
    let mut sum = 0;
    for size in fs::read_dir("/sys/kernel/mm/hugepages").ok()? {
        let text = fs::read_to_string(size.ok()?.path().join("free_hugepages")).ok()?;
        sum += text.trim().parse::<u64>().ok()?;
    }
    Some(sum)
}

fn no_hugepages(what: &str) -> String {
    format!(
        "no hugepages ({what}); reserve some, e.g. 'sysctl vm.nr_hugepages=512' for 1 GiB of 2 MiB \
         pages, or run with --no-huge"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn built(no_huge: bool, extra: &str) -> String {
        let config = EalConfig {
            memory: Some(256),
            no_huge,
            file_prefix: "n1".into(),
            extra: words(extra),
        };
        arguments(&config).join(" ")
    }

    #[test]
    fn what_the_operator_says_wins_over_what_would_be_chosen() {
        let plain = built(false, "");
        assert!(
            plain.contains("--file-prefix n1 -m 256 --in-memory --no-telemetry -a 0000:00:00.0")
        );
        assert!(plain.contains("--lcores 0@("));
        let said = built(
            false,
            "-l 0-1 --file-prefix=x --socket-mem 64 -a0000:3b:00.0 --telemetry",
        );
        assert_eq!(
            said,
            "sluice-dataplane --in-memory -l 0-1 --file-prefix=x --socket-mem 64 -a0000:3b:00.0 --telemetry"
        );
    }

    #[test]
    fn without_hugepages_in_memory_is_not_asked_for() {
        for said in [built(true, ""), built(false, "--no-huge")] {
            assert!(
                said.contains("--no-huge") && said.contains("--no-shconf"),
                "{said}"
            );
            assert!(!said.contains("--in-memory"), "{said}");
        }
    }
}

//! Whether the machine has the memory that is asked for.

use std::fs;
use std::io;

use crate::OsError;

/// An error if less than `bytes` are available now. Pages are taken as they are touched, and a
/// process that touches more than there is is killed; better to say so at the start.
pub(super) fn check(what: &str, bytes: usize) -> Result<(), OsError> {
    let Some(available) = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| available(&text))
    else {
        return Ok(()); // Where the kernel does not say, the mapping will.
    };
    if bytes as u64 <= available {
        return Ok(());
    }
    Err(OsError::new(
        format!(
            "reserve {} MiB for {what}, with {} MiB available",
            bytes >> 20,
            available >> 20
        ),
        io::Error::from_raw_os_error(libc::ENOMEM),
    ))
}

/// Bytes that can be had without pushing others out, swap included (proc(5)).
fn available(meminfo: &str) -> Option<u64> {
    let kilobytes = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    let swap = kilobytes("SwapFree").unwrap_or(0);
    Some((kilobytes("MemAvailable")? + swap) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_and_swap_count_and_a_kernel_that_does_not_say_is_not_guessed() {
        let text = "MemTotal:       16 kB\nMemFree: 1 kB\nMemAvailable:   7 kB\nSwapFree: 2 kB\n";
        assert_eq!(available(text), Some(9 << 10));
        assert_eq!(available("MemTotal: 5 kB\n"), None);
        assert_eq!(available("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn more_than_there_is_is_refused_in_words() {
        let error = check("connections", usize::MAX / 2)
            .unwrap_err()
            .to_string();
        assert!(error.contains("MiB for connections, with "), "{error}");
        assert!(error.contains("ask for less"), "{error}");
        check("connections", 4096).unwrap();
    }
}

//! With hugepages nothing needs to be said, and nothing is left on disk.

use dpdk::{DevicePort, Eal, EalConfig, create_pool};
use packet::Packet;
use std::io::Write;

/// Free hugepage memory, MiB.
fn free_hugepages() -> u64 {
    let sizes = std::fs::read_dir("/sys/kernel/mm/hugepages")
        .into_iter()
        .flatten();
    sizes
        .filter_map(|size| {
            let size = size.ok()?;
            let name = size.file_name().into_string().ok()?;
            let kib: u64 = name
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()?;
            let free = std::fs::read_to_string(size.path().join("free_hugepages")).ok()?;
            Some(free.trim().parse::<u64>().ok()? * kib / 1024)
        })
        .sum()
}

#[test]
fn pools_come_from_hugepages_and_devices_work() {
    let free = free_hugepages();
    if free < 64 {
        // Past the test harness, which would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {free} MiB of free hugepages, 64 are needed"
        );
        return;
    }
    let config = EalConfig {
        memory: Some(48),
        no_huge: false,
        file_prefix: format!("sluicehuge{}", std::process::id()),
        extra: Vec::new(),
    };
    let eal = Eal::start(&config).unwrap();
    let pool = create_pool(eal, "frames", 2047, 2048).unwrap();
    let packet = Packet::from_slice(&pool, &[1; 9000]).unwrap();
    assert_eq!(packet.to_vec(), [1; 9000]);
    assert!(
        free_hugepages() + 40 < free,
        "the memory is not from hugepages"
    );
    DevicePort::attach(eal, "net_null0").unwrap();
    let left = std::fs::read_dir("/dev/hugepages")
        .into_iter()
        .flatten()
        .flatten();
    let names: Vec<String> = left
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    assert!(
        !names.iter().any(|name| name.contains(&config.file_prefix)),
        "{names:?}"
    );
    let left = std::path::Path::new("/run/dpdk").join(&config.file_prefix);
    assert!(!left.exists(), "EAL left {left:?}");
}

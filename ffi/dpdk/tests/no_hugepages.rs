//! Without hugepages the message says how to get them, or to do without.

use dpdk::{Eal, EalConfig};
use std::io::Write;

fn free_hugepages() -> u64 {
    let sizes = std::fs::read_dir("/sys/kernel/mm/hugepages")
        .into_iter()
        .flatten();
    sizes
        .filter_map(|size| std::fs::read_to_string(size.ok()?.path().join("free_hugepages")).ok())
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .sum()
}

#[test]
fn the_way_out_is_named() {
    if free_hugepages() != 0 {
        // Past the test harness, which would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: this machine has free hugepages"
        );
        return;
    }
    let said = Eal::start(&EalConfig::default()).unwrap_err().to_string();
    assert!(
        said.contains("vm.nr_hugepages") && said.contains("--no-huge"),
        "{said}"
    );
}

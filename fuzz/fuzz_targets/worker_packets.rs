//! Packets of any shape through a whole worker: tables, connections, tunnels, fragments, segmentation.
#![no_main]

#[path = "../checks/worker_packets.rs"]
mod check;
#[path = "../../dataplane/worker/tests/common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));

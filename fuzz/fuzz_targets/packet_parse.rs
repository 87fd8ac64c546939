//! Packets of any shape: parser, exact key, edits, tunnels, ICMP and segmentation.
#![no_main]

#[path = "../checks/packet_parse.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));

//! OpenFlow messages of any shape: framing, decoding, and that what decodes encodes to the same.
#![no_main]

#[path = "../checks/openflow_decode.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));

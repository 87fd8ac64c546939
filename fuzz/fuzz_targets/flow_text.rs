//! Flows, groups and meters in text.
#![no_main]

#[path = "../checks/flow_text.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::check(input));

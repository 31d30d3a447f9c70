#![no_main]
use libfuzzer_sys::fuzz_target;
fuzz_target!(|data: &[u8]| { if data.len() > 3 { let _ = ntproto_core::wire::channel::Channel::from_wire(data[0]); } });

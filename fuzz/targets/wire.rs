//! The target `wire` under libFuzzer. What it does is `fuzz::wire`'s.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::wire::run(bytes));

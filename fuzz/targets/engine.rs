//! The target `engine` under libFuzzer. What it does is `fuzz::engine`'s.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::engine::run(bytes));

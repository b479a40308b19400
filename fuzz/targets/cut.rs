//! The target `cut` under libFuzzer. What it does is `fuzz::cut`'s.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::cut::run(bytes));

//! The target `text` under libFuzzer. What it does is `fuzz::text`'s.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::text::run(bytes));

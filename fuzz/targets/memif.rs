//! The target `memif` under libFuzzer. What it does is `fuzz::memif`'s.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::memif::run(bytes));

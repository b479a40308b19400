//! Benchmarks of the engine. Each bench has a file in `benches/`; this library holds what they share.
#![forbid(unsafe_code)]

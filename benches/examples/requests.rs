//! Requests of 64 bytes one at a time, to a server of two lanes, for a count of instructions under valgrind: the
//! difference between two counts of requests leaves out what it takes to set the world up.
//!
//! Usage: `requests home|astray COUNT`.

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [place, count] = words.as_slice() else { panic!("usage: requests home|astray COUNT") };
    let count: u64 = count.parse().expect("a count of requests");
    println!("{} turns", benches::hosts::echo_on_lanes(count * 64, 64, 1, place == "astray"));
}

//! Tests of the runner itself: the language, packets as bytes, and assertions. The scripts' program has no room for them.

#![allow(dead_code, reason = "what only the scripts' program uses")]

mod code;
mod language;
mod parse;
#[cfg(test)]
mod tests {
    mod code;
    mod parse;
    mod wire;
}
mod wire;

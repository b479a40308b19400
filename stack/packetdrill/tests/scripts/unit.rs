//! Tests of the runner itself: the language, packets as bytes, values of options, and assertions. The scripts' program has no room for them.

#![allow(dead_code, reason = "what only the scripts' program uses")]

mod code;
mod constants;
mod language;
mod options;
mod parse;
#[cfg(test)]
mod tests {
    mod code;
    mod options;
    mod parse;
    mod wire;
}
mod wire;

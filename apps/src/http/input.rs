//! Bytes that have arrived on a connection and are not answered yet: parsed in place, gathered only where they
//! straddle frames. What a request means is in `request.rs`.

use std::collections::VecDeque;
use std::ops::Deref;

use bytes::{Buf, Bytes};
use corelane::Received;

use super::Status;
use super::request::{Parsed, Request, parse_within};

/// Longest request head unless the server is told another. What a client that sends slowly can make us keep is at
/// most this.
pub const HEAD_MAX: usize = 16 * 1024;

/// Bytes that arrived together.
pub trait Chunk: Deref<Target = [u8]> {
    /// Forget the first `n` bytes.
    fn forget(&mut self, n: usize);
}

impl Chunk for Received {
    fn forget(&mut self, n: usize) {
        self.advance(n);
    }
}

impl Chunk for Bytes {
    fn forget(&mut self, n: usize) {
        self.advance(n);
    }
}

/// Outcome of looking for the next request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken<R> {
    /// There was one; this is what was made of it.
    Request(R),
    /// A part of one is here.
    Partial,
    /// Nothing is here.
    Empty,
    /// What is here can only be refused, and nothing behind it can be trusted.
    Refused(Status),
}

/// Unanswered bytes, in order. While they wait here they hold their frames and so the peer's window.
#[derive(Debug)]
pub struct Input<D> {
    /// Bytes of an incomplete head. Shape: fewer than a head may have; empty unless a head straddles.
    gathered: Vec<u8>,
    front: Option<D>,
    rest: VecDeque<D>,
}

impl<D> Default for Input<D> {
    fn default() -> Self {
        Input { gathered: Vec::new(), front: None, rest: VecDeque::new() }
    }
}

impl<D: Chunk> Input<D> {
    /// Bytes have arrived.
    pub fn push(&mut self, data: D) {
        if data.is_empty() {
            return;
        }
        match self.front {
            None => self.front = Some(data),
            Some(_) => self.rest.push_back(data),
        }
    }

    /// Bytes may have arrived.
    pub fn extend(&mut self, data: Option<D>) {
        if let Some(data) = data {
            self.push(data);
        }
    }

    /// Forget everything, and give the frames back.
    pub fn clear(&mut self) {
        *self = Input::default();
    }

    /// Nothing waits here.
    pub fn is_empty(&self) -> bool {
        self.front.is_none() && self.gathered.is_empty()
    }

    /// Hand the next whole request to `act` and step over it. Its head may have [`HEAD_MAX`] bytes.
    pub fn take<R>(&mut self, act: impl FnMut(Request<'_>) -> R) -> Taken<R> {
        self.take_within(HEAD_MAX, act)
    }

    /// The same with another bound, the same for all calls.
    pub fn take_within<R>(&mut self, head_max: usize, mut act: impl FnMut(Request<'_>) -> R) -> Taken<R> {
        while let Some(front) = &mut self.front {
            let before = self.gathered.len();
            let straddles = before > 0;
            if straddles {
                let room = head_max.saturating_sub(before);
                self.gathered.extend_from_slice(&front[..front.len().min(room)]);
            }
            let bytes: &[u8] = if straddles { &self.gathered } else { front };
            let (outcome, length) = match parse_within(bytes, head_max) {
                Parsed::Request(request, length) => (Some(act(request)), length),
                Parsed::Refused(status) => return Taken::Refused(status),
                Parsed::Partial => (None, bytes.len()),
            };
            let Some(outcome) = outcome else {
                if !straddles {
                    self.gathered.extend_from_slice(front);
                }
                self.front = self.rest.pop_front();
                continue;
            };
            // What was gathered beyond the request is still in its frame: it is parsed there.
            let step = length - before;
            front.forget(step);
            if front.is_empty() {
                self.front = self.rest.pop_front();
            }
            self.gathered = Vec::new();
            return Taken::Request(outcome);
        }
        if self.gathered.is_empty() { Taken::Empty } else { Taken::Partial }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Seen = (Vec<String>, Option<Status>, bool);

    /// Everything a connection makes of `stream` when it arrives cut at `cuts`.
    fn seen(stream: &[u8], cuts: &[usize]) -> Seen {
        let mut input = Input::default();
        let mut targets = Vec::new();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        for pair in cuts.windows(2) {
            input.push(Bytes::copy_from_slice(&stream[pair[0]..pair[1]]));
            loop {
                match input.take(|request| format!("{request:?}")) {
                    Taken::Request(target) => targets.push(target),
                    Taken::Refused(status) => return (targets, Some(status), false),
                    Taken::Partial | Taken::Empty => break,
                }
            }
        }
        let partial = !input.is_empty();
        (targets, None, partial)
    }

    const PIPELINE: &[u8] =
        b"GET /one HTTP/1.1\r\nHost: h\r\n\r\n\r\nHEAD /two HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n\
        GET /three HTTP/1.0\r\n\r\nGET /four HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nGET ";

    #[test]
    fn a_pipeline_is_the_same_cut_at_any_one_byte() {
        // Shows for every cut that the same requests and the same refusal come out.
        let whole = seen(PIPELINE, &[]);
        assert_eq!((whole.0.len(), whole.1), (3, Some(Status::ContentTooLarge)));
        for cut in 0..=PIPELINE.len() {
            assert_eq!(seen(PIPELINE, &[cut]), whole, "cut at {cut}");
        }
        let every: Vec<usize> = (0..PIPELINE.len()).collect();
        assert_eq!(seen(PIPELINE, &every), whole);
    }

    #[test]
    fn only_what_straddles_is_gathered() {
        // Shows that the bytes behind a straddling head stay in their frame and are parsed there.
        let mut input = Input::default();
        input.push(Bytes::from_static(b"GET /a HTTP/1.0\r\n"));
        assert_eq!(input.take(|_| ()), Taken::Partial);
        let second = Bytes::from_static(b"\r\nGET /b HTTP/1.0\r\n\r\n");
        input.push(second.clone());
        assert_eq!(input.take(|_| ()), Taken::Request(()));
        let place = second[2..].as_ptr_range();
        let inside = |request: Request<'_>| place.contains(&request.target.as_ptr());
        assert_eq!(input.take(inside), Taken::Request(true));
        assert!(input.is_empty());
    }

    #[test]
    fn what_is_gathered_stays_bounded() {
        // Shows that a head that never ends is refused at the bound, whole or byte by byte.
        let mut endless = b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec();
        while endless.len() < 2 * HEAD_MAX {
            endless.extend_from_slice(
                b"x-filler-field-of-some-length: and a value that is a good deal longer\r\n",
            );
        }
        // Fewer fields than the bound on their number, so that it is the bytes that count.
        let long = format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(2 * HEAD_MAX)).into_bytes();
        for stream in [endless, long] {
            let mut input = Input::default();
            let mut refused = None;
            for (at, byte) in stream.iter().enumerate() {
                input.push(Bytes::copy_from_slice(core::slice::from_ref(byte)));
                // Parsing anew for each byte is quadratic; every 64th keeps the test quick.
                if at % 64 == 63
                    && let Taken::Refused(status) = input.take(|_| ())
                {
                    refused = Some(status);
                    break;
                }
                assert!(input.gathered.len() <= HEAD_MAX);
            }
            assert_eq!(refused, Some(Status::HeaderFieldsTooLarge));
            assert_eq!(seen(&stream, &[]).1, refused);
        }
    }

    proptest! {
        #[test]
        fn splitting_changes_nothing(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("GET /a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
                    Just("HEAD /b%20c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned()),
                    Just("GET / HTTP/1.1\nHost: h\n\n".to_owned()),
                    Just("\r\n".to_owned()),
                    "[ -~\r\n]{0,40}",
                    "GET [!-~]{1,60} HTTP/1.[0-2]\r\n(Host: [a-z ]{0,9}\r\n){0,2}([A-Za-z-]{1,12}: ?[ -~]{0,20}\r\n){0,4}\r\n",
                    "GET /a{8170,8200} HTTP/1.1\r\nHost: h\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: h\r\nX: a{16330,16400}\r\n\r\n",
                ],
                0..6,
            ),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            // Shows that the same stream gives the same requests and the same end however it is cut.
            let stream = parts.concat().into_bytes();
            prop_assert_eq!(seen(&stream, &cuts), seen(&stream, &[]));
        }
    }
}

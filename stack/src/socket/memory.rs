//! Received data and payloads to send. The memory behind them is `drivers`'.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::ops::{Bound, Deref, RangeBounds};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use drivers::{Block, Frame, Held, Homeward};

use super::SocketId;

/// Where frames that applications are done with wait for the lane's next turn. One for each lane.
///
/// Shape: bounded by the frames that are out, for each returns once.
pub(crate) struct Returns {
    back: RefCell<Back>,
    out: Cell<usize>,
    detached: Arc<AtomicUsize>,
    detached_max: usize,
}

/// What has come back.
#[derive(Default)]
struct Back {
    /// Whose frames.
    sockets: Vec<SocketId>,
    /// Frames that were dropped: they go home together.
    homeward: Homeward,
}

impl Returns {
    pub fn new(detached_max: usize) -> Rc<Returns> {
        Rc::new(Returns {
            back: RefCell::default(),
            out: Cell::new(0),
            detached: Arc::default(),
            detached_max,
        })
    }

    /// Hand out the sockets whose frames came back since the last call.
    pub fn drain(&self, into: &mut Vec<SocketId>) {
        into.append(&mut self.back.borrow_mut().sockets);
    }

    /// Free the frames that applications have dropped since the last call.
    pub fn free(&self) {
        self.back.borrow_mut().homeward.flush();
    }

    /// Free a frame, most of them together with others; with the last slice of it, its socket is told.
    #[inline]
    fn drop_frame(&self, frame: Frame, of: Option<SocketId>) {
        let other = {
            let mut back = self.back.borrow_mut();
            if let Some(socket) = of {
                self.out.set(self.out.get() - 1);
                back.sockets.push(socket);
            }
            back.homeward.take(frame)
        };
        // Memory that it refers to may be an application's, and what that does then may drop another.
        drop(other);
    }

    /// Something came back since the last drain.
    pub fn is_waiting(&self) -> bool {
        !self.back.borrow().sockets.is_empty()
    }

    #[inline]
    fn give_back(&self, socket: SocketId) {
        self.out.set(self.out.get() - 1);
        self.back.borrow_mut().sockets.push(socket);
    }

    /// Frames that the application holds.
    pub fn out(&self) -> usize {
        self.out.get()
    }
}

/// Received bytes: an owned slice of the frame they came in. Nothing was copied.
///
/// Clones and slices share the frame; the last to go gives it and its window back. Both are there by the lane's next turn.
///
/// Shape: derefs to the bytes; 32 bytes itself. Not `Send`: [`into_bytes`](Received::into_bytes) is the way out.
pub struct Received {
    /// Taken out only as the value ends.
    held: Option<Held>,
    socket: SocketId,
    returns: Rc<Returns>,
}

impl Received {
    pub(crate) fn new(frame: Frame, socket: SocketId, returns: &Rc<Returns>) -> Received {
        returns.out.set(returns.out.get() + 1);
        Received { held: Some(Held::new(frame)), socket, returns: Rc::clone(returns) }
    }

    fn share(&self) -> Received {
        let held = self.held.as_ref().and_then(Held::share);
        assert!(held.is_some(), "fewer than 60,000 slices of one frame");
        Received { held, socket: self.socket, returns: Rc::clone(&self.returns) }
    }

    fn narrow(&mut self, start: usize, len: usize) {
        if let Some(held) = &mut self.held {
            held.frame_mut().trim_front(start);
            held.frame_mut().truncate(len);
        }
    }

    /// Split the bytes before `at` off into a slice of their own.
    ///
    /// Panics: past the end, as slices do.
    pub fn split_to(&mut self, at: usize) -> Received {
        let front = self.slice(..at);
        self.advance(at);
        front
    }

    /// A further slice of the same frame.
    ///
    /// Panics: if the range lies outside, as slices do.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Received {
        let start = match range.start_bound() {
            Bound::Included(&at) => at,
            Bound::Excluded(&at) => at + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&at) => at + 1,
            Bound::Excluded(&at) => at,
            Bound::Unbounded => self.len(),
        };
        assert!(start <= end && end <= self.len(), "slice {start}..{end} of {} received bytes", self.len());
        let mut part = self.share();
        part.narrow(start, end - start);
        part
    }

    /// Forget the first `n` bytes.
    ///
    /// Panics: past the end, as slices do.
    pub fn advance(&mut self, n: usize) {
        let len = self.len();
        assert!(n <= len, "advance by {n} in {len} received bytes");
        self.narrow(n, len - n);
    }

    /// Bytes that may go to other threads. The window returns now; the frame is lent from the lane's
    /// `detached_frames_max`, or copied once that is used up.
    pub fn into_bytes(mut self) -> Bytes {
        let returns = Rc::clone(&self.returns);
        if returns.detached.load(Ordering::Relaxed) >= returns.detached_max {
            return Bytes::copy_from_slice(&self);
        }
        let Some(frame) = self.release() else { return Bytes::new() };
        returns.detached.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Detached { frame, count: Arc::clone(&returns.detached) })
    }

    /// The frame behind the slice, its window narrowed to it.
    pub(crate) fn frame(&self) -> Option<&Frame> {
        self.held.as_ref().map(Held::frame)
    }

    /// Hold no longer: the window goes back if this is the last slice. The frame itself is the caller's.
    fn release(&mut self) -> Option<Frame> {
        let (frame, last) = self.held.take()?.release();
        if last {
            self.returns.give_back(self.socket);
        }
        Some(frame)
    }
}

struct Detached {
    frame: Frame,
    count: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Detached {
    fn as_ref(&self) -> &[u8] {
        self.frame.bytes()
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Clone for Received {
    fn clone(&self) -> Self {
        self.share()
    }
}

impl Deref for Received {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.held.as_ref().map_or(&[], |held| held.frame().bytes())
    }
}

impl Drop for Received {
    #[inline]
    fn drop(&mut self) {
        if let Some((frame, last)) = self.held.take().map(Held::release) {
            self.returns.drop_frame(frame, last.then_some(self.socket));
        }
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// What a send carries. It moves in, stays put while any frame refers to it, and comes back or is dropped.
///
/// Of whatever kind, up to 64 bytes that nobody is to be told of are copied and go at once: a received frame that is
/// forwarded so gives its window back before the next peer has it. Should such a send fail, its bytes come back as
/// [`Bytes`](Payload::Bytes).
#[derive(Debug)]
pub enum Payload {
    /// Up to [`INLINE_MAX`](Payload::INLINE_MAX) bytes inside the op itself: copied.
    Inline(u8, [u8; Payload::INLINE_MAX]),
    /// Counted bytes. Zero copy if they lie in a region or the port reads ordinary memory, else copied.
    Bytes(Bytes),
    /// A block of a region or of the lane's pool. Zero copy.
    Block(Block),
    /// A received frame, forwarded. Zero copy; holds the window it came through until the next peer has it.
    Received(Received),
}

impl Payload {
    /// Most bytes an op carries inside itself.
    pub const INLINE_MAX: usize = 31;

    /// Copy up to [`INLINE_MAX`](Payload::INLINE_MAX) bytes into the op; `None` if there are more.
    pub fn inline(bytes: &[u8]) -> Option<Payload> {
        let mut copy = [0; Self::INLINE_MAX];
        copy.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Payload::Inline(u8::try_from(bytes.len()).ok()?, copy))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Inline(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Payload::Bytes(bytes) => bytes,
            Payload::Block(block) => block,
            Payload::Received(received) => received,
        }
    }

    /// Bytes of the payload.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// The payload has no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Payload::Bytes(bytes)
    }
}

impl From<Block> for Payload {
    fn from(block: Block) -> Self {
        Payload::Block(block)
    }
}

impl From<Received> for Payload {
    fn from(received: Received) -> Self {
        Payload::Received(received)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Payload::Bytes(bytes.into())
    }
}

impl From<&'static [u8]> for Payload {
    fn from(bytes: &'static [u8]) -> Self {
        Payload::Bytes(Bytes::from_static(bytes))
    }
}

#[cfg(test)]
mod tests {
    use drivers::{Capabilities, Composer, Extent, Pool, Pools};

    use super::*;
    use crate::socket::LaneId;

    fn received(pool: &Pool, returns: &Rc<Returns>, bytes: &[u8]) -> Received {
        let mut frame = pool.take().unwrap();
        frame.append(bytes.len()).unwrap().copy_from_slice(bytes);
        Received::new(frame, SocketId::new(LaneId(0), 5, 1), returns)
    }

    fn returned(returns: &Returns) -> usize {
        let mut sockets = Vec::new();
        returns.drain(&mut sockets);
        returns.free();
        sockets.len()
    }

    #[test]
    fn the_last_slice_returns_the_frame_once() {
        // Shows that slices, splits and clones share one frame, whose credit comes back exactly once, at the end.
        let (pool, returns) = (Pool::heap(1, 256), Returns::new(0));
        let mut whole = received(&pool, &returns, b"0123456789");
        let front = whole.split_to(4);
        let middle = whole.slice(1..3);
        let copy = middle.clone();
        assert_eq!(
            (&*front, &*whole, &*middle, &*copy),
            (&b"0123"[..], &b"456789"[..], &b"56"[..], &b"56"[..])
        );
        drop((whole, front, copy));
        assert_eq!((returned(&returns), returns.out()), (0, 1));
        drop(middle);
        assert_eq!((returned(&returns), returns.out(), pool.available()), (1, 0, 1));
    }

    #[test]
    fn detached_bytes_give_the_window_back_at_once() {
        // Shows that detaching returns the credit now and the frame later, and copies beyond the lane's bound.
        let (pool, returns) = (Pool::heap(2, 256), Returns::new(1));
        let lent = received(&pool, &returns, b"lent").into_bytes();
        assert_eq!((returned(&returns), pool.available()), (1, 1));
        let copied = received(&pool, &returns, b"copied").into_bytes();
        assert_eq!((returned(&returns), pool.available()), (1, 1));
        assert_eq!((&lent[..], &copied[..]), (&b"lent"[..], &b"copied"[..]));
        std::thread::spawn(move || drop(lent)).join().unwrap();
        assert_eq!(pool.available(), 2);
    }

    thread_local! {
        static ANOTHER: Cell<Option<Received>> = const { Cell::new(None) };
    }

    /// An application's memory, which drops what it was received for.
    struct Carried([u8; 100]);

    impl AsRef<[u8]> for Carried {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Carried {
        fn drop(&mut self) {
            ANOTHER.set(None);
        }
    }

    /// Dropped frames that do not wait for the lane's next turn: a burst.
    const TOGETHER: usize = 32;

    #[test]
    fn dropped_frames_go_home_together() {
        // Shows that frames that were dropped are home at the next turn, that no more than a burst waits for it, and that
        // memory of an application's that goes with one may drop another.
        let (pool, returns) = (Pool::heap(2 * TOGETHER, 256), Returns::new(0));
        let mut held: Vec<Received> =
            (0..2 * TOGETHER - 1).map(|_| received(&pool, &returns, b"1")).collect();
        held.truncate(TOGETHER);
        assert_eq!(pool.available(), 1);
        held.truncate(TOGETHER - 1);
        assert_eq!(pool.available(), TOGETHER + 1);
        held.clear();
        assert_eq!((returned(&returns), pool.available()), (2 * TOGETHER - 1, 2 * TOGETHER));
        ANOTHER.set(Some(received(&pool, &returns, b"2")));
        let carried = Extent::of_bytes(&Bytes::from_owner(Carried([0; 100]))).unwrap();
        let capabilities = Capabilities {
            multi_segment: true,
            segments_max: 8,
            reads_heap: true,
            ..Capabilities::plain(1500)
        };
        let mut composer = Composer::new(Pools::heap(4, 4), &capabilities);
        let mut frame = composer.header().unwrap();
        composer.payload(&mut frame, &carried, <[u8]>::copy_from_slice).unwrap();
        drop((carried, Received::new(frame, SocketId::new(LaneId(0), 1, 1), &returns)));
        assert_eq!((returned(&returns), pool.available()), (2, 2 * TOGETHER));
    }

    #[test]
    #[should_panic(expected = "slice 1..9 of 4 received bytes")]
    fn a_slice_past_the_end_panics() {
        // Shows that the program's own mistake is told as slices tell it.
        let (pool, returns) = (Pool::heap(1, 256), Returns::new(0));
        let _ = received(&pool, &returns, b"abcd").slice(1..9);
    }
}

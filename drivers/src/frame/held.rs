//! Frames that an application holds, and who is the last to. Handles themselves live in `frame.rs`.

use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use super::Frame;

/// A frame that an application holds, perhaps through several slices: tells when the last of them goes, whatever
/// transmit rings still refer to the same memory.
///
/// Not `Send`: the slices of one frame stay on one thread.
pub struct Held {
    frame: Frame,
    here: PhantomData<*const ()>,
}

impl Held {
    /// The first holder of a frame.
    #[inline]
    pub fn new(frame: Frame) -> Held {
        frame.header().holders.store(1, Ordering::Relaxed);
        Held { frame, here: PhantomData }
    }

    /// A further holder; `None` if too many share the frame.
    pub fn share(&self) -> Option<Held> {
        let frame = self.frame.share()?;
        let holders = &frame.header().holders;
        holders.store(holders.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
        Some(Held { frame, here: PhantomData })
    }

    /// Hold no longer. Returns the handle, and whether this was the last holder.
    #[inline]
    pub fn release(self) -> (Frame, bool) {
        let holders = &self.frame.header().holders;
        let count = holders.load(Ordering::Relaxed);
        if count > 1 {
            holders.store(count - 1, Ordering::Relaxed);
        }
        (self.frame, count <= 1)
    }

    /// The frame.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The frame, for narrowing this holder's window.
    pub fn frame_mut(&mut self) -> &mut Frame {
        &mut self.frame
    }
}

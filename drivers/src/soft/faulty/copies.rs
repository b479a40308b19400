//! Copies of frames, as they are or with bits flipped or marked.

use super::marking;
use super::random::Random;
use crate::frame::Frame;
use crate::pool::Pool;
use crate::soft::copy::frame_of;

/// Makes copies: a frame that is shared, or carries an application's memory, is never written to.
pub(super) struct Copies {
    pub pool: Pool,
    pub scratch: Vec<u8>,
}

impl Copies {
    /// A second frame like this one, with the port's verdicts and hash and the sender's requests.
    pub fn duplicate(&mut self, frame: &Frame) -> Option<Frame> {
        self.gather(frame);
        let mut copy = frame_of(&self.pool, &self.scratch)?;
        match frame.offload() {
            Some(offload) => copy.set_offload(offload),
            None => copy.set_verdicts(frame.verdicts()),
        }
        if let Some(hash) = frame.hash() {
            copy.set_hash(hash);
        }
        Some(copy)
    }

    /// The frame with bits flipped, and without what a port said of it or was asked to do to it: nobody but the stack
    /// at the end verifies its checksums, and no port makes them right.
    pub fn corrupted(&mut self, frame: &Frame, random: &mut Random) -> Option<Frame> {
        self.gather(frame);
        flip(&mut self.scratch, random);
        frame_of(&self.pool, &self.scratch)
    }

    /// Mark a frame that is ECN-capable, in place or as a copy. False if it is not, or no copy was to be had.
    pub fn mark(&mut self, frame: &mut Frame) -> bool {
        if let Some(bytes) = frame.bytes_mut() {
            return marking::mark(bytes);
        }
        let Some(mut copy) = self.duplicate(frame) else { return false };
        let marked = copy.bytes_mut().is_some_and(marking::mark);
        if marked {
            *frame = copy;
        }
        marked
    }

    /// A frame's bytes as they are on the wire: a VLAN tag that the port took off is back in its place.
    fn gather(&mut self, frame: &Frame) {
        const ADDRESSES: usize = 12;
        self.scratch.clear();
        frame.segments().for_each(|segment| self.scratch.extend_from_slice(segment));
        if let Some(tag) = frame.stripped_vlan()
            && self.scratch.len() >= ADDRESSES
        {
            let [high, low] = tag.to_be_bytes();
            self.scratch.splice(ADDRESSES..ADDRESSES, [0x81, 0x00, high, low]);
        }
    }
}

/// Flip one to three bits.
///
/// No two of them are the same bit of a 16-bit word. The Internet checksum is blind to two flips that cancel out in one
/// column, which a real link's CRC would have caught; from distinct columns no sum of up to three is zero, so each
/// checksummed part that was hit no longer fits its checksum, and transfers stay byte-exact.
pub(super) fn flip(bytes: &mut [u8], random: &mut Random) {
    let bits = bytes.len() * 8;
    let mut columns = 0_u16;
    for _ in 0..1 + random.below(3) {
        let mut bit = usize::try_from(random.below(bits as u64)).unwrap_or(0);
        if bits == 0 {
            continue;
        }
        while columns & 1 << (bit % 16) != 0 {
            bit = (bit + 1) % bits;
        }
        columns |= 1 << (bit % 16);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

//! Pipes: what `splice` moves bytes through. As Linux has them: 64 KiB, read in order, broken once nobody reads.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use stack::poll::Errno;

/// Bytes a pipe holds.
const PIPE_BYTES: usize = 65_536;

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    reader_gone: bool,
    writer_gone: bool,
}

/// One end of a pipe.
#[derive(Clone)]
pub struct End {
    pipe: Rc<RefCell<Pipe>>,
    /// It is the end that is written.
    pub writes: bool,
}

/// The end that is read, and the one that is written.
pub fn pipe() -> (End, End) {
    let pipe = Rc::new(RefCell::new(Pipe::default()));
    (End { pipe: Rc::clone(&pipe), writes: false }, End { pipe, writes: true })
}

impl End {
    /// Copy bytes out.
    ///
    /// Errors: `Again` if there are none; the end is not for reading.
    pub fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        if self.writes {
            return Err(Errno::BadDescriptor);
        }
        let mut pipe = self.pipe.borrow_mut();
        let len = into.len().min(pipe.bytes.len());
        if len == 0 {
            return if pipe.writer_gone || into.is_empty() { Ok(0) } else { Err(Errno::Again) };
        }
        for (place, byte) in into.iter_mut().zip(pipe.bytes.drain(..len)) {
            *place = byte;
        }
        Ok(len)
    }

    /// Bytes to be read, without taking them.
    pub fn peek(&self, most: usize) -> Vec<u8> {
        self.pipe.borrow().bytes.iter().take(most).copied().collect()
    }

    /// Copy bytes in, as many as there is room for.
    ///
    /// Errors: `Again` if there is none; `BrokenPipe`; the end is not for writing.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        if !self.writes {
            return Err(Errno::BadDescriptor);
        }
        let mut pipe = self.pipe.borrow_mut();
        if pipe.reader_gone {
            return Err(Errno::BrokenPipe);
        }
        let len = bytes.len().min(PIPE_BYTES - pipe.bytes.len());
        if len == 0 && !bytes.is_empty() {
            return Err(Errno::Again);
        }
        pipe.bytes.extend(&bytes[..len]);
        Ok(len)
    }

    /// Room for further bytes.
    pub fn room(&self) -> usize {
        PIPE_BYTES - self.pipe.borrow().bytes.len()
    }

    /// The end is closed.
    pub fn close(&self) {
        let mut pipe = self.pipe.borrow_mut();
        if self.writes {
            pipe.writer_gone = true;
        } else {
            pipe.reader_gone = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_bounded_and_breaks() {
        // Shows order, the bound, the end after the writer's close, and the error after the reader's.
        let (reader, writer) = pipe();
        assert_eq!(reader.read(&mut [0; 4]), Err(Errno::Again));
        assert_eq!(writer.write(&vec![7; 70_000]), Ok(65_536));
        assert_eq!(writer.write(&[1]), Err(Errno::Again));
        assert_eq!(reader.read(&mut vec![0; 65_535]), Ok(65_535));
        assert_eq!((reader.peek(9), writer.room()), (vec![7], 65_535));
        writer.close();
        assert_eq!((reader.read(&mut [0; 4]), reader.read(&mut [0; 4])), (Ok(1), Ok(0)));
        reader.close();
        assert_eq!(writer.write(&[1]), Err(Errno::BrokenPipe));
    }
}

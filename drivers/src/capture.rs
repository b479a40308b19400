//! Captures of what a port receives and sends, as pcapng files that Wireshark reads. The pcap port, which lives from
//! such files, is `soft/pcap.rs`.
//!
//! A lane copies each frame into a bounded queue; a thread of its own writes. When the disk is slower than the port,
//! frames are left out and counted: a capture never holds a lane up. The file holds frames as the port takes them:
//! with offloads, checksums on the way out are not filled in yet, and segments not cut.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::frame::Frame;
use crate::setup::SetupError;

/// Frames that wait for the disk: some milliseconds of a busy lane, and at most 6 MiB of full frames.
const WAITING_MAX: usize = 4096;

/// Where a port's queues hand frames to a capture, if one runs.
#[derive(Default)]
pub struct CapturePoint {
    running: AtomicBool,
    sender: Mutex<Option<SyncSender<Record>>>,
    captured: AtomicU64,
    dropped: AtomicU64,
}

/// Which way a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// One frame on its way to the file.
pub struct Record {
    nanos: u64,
    direction: Direction,
    queue: u16,
    bytes: Vec<u8>,
}

impl CapturePoint {
    /// A capture runs.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// A frame as it will be in the file, with the VLAN tag that the port took off or is to put in.
    pub fn record(frame: &Frame, direction: Direction, queue: u16) -> Record {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut bytes: Vec<u8> = frame.segments().flatten().copied().collect();
        let tag = match direction {
            Direction::In => frame.stripped_vlan(),
            Direction::Out => frame.vlan(),
        };
        if let Some(tci) = tag.filter(|_| bytes.len() >= 12) {
            let [high, low] = tci.to_be_bytes();
            bytes.splice(12..12, [0x81, 0, high, low]);
        }
        Record { nanos: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX), direction, queue, bytes }
    }

    /// Leaves records for the writer; those that find no room are counted.
    pub fn leave(&self, records: impl IntoIterator<Item = Record>) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = sender.as_ref() else { return };
        for record in records {
            let counter = if sender.try_send(record).is_ok() { &self.captured } else { &self.dropped };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Begins to write to `path`, which is made anew. `name` is the port's in the file.
    ///
    /// Errors: the file cannot be made, or a capture of this port runs already.
    pub fn begin(self: &Arc<Self>, path: &Path, name: &str) -> Result<Capture, SetupError> {
        let failed = |error: io::Error| SetupError::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.is_some() {
            return Err(failed(io::Error::other("a capture of this port runs already")));
        }
        let mut file = BufWriter::new(File::create(path).map_err(failed)?);
        file.write_all(&head(name)).and_then(|()| file.flush()).map_err(failed)?;
        let (give, take) = sync_channel(WAITING_MAX);
        let writer = thread::Builder::new().name("capture".to_owned()).spawn(move || write(file, &take));
        let writer = writer.map_err(failed)?;
        *sender = Some(give);
        self.captured.store(0, Ordering::Relaxed);
        self.dropped.store(0, Ordering::Relaxed);
        self.running.store(true, Ordering::Relaxed);
        Ok(Capture { point: Arc::clone(self), writer: Some(writer) })
    }
}

/// A capture that runs. Dropping it writes what waits and closes the file.
pub struct Capture {
    point: Arc<CapturePoint>,
    writer: Option<JoinHandle<io::Result<()>>>,
}

impl Capture {
    /// Frames that went to the file or wait for it.
    pub fn captured(&self) -> u64 {
        self.point.captured.load(Ordering::Relaxed)
    }

    /// Frames that were left out because the file was too slow.
    pub fn dropped(&self) -> u64 {
        self.point.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits and closes the file.
    ///
    /// Errors: the disk is full, or worse; the file then ends early.
    pub fn finish(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        self.point.running.store(false, Ordering::Relaxed);
        // Its end ends the writer, once it has taken what waits.
        *self.point.sender.lock().unwrap_or_else(PoisonError::into_inner) = None;
        writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Whoever wants to hear of errors calls `finish`.
        let _ = self.end();
    }
}

fn write(mut file: BufWriter<File>, records: &Receiver<Record>) -> io::Result<()> {
    while let Ok(record) = records.recv() {
        file.write_all(&packet(&record))?;
        // Until there is a moment for it: who looks into the file while it grows sees whole frames soon.
        while let Ok(record) = records.try_recv() {
            file.write_all(&packet(&record))?;
        }
        file.flush()?;
    }
    file.flush()
}

/// Section header and interface description (draft-ietf-opsawg-pcapng, sections 4.1 and 4.2).
fn head(name: &str) -> Vec<u8> {
    let mut section = Vec::new();
    section.extend(0x1a2b_3c4d_u32.to_ne_bytes());
    section.extend(1_u16.to_ne_bytes());
    section.extend(0_u16.to_ne_bytes());
    section.extend((-1_i64).to_ne_bytes());
    let mut interface = Vec::new();
    // Ethernet, and frames of any length.
    interface.extend(1_u16.to_ne_bytes());
    interface.extend([0; 6]);
    option(&mut interface, 2, name.as_bytes());
    // Times are in nanoseconds.
    option(&mut interface, 9, &[9]);
    option(&mut interface, 0, &[]);
    [block(0x0a0d_0d0a, &section), block(1, &interface)].concat()
}

/// An enhanced packet block (section 4.3), with its direction and its queue.
fn packet(record: &Record) -> Vec<u8> {
    let length = u32::try_from(record.bytes.len()).unwrap_or(u32::MAX);
    let [high, low] = [record.nanos >> 32, record.nanos & u64::from(u32::MAX)];
    let mut body = Vec::with_capacity(record.bytes.len() + 48);
    body.extend(0_u32.to_ne_bytes());
    for half in [high, low] {
        body.extend(u32::try_from(half).unwrap_or(0).to_ne_bytes());
    }
    body.extend(length.to_ne_bytes());
    body.extend(length.to_ne_bytes());
    body.extend(&record.bytes);
    body.resize(body.len().next_multiple_of(4), 0);
    let direction: u32 = if record.direction == Direction::In { 1 } else { 2 };
    option(&mut body, 2, &direction.to_ne_bytes());
    option(&mut body, 6, &u32::from(record.queue).to_ne_bytes());
    option(&mut body, 0, &[]);
    block(6, &body)
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend(code.to_ne_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(0).to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A block has its length on both ends.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let body_length = body.len().next_multiple_of(4);
    let length = u32::try_from(body_length + 12).unwrap_or(u32::MAX);
    let mut block = Vec::with_capacity(body_length + 12);
    block.extend(kind.to_ne_bytes());
    block.extend(length.to_ne_bytes());
    block.extend(body);
    block.resize(8 + body_length, 0);
    block.extend(length.to_ne_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    #[test]
    fn a_file_is_blocks_with_their_lengths_on_both_ends() {
        // Shows, walking a file as a reader does, each kind of block, the frame in the last and its restored tag.
        let path = std::env::temp_dir().join(format!("corelane-capture-{}", std::process::id()));
        let point = Arc::new(CapturePoint::default());
        let pool = Pool::heap(2, 256);
        let mut frame = pool.take().expect("a frame");
        frame.append(15).expect("room").copy_from_slice(b"ABCDEFGHIJKL\x08\x00!");
        frame.set_vlan(7);
        point.leave([CapturePoint::record(&frame, Direction::Out, 3)]);
        let capture = point.begin(&path, "tap:x").expect("a capture");
        assert!(point.is_running() && point.begin(&path, "tap:x").is_err());
        point.leave([CapturePoint::record(&frame, Direction::Out, 3)]);
        assert_eq!((capture.captured(), capture.dropped()), (1, 0));
        capture.finish().expect("a closed file");
        assert!(!point.is_running());
        let file = std::fs::read(&path).expect("the file");
        std::fs::remove_file(&path).expect("the file");
        let word = |at: usize| u32::from_ne_bytes(file[at..at + 4].try_into().expect("four bytes"));
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let length = word(at + 4) as usize;
            assert_eq!(word(at + length - 4) as usize, length);
            kinds.push((word(at), at));
            at += length;
        }
        assert_eq!(kinds.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [0x0a0d_0d0a, 1, 6]);
        let packet = kinds[2].1;
        assert_eq!((word(packet + 20), word(packet + 24)), (19, 19));
        assert_eq!(&file[packet + 28..packet + 47], b"ABCDEFGHIJKL\x81\x00\x00\x07\x08\x00!");
        drop(point.begin(&path, "again").expect("after the first, a second"));
        std::fs::remove_file(&path).expect("the file");
    }

    #[test]
    fn what_the_disk_cannot_take_is_counted() {
        // Shows the bound: with nobody writing, what is above it is left out.
        let point = CapturePoint::default();
        let (give, take) = sync_channel(2);
        *point.sender.lock().expect("a lock") = Some(give);
        let pool = Pool::heap(1, 256);
        let frame = pool.take().expect("a frame");
        point.leave((0..5).map(|_| CapturePoint::record(&frame, Direction::In, 0)));
        assert_eq!((point.captured.load(Ordering::Relaxed), point.dropped.load(Ordering::Relaxed)), (2, 3));
        assert_eq!(take.try_iter().count(), 2);
    }
}

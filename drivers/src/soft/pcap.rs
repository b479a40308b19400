//! A port made of files: frames come from one capture and go to another. The format lives in `pcap/format.rs`.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::frame::Frame;
use crate::pool::Pool;
use crate::port::{Capabilities, Control, DeviceStatistics, Link, Queue};
use crate::soft::copy::frame_of;

use format::{Reader, Writer};

mod device;
mod format;

pub use device::open_pcap;
pub use format::{PcapError, RECORD_BYTES_MAX};

/// Bytes that are read and written at once.
const BUFFER_BYTES: usize = 1 << 16;

/// What a pcap port can do: all that a copy into a file can.
pub const PCAP_CAPABILITIES: Capabilities =
    Capabilities { multi_segment: true, segments_max: 64, reads_heap: true, ..Capabilities::plain(9000) };

/// When the frames of a capture arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As soon as they are asked for.
    #[default]
    AtOnce,
    /// The first at the first call of `receive`, the others as much later as they were captured.
    Recorded,
}

/// What went through a pcap port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PcapStatistics {
    /// Frames received.
    pub received_frames: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Of the frames received, those that the capture holds only the front of.
    pub cut_frames: u64,
    /// Records that are too long for all of the pool, and one more if the input could not be read to its end.
    pub receive_errors: u64,
    /// Times that no frame was left to receive into. The record waits; nothing is lost.
    pub no_frames: u64,
    /// Frames written, or taken and forgotten where there is no output.
    pub sent_frames: u64,
    /// Bytes written, or taken and forgotten where there is no output.
    pub sent_bytes: u64,
    /// Frames lost because the output could not be written.
    pub transmit_errors: u64,
}

#[derive(Default)]
struct Report {
    statistics: PcapStatistics,
    problem: Option<Arc<PcapError>>,
}

impl Report {
    /// Keep the first problem: later ones follow from it.
    fn fail(&mut self, problem: PcapError) {
        self.problem.get_or_insert(Arc::new(problem));
    }
}

/// The side of a pcap port that is not its queue: counters, and what went wrong. Clones share it.
#[derive(Clone, Default)]
pub struct PcapControl(Arc<Mutex<Report>>);

impl PcapControl {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What went through the port so far.
    pub fn pcap_statistics(&self) -> PcapStatistics {
        self.report().statistics
    }

    /// The first thing that went wrong since the port was opened, when the output was closed included.
    pub fn problem(&self) -> Option<Arc<PcapError>> {
        self.report().problem.clone()
    }
}

impl Control for PcapControl {
    fn link(&self) -> Link {
        Link { up: true, megabits: None }
    }

    fn statistics(&self) -> DeviceStatistics {
        let statistics = self.pcap_statistics();
        DeviceStatistics {
            received_frames: statistics.received_frames,
            received_bytes: statistics.received_bytes,
            sent_frames: statistics.sent_frames,
            sent_bytes: statistics.sent_bytes,
            missed: 0,
            receive_errors: statistics.receive_errors,
            transmit_errors: statistics.transmit_errors,
            no_frames: statistics.no_frames,
        }
    }

    fn extended_statistics(&self) -> Vec<(String, u64)> {
        vec![("rx_cut_frames".to_owned(), self.pcap_statistics().cut_frames)]
    }
}

/// A queue that receives what one capture holds and writes what is sent to another.
///
/// Dropping it writes out what is buffered; [`PcapControl::problem`] tells whether that went well.
pub struct PcapQueue {
    input: Option<Input>,
    output: Option<Writer<BufWriter<File>>>,
    pool: Pool,
    control: PcapControl,
}

impl PcapQueue {
    /// Receive from `input` into frames of `pool`, and send to `output`, which is written anew.
    ///
    /// Without an input nothing is received; without an output what is sent is counted and forgotten. Frames longer
    /// than the pool's are chained. The output counts time from the zero of the lane's clock.
    ///
    /// Errors: a file cannot be opened, the input is no Ethernet capture, or both are the same file. What is wrong
    /// further inside the input ends the receiving and is told by [`PcapControl::problem`].
    pub fn open(
        input: Option<&Path>,
        output: Option<&Path>,
        pace: Pace,
        pool: Pool,
    ) -> Result<PcapQueue, PcapError> {
        let control = PcapControl::default();
        let input = input.map(|path| Input::open(path, pace)).transpose()?;
        let output = output.map(|path| create(path, input.as_ref())).transpose()?;
        let mut queue = PcapQueue { input, output, pool, control };
        queue.prepare();
        Ok(queue)
    }

    /// The control side of this port.
    pub fn control(&self) -> PcapControl {
        self.control.clone()
    }

    /// Everything that could be received was.
    pub fn is_finished(&self) -> bool {
        self.input.is_none()
    }

    /// Read one record ahead, so that the time of the next frame is known; at its end the input is closed.
    fn prepare(&mut self) {
        let Some(input) = &mut self.input else { return };
        match input.reader.advance() {
            Ok(true) => return,
            Ok(false) => {}
            Err(problem) => {
                let mut report = self.control.report();
                report.statistics.receive_errors += 1;
                report.fail(problem);
            }
        }
        self.input = None;
    }
}

/// A capture being received.
struct Input {
    reader: Reader<BufReader<File>>,
    pace: Pace,
    /// What was captured at `captured` arrives at `arrives`, once anything has. Units: nanoseconds.
    start: Option<Start>,
    /// Which file this is, to tell it from the output.
    identity: (u64, u64),
}

#[derive(Clone, Copy)]
struct Start {
    captured: u64,
    arrives: u64,
}

impl Input {
    fn open(path: &Path, pace: Pace) -> Result<Input, PcapError> {
        let refused = |source| PcapError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(refused)?;
        let metadata = file.metadata().map_err(refused)?;
        let reader = Reader::new(BufReader::with_capacity(BUFFER_BYTES, file), path)?;
        Ok(Input { reader, pace, start: None, identity: (metadata.dev(), metadata.ino()) })
    }

    /// When the record that was read ahead arrives. A capture's clock may go back; ours does not.
    fn arrival(&self) -> u64 {
        match (self.pace, self.start) {
            (Pace::AtOnce, _) | (_, None) => 0,
            (Pace::Recorded, Some(start)) => {
                start.arrives.saturating_add(self.reader.time().saturating_sub(start.captured))
            }
        }
    }
}

/// The output, unless that would empty the input before it was read.
fn create(path: &Path, input: Option<&Input>) -> Result<Writer<BufWriter<File>>, PcapError> {
    if let (Some(input), Ok(metadata)) = (input, fs::metadata(path))
        && input.identity == (metadata.dev(), metadata.ino())
    {
        return Err(PcapError::SameFile { path: path.to_owned() });
    }
    let refused = |source: io::Error| PcapError::Create { path: path.to_owned(), source };
    let file = File::create(path).map_err(refused)?;
    Writer::new(BufWriter::with_capacity(BUFFER_BYTES, file), path)
}

impl Queue for PcapQueue {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut count = 0;
        while count < max {
            let Some(input) = &mut self.input else { break };
            if input.arrival() > now {
                break;
            }
            let bytes = input.reader.bytes();
            let Some(frame) = frame_of(&self.pool, bytes) else {
                // With every frame at home, waiting would not help.
                if self.pool.available() == self.pool.capacity() {
                    self.control.report().statistics.receive_errors += 1;
                    self.prepare();
                    continue;
                }
                self.control.report().statistics.no_frames += 1;
                break;
            };
            input.start.get_or_insert(Start { captured: input.reader.time(), arrives: now });
            let mut report = self.control.report();
            report.statistics.received_frames += 1;
            report.statistics.received_bytes += bytes.len() as u64;
            report.statistics.cut_frames += u64::from(input.reader.is_cut());
            drop(report);
            frames.push(frame);
            count += 1;
            self.prepare();
        }
        count
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        let count = frames.len();
        let mut report = self.control.report();
        for frame in frames.drain(..) {
            let written = match &mut self.output {
                Some(output) => output.write(now, &frame),
                None => Ok(()),
            };
            match written {
                Ok(()) => {
                    report.statistics.sent_frames += 1;
                    report.statistics.sent_bytes += frame.total_len() as u64;
                }
                Err(problem) => {
                    report.statistics.transmit_errors += 1;
                    problem.into_iter().for_each(|problem| report.fail(problem));
                }
            }
        }
        count
    }

    fn next_event(&self) -> Option<u64> {
        self.input.as_ref().map(Input::arrival)
    }
}

impl Drop for PcapQueue {
    fn drop(&mut self) {
        if let Some(output) = &mut self.output
            && let Err(problem) = output.flush()
        {
            self.control.report().fail(problem);
        }
    }
}

#[cfg(test)]
mod tests;

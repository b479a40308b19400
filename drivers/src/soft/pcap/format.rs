//! The classic capture file: what is read is checked before it is believed, what is written has nanoseconds.
//!
//! Source: draft-ietf-opsawg-pcap, "PCAP Capture File Format". The port made of such files is `pcap.rs`.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::frame::Frame;

/// Longest record that is read or written: libpcap's own bound for Ethernet. Units: bytes.
pub const RECORD_BYTES_MAX: u32 = 256 << 10;

const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// The first block of the other format, pcapng; the same in both byte orders.
const PCAPNG: u32 = 0x0a0d_0d0a;
const ETHERNET: u32 = 1;
const SECOND: u64 = 1_000_000_000;

/// What is wrong with a capture file.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// The input cannot be opened.
    #[error("cannot read {}: {source}: name a capture file that exists and may be read", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The output cannot be made.
    #[error("cannot write {}: {source}: name a file in a folder that exists and may be written to", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Input and output are one file.
    #[error("{} is both input and output: name another file to write to", path.display())]
    SameFile {
        /// The file.
        path: PathBuf,
    },
    /// Reading failed.
    #[error("reading {} failed at byte {offset}: {source}: what came before was received", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// How far into the file. Units: bytes.
        offset: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// Writing failed.
    #[error("writing {} failed at byte {offset}: {source}: make room or name another file", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// How much had been given to the file. Units: bytes.
        offset: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// The file ends within its header.
    #[error("{} ends after {found} of a capture's 24 header bytes: capture again", path.display())]
    CutHeader {
        /// The file.
        path: PathBuf,
        /// Bytes there are.
        found: usize,
    },
    /// The file is in the newer format.
    #[error("{} is a pcapng file: convert it with `editcap -F pcap IN OUT`", path.display())]
    NextGeneration {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} starts with {magic:#010x} at byte 0 and is no pcap file: name a capture, uncompressed", path.display())]
    NotPcap {
        /// The file.
        path: PathBuf,
        /// Its first four bytes.
        magic: u32,
    },
    /// The file is of a version we do not know.
    #[error("{} is a pcap file of version {major}.{minor} (byte 4), not 2.4: convert it with `editcap -F pcap IN OUT`", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        major: u16,
        /// Its version.
        minor: u16,
    },
    /// The file does not hold Ethernet frames.
    #[error("{} holds frames of link type {link_type} (byte 20), not Ethernet's 1: capture on an Ethernet interface", path.display())]
    LinkType {
        /// The file.
        path: PathBuf,
        /// What it holds.
        link_type: u32,
    },
    /// The file ends within a record.
    #[error(
        "{} ends within the record at byte {offset}, after {found} of {wanted} bytes: \
         the capture was cut off; what came before was received", path.display()
    )]
    CutRecord {
        /// The file.
        path: PathBuf,
        /// Where the record starts. Units: bytes.
        offset: u64,
        /// Bytes the record has, as far as can be told.
        wanted: usize,
        /// Bytes there are.
        found: usize,
    },
    /// A record is longer than any frame.
    #[error(
        "the record at byte {offset} of {} says it has {bytes} bytes, more than {RECORD_BYTES_MAX}: \
         the file is damaged from there on; what came before was received", path.display()
    )]
    LongRecord {
        /// The file.
        path: PathBuf,
        /// Where the record starts. Units: bytes.
        offset: u64,
        /// What it says.
        bytes: u32,
    },
}

/// Reads a capture record by record.
pub(super) struct Reader<R> {
    source: R,
    path: PathBuf,
    offset: u64,
    big_endian: bool,
    /// Nanoseconds in one of the unit of the fractions of time.
    fraction: u64,
    record: Vec<u8>,
    time: u64,
    cut: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the file's header. `path` is for messages.
    pub fn new(mut source: R, path: &Path) -> Result<Reader<R>, PcapError> {
        let path = path.to_owned();
        let mut header = [0; FILE_HEADER_BYTES];
        let found = match fill(&mut source, &mut header) {
            Ok(found) => found,
            Err(source) => return Err(PcapError::Read { path, offset: 0, source }),
        };
        let magic = number(&header, 0, true);
        if found >= 4 && magic == PCAPNG {
            return Err(PcapError::NextGeneration { path });
        }
        let (big_endian, fraction) = match (magic, magic.swap_bytes()) {
            (MICROSECONDS, _) => (true, 1_000),
            (_, MICROSECONDS) => (false, 1_000),
            (NANOSECONDS, _) => (true, 1),
            (_, NANOSECONDS) => (false, 1),
            _ if found >= 4 => return Err(PcapError::NotPcap { path, magic }),
            _ => return Err(PcapError::CutHeader { path, found }),
        };
        if found < FILE_HEADER_BYTES {
            return Err(PcapError::CutHeader { path, found });
        }
        let (major, minor) = (short(&header, 4, big_endian), short(&header, 6, big_endian));
        if (major, minor) != (2, 4) {
            return Err(PcapError::Version { path, major, minor });
        }
        // Upper bits say that frames carry their check sequences, which nobody here takes off: refused as well.
        let link_type = number(&header, 20, big_endian);
        if link_type != ETHERNET {
            return Err(PcapError::LinkType { path, link_type });
        }
        let offset = FILE_HEADER_BYTES as u64;
        Ok(Reader { source, path, offset, big_endian, fraction, record: Vec::new(), time: 0, cut: false })
    }

    /// Goes on to the next record. False at the end of the file. After an error there is no next record.
    pub fn advance(&mut self) -> Result<bool, PcapError> {
        let offset = self.offset;
        let mut header = [0; RECORD_HEADER_BYTES];
        let found = self.read(|source| fill(source, &mut header))?;
        if found == 0 {
            return Ok(false);
        }
        let path = self.path.clone();
        if found < RECORD_HEADER_BYTES {
            return Err(PcapError::CutRecord { path, offset, wanted: RECORD_HEADER_BYTES, found });
        }
        let field = |at| number(&header, at, self.big_endian);
        let (seconds, fraction, bytes, original) = (field(0), field(4), field(8), field(12));
        if bytes > RECORD_BYTES_MAX {
            return Err(PcapError::LongRecord { path, offset, bytes });
        }
        self.time = u64::from(seconds) * SECOND + u64::from(fraction) * self.fraction;
        self.cut = original > bytes;
        let bytes = bytes as usize;
        let mut record = std::mem::take(&mut self.record);
        record.resize(bytes, 0);
        let found = self.read(|source| fill(source, &mut record))?;
        self.record = record;
        if found < bytes {
            let (wanted, found) = (RECORD_HEADER_BYTES + bytes, RECORD_HEADER_BYTES + found);
            return Err(PcapError::CutRecord { path, offset, wanted, found });
        }
        Ok(true)
    }

    fn read(&mut self, read: impl FnOnce(&mut R) -> io::Result<usize>) -> Result<usize, PcapError> {
        let found = read(&mut self.source).map_err(|source| PcapError::Read {
            path: self.path.clone(),
            offset: self.offset,
            source,
        })?;
        self.offset += found as u64;
        Ok(found)
    }

    /// The record's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.record
    }

    /// When the record was captured. Units: nanoseconds since 1970.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// The record is only the front of what was on the wire.
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

/// Fills `buffer` as far as the source goes.
fn fill(source: &mut impl Read, mut buffer: &mut [u8]) -> io::Result<usize> {
    let wanted = buffer.len();
    while !buffer.is_empty() {
        match source.read(buffer) {
            Ok(0) => break,
            Ok(count) => buffer = buffer.split_at_mut(count).1,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - buffer.len())
}

fn number(header: &[u8], at: usize, big_endian: bool) -> u32 {
    let bytes = header[at..].first_chunk().copied().unwrap_or_default();
    if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

fn short(header: &[u8], at: usize, big_endian: bool) -> u16 {
    let bytes = header[at..].first_chunk().copied().unwrap_or_default();
    if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
}

/// Writes a capture: little endian, nanoseconds, the same bytes on every machine.
pub(super) struct Writer<W> {
    sink: W,
    path: PathBuf,
    offset: u64,
    /// After a failure the file may end within a record; nothing may follow that.
    broken: bool,
}

impl<W: Write> Writer<W> {
    /// Writes the file's header. `path` is for messages.
    pub fn new(sink: W, path: &Path) -> Result<Writer<W>, PcapError> {
        let mut header = [0; FILE_HEADER_BYTES];
        header[0..4].copy_from_slice(&NANOSECONDS.to_le_bytes());
        header[4..6].copy_from_slice(&2_u16.to_le_bytes());
        header[6..8].copy_from_slice(&4_u16.to_le_bytes());
        header[16..20].copy_from_slice(&RECORD_BYTES_MAX.to_le_bytes());
        header[20..24].copy_from_slice(&ETHERNET.to_le_bytes());
        let mut writer = Writer { sink, path: path.to_owned(), offset: 0, broken: false };
        // Out at once, so that what cannot be written is known before anything is sent.
        let written = writer.sink.write_all(&header).and_then(|()| writer.sink.flush());
        writer.check(written)?;
        writer.offset = FILE_HEADER_BYTES as u64;
        Ok(writer)
    }

    /// Writes a frame, all of its segments, as seen at `now`.
    ///
    /// Errors: writing failed, with the reason the first time and without thereafter.
    pub fn write(&mut self, now: u64, frame: &Frame) -> Result<(), Option<PcapError>> {
        if self.broken {
            return Err(None);
        }
        let original = u32::try_from(frame.total_len()).unwrap_or(u32::MAX);
        let kept = original.min(RECORD_BYTES_MAX);
        let mut header = [0; RECORD_HEADER_BYTES];
        let time = [u32::try_from(now / SECOND).unwrap_or(u32::MAX), (now % SECOND) as u32];
        for (field, value) in header.chunks_exact_mut(4).zip([time[0], time[1], kept, original]) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        let mut written = self.sink.write_all(&header);
        let mut left = kept as usize;
        for segment in frame.segments() {
            let here = &segment[..segment.len().min(left)];
            left -= here.len();
            written = written.and_then(|()| self.sink.write_all(here));
        }
        self.check(written).map_err(Some)?;
        self.offset += RECORD_HEADER_BYTES as u64 + u64::from(kept);
        Ok(())
    }

    /// Writes out what is buffered. Nothing after a failure: that was told.
    pub fn flush(&mut self) -> Result<(), PcapError> {
        if self.broken {
            return Ok(());
        }
        let written = self.sink.flush();
        self.check(written)
    }

    fn check(&mut self, written: io::Result<()>) -> Result<(), PcapError> {
        written.map_err(|source| {
            self.broken = true;
            PcapError::Write { path: self.path.clone(), offset: self.offset, source }
        })
    }
}

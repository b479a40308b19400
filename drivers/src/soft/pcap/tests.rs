#![allow(clippy::cast_possible_truncation, reason = "small numbers")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A file of this test's own, removed with it.
pub(super) struct TestFile(pub(super) PathBuf);

impl TestFile {
    pub(super) fn new() -> TestFile {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("corelane-pcap-{}-{number}", std::process::id());
        TestFile(std::env::temp_dir().join(name))
    }

    pub(super) fn with(bytes: &[u8]) -> TestFile {
        let file = TestFile::new();
        fs::write(&file.0, bytes).unwrap();
        file
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn pool() -> Pool {
    Pool::heap(64, 2176)
}

fn reading(file: &TestFile, pace: Pace) -> Result<PcapQueue, PcapError> {
    PcapQueue::open(Some(&file.0), None, pace, pool())
}

fn writing(file: &TestFile) -> PcapQueue {
    PcapQueue::open(None, Some(&file.0), Pace::AtOnce, pool()).unwrap()
}

fn receive(queue: &mut PcapQueue, now: u64) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    queue.receive(now, &mut frames, 1_000);
    frames.iter().map(|frame| frame.segments().flatten().copied().collect()).collect()
}

/// The text an input is refused with, its path taken out.
fn refusal(file: &TestFile) -> String {
    let error = reading(file, Pace::AtOnce).err().unwrap();
    error.to_string().replace(&file.0.display().to_string(), "FILE")
}

/// A capture in any of the four dialects: two records, at 1.5 s and 2.000001 s, of 3 and 2 bytes.
pub(super) fn capture(big_endian: bool, nanoseconds: bool) -> Vec<u8> {
    let magic: u32 = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let scale = if nanoseconds { 1_000 } else { 1 };
    let long = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let short = |value: u16| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut bytes =
        [long(magic).as_slice(), &short(2), &short(4), &long(0), &long(0), &long(65_535), &long(1)].concat();
    for (seconds, micros, data, original) in [(1, 500_000, b"abc".as_slice(), 3), (2, 1, b"de", 60)] {
        for field in [seconds, micros * scale, data.len() as u32, original] {
            bytes.extend(long(field));
        }
        bytes.extend(data);
    }
    bytes
}

/// What a writer makes of frames `abc` at 1 s and 2 ns and `de` at 5 ns.
const GOLDEN: &[u8] =
    b"\x4d\x3c\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x01\x00\x00\x00\
    \x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x03\x00\x00\x00abc\
    \x00\x00\x00\x00\x05\x00\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00de";

#[test]
fn every_dialect_is_read() {
    // Shows frames and their times in both byte orders and both units, at once and as recorded.
    for (big_endian, nanoseconds) in [(false, false), (false, true), (true, false), (true, true)] {
        let file = TestFile::with(&capture(big_endian, nanoseconds));
        let mut queue = reading(&file, Pace::AtOnce).unwrap();
        assert_eq!(queue.next_event(), Some(0));
        assert_eq!(receive(&mut queue, 0), [b"abc".as_slice(), b"de"]);
        assert!(queue.is_finished() && queue.next_event().is_none());
        let statistics = queue.control().pcap_statistics();
        assert_eq!((statistics.received_frames, statistics.received_bytes), (2, 5));
        assert_eq!((statistics.cut_frames, statistics.receive_errors), (1, 0));
        assert!(queue.control().problem().is_none());

        let mut queue = reading(&file, Pace::Recorded).unwrap();
        assert_eq!(queue.next_event(), Some(0));
        assert_eq!(receive(&mut queue, 700), [b"abc"]);
        let second = 700 + 500_001_000;
        assert_eq!(queue.next_event(), Some(second));
        assert!(receive(&mut queue, second - 1).is_empty());
        assert_eq!(receive(&mut queue, second), [b"de"]);
    }
}

#[test]
fn the_bytes_written_are_these() {
    // Shows every byte of a small capture, and that the same file is read back with the same frames and times.
    let (file, pool) = (TestFile::new(), pool());
    let mut queue = writing(&file);
    for (now, bytes) in [(1_000_000_002, b"abc".as_slice()), (5, b"de")] {
        assert_eq!(queue.transmit(now, &mut vec![frame_of(&pool, bytes).unwrap()]), 1);
    }
    let control = queue.control();
    drop(queue);
    assert_eq!(fs::read(&file.0).unwrap(), GOLDEN);
    assert_eq!((control.statistics().sent_frames, control.statistics().sent_bytes), (2, 5));
    assert!(control.problem().is_none() && control.link().up);
    assert_eq!(pool.available(), pool.capacity());
    let mut queue = reading(&file, Pace::Recorded).unwrap();
    assert_eq!(
        receive(&mut queue, 9),
        [b"abc".as_slice(), b"de"],
        "a capture's clock that goes back is not followed"
    );
}

#[test]
fn long_frames_are_chained_and_gathered() {
    // Shows a round trip of frames of many segments, up to the longest record, and what is kept of one longer still.
    let (file, pool) = (TestFile::new(), Pool::heap(4096, 2176));
    let pattern: Vec<u8> = (0..RECORD_BYTES_MAX as usize + 9).map(|at| (at % 251) as u8).collect();
    let lengths = [0, 1, 2048, 2049, 9_014, 256 << 10, (256 << 10) + 9];
    let mut queue = writing(&file);
    let mut frames: Vec<_> =
        lengths[1..].iter().map(|length| frame_of(&pool, &pattern[..*length]).unwrap()).collect();
    frames.insert(0, pool.take().unwrap());
    assert_eq!(queue.transmit(0, &mut frames), lengths.len());
    drop(queue);
    let mut queue = PcapQueue::open(Some(&file.0), None, Pace::AtOnce, pool).unwrap();
    let mut frames = Vec::new();
    assert_eq!(queue.receive(0, &mut frames, 100), lengths.len());
    for (frame, length) in frames.iter().zip(lengths) {
        let kept = length.min(256 << 10);
        assert_eq!(frame.segment_count(), kept.div_ceil(2048).max(1));
        assert!(frame.segments().flatten().eq(&pattern[..kept]));
    }
    assert_eq!(queue.control().pcap_statistics().cut_frames, 1);
    drop(frames);
    assert_eq!(queue.pool.available(), queue.pool.capacity());
}

#[test]
fn a_file_cut_at_any_byte_is_told() {
    // Shows, for each length of a capture, the frames before the cut and where the cut was said to be.
    let whole = capture(false, false);
    assert_eq!(whole.len(), 24 + 19 + 18);
    for length in 0..=whole.len() {
        let file = TestFile::with(&whole[..length]);
        if length < 24 {
            assert_eq!(
                refusal(&file),
                format!("FILE ends after {length} of a capture's 24 header bytes: capture again")
            );
            continue;
        }
        let mut queue = reading(&file, Pace::AtOnce).unwrap();
        let frames = usize::from(length >= 43) + usize::from(length >= 61);
        assert_eq!(receive(&mut queue, 0).len(), frames, "{length}");
        let (control, start) = (queue.control(), if length < 43 { 24 } else { 43 });
        let problem = control.problem();
        if [24, 43, 61].contains(&length) {
            assert!(problem.is_none(), "{length}");
            continue;
        }
        let Some(PcapError::CutRecord { offset, wanted, found, .. }) = problem.as_deref() else {
            panic!("{length}: {problem:?}");
        };
        let size = if length < start + 16 { 16 } else { [19, 18][frames] };
        assert_eq!((*offset, *wanted, *found), (start as u64, size, length - start));
        assert_eq!(control.statistics().receive_errors, 1);
        assert!(queue.is_finished());
    }
}

#[test]
fn bad_files_are_refused_with_a_remedy() {
    // Shows the text for each thing that can be wrong with a file's header, and with a record's length.
    let good = capture(true, false);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        TestFile::with(&bytes)
    };
    let absent = refusal(&TestFile::new());
    assert!(absent.starts_with("cannot read FILE: No such file"), "{absent}");
    assert!(absent.ends_with("name a capture file that exists and may be read"), "{absent}");
    let next = TestFile::with(&[0x0a, 0x0d, 0x0d, 0x0a, 0, 0]);
    assert_eq!(refusal(&next), "FILE is a pcapng file: convert it with `editcap -F pcap IN OUT`");
    assert_eq!(
        refusal(&TestFile::with(b"\x1f\x8b\x08\x00")),
        "FILE starts with 0x1f8b0800 at byte 0 and is no pcap file: name a capture, uncompressed"
    );
    assert!(refusal(&with(5, 3)).starts_with("FILE is a pcap file of version 3.4 (byte 4), not 2.4"));
    assert_eq!(
        refusal(&with(23, 101)),
        "FILE holds frames of link type 101 (byte 20), not Ethernet's 1: capture on an Ethernet interface"
    );
    let mut queue = reading(&with(24 + 19 + 8, 1), Pace::AtOnce).unwrap();
    assert_eq!(receive(&mut queue, 0), [b"abc"]);
    let problem = queue.control().problem().unwrap().to_string();
    assert!(problem.starts_with("the record at byte 43 of "), "{problem}");
    assert!(problem.contains("says it has 16777218 bytes, more than 262144"), "{problem}");
}

#[test]
fn the_input_is_never_the_output() {
    // Shows that one file under two names is refused, and left as it was.
    let (file, link) = (TestFile::with(GOLDEN), TestFile::new());
    fs::hard_link(&file.0, &link.0).unwrap();
    let refused = PcapQueue::open(Some(&file.0), Some(&link.0), Pace::AtOnce, pool());
    assert!(matches!(refused.err(), Some(PcapError::SameFile { .. })));
    assert_eq!(fs::read(&file.0).unwrap(), GOLDEN);
    let nowhere = link.0.join("inside-a-file");
    let refused = PcapQueue::open(None, Some(&nowhere), Pace::AtOnce, pool());
    assert!(matches!(refused.err(), Some(PcapError::Create { .. })));
}

#[test]
fn an_empty_pool_delays_and_a_small_one_skips() {
    // Shows that a record waits while frames are out, and that one which all of the pool cannot hold is counted.
    let file = TestFile::with(&capture(false, false));
    let mut queue = PcapQueue::open(Some(&file.0), None, Pace::AtOnce, Pool::heap(1, 2176)).unwrap();
    let mut frames = Vec::new();
    assert_eq!(queue.receive(0, &mut frames, 10), 1);
    assert_eq!(queue.receive(0, &mut frames, 10), 0);
    assert_eq!(queue.control().statistics().no_frames, 2);
    frames.clear();
    assert_eq!(queue.receive(0, &mut frames, 10), 1);
    assert_eq!(frames[0].bytes(), b"de");
    assert_eq!(queue.control().statistics().receive_errors, 0);

    let mut queue = PcapQueue::open(Some(&file.0), None, Pace::AtOnce, Pool::heap(1, 130)).unwrap();
    assert_eq!(receive(&mut queue, 0), [b"de"]);
    assert_eq!(queue.control().statistics().receive_errors, 1);
}

#[test]
fn a_full_disk_is_told_once() {
    // Shows that frames which cannot be written are counted and dropped, and what the first failure was.
    let full = Path::new("/dev/full");
    let refused = PcapQueue::open(None, Some(full), Pace::AtOnce, pool());
    assert!(matches!(refused.err(), Some(PcapError::Write { offset: 0, .. })));

    let pool = pool();
    let mut writer = Writer::new(Small(30), Path::new("small")).unwrap();
    let frame = frame_of(&pool, b"abc").unwrap();
    let first = writer.write(0, &frame).unwrap_err().unwrap().to_string();
    assert!(first.starts_with("writing small failed at byte 24: "), "{first}");
    assert!(writer.write(0, &frame).unwrap_err().is_none());
    assert!(writer.flush().is_ok());
}

/// Takes this many bytes and no more.
struct Small(usize);

impl io::Write for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn without_files_nothing_comes_and_all_goes() {
    // Shows a port of neither input nor output: it sends into nothing, counted, and gives the frames back.
    let pool = pool();
    let mut queue = PcapQueue::open(None, None, Pace::AtOnce, Pool::heap(1, 256)).unwrap();
    assert!(queue.is_finished() && queue.next_event().is_none() && receive(&mut queue, 0).is_empty());
    assert_eq!(queue.transmit(0, &mut vec![frame_of(&pool, b"abc").unwrap()]), 1);
    assert_eq!(queue.control().statistics().sent_bytes, 3);
    assert_eq!(pool.available(), pool.capacity());
}

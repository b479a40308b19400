//! The access log: lanes fill buffers, a thread writes them to the file. Lanes never wait; what finds no buffer is
//! dropped and counted. What a record says is put together here, when it is written is `mod.rs`'s.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::http::{HttpClock, Method, Request, Status};

/// Bytes of a buffer.
const BUFFER_BYTES: usize = 64 * 1024;

/// Buffers of a lane: with eight a lane bridges half a second of a busy disk at 5,000 requests a second.
const BUFFERS: usize = 8;

/// Buffers on their way to the thread, all lanes together.
const QUEUE_MAX: usize = 4096;

/// Longest target, referrer and user agent that a record has; what is longer is cut.
const FIELD_MAX: usize = 1024;

/// Longest record: three fields of which each byte may be escaped, and what is around them.
const RECORD_MAX: usize = 3 * 4 * FIELD_MAX + 256;

/// How often the thread looks whether the file is to be opened anew.
const LOOK: Duration = Duration::from_millis(100);

/// A buffer on its way to the thread.
struct Filled {
    bytes: Vec<u8>,
    records: u64,
    home: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

/// The log's file and its thread.
#[derive(Debug)]
pub struct AccessLog {
    filled: SyncSender<Filled>,
    reopen: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl AccessLog {
    /// Append to the file at `path`, which is made if it is not there.
    ///
    /// Errors: it cannot be opened, or there is no thread to be had.
    pub fn open(path: &Path) -> io::Result<AccessLog> {
        let file = open(path)?;
        let (filled, inbox) = sync_channel(QUEUE_MAX);
        let reopen = Arc::new(AtomicBool::new(false));
        let writer = Writer { path: path.to_owned(), file, reopen: Arc::clone(&reopen), told: false };
        let thread = thread::Builder::new().name("access log".into()).spawn(move || writer.run(&inbox))?;
        Ok(AccessLog { filled, reopen, thread })
    }

    /// A flag which, once raised, has the file opened anew, as programs that rotate logs expect.
    pub fn reopen(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reopen)
    }

    /// A lane's end.
    pub fn lane(&self) -> LaneLog {
        let (home, empty) = sync_channel(BUFFERS);
        LaneLog {
            filled: self.filled.clone(),
            home,
            empty,
            made: 0,
            buffer: Vec::new(),
            records: 0,
            dropped: 0,
            lost: Arc::default(),
        }
    }

    /// Write what lanes have left behind, once every lane's end has gone.
    pub fn close(self) {
        drop(self.filled);
        // A panic there was printed there.
        let _ = self.thread.join();
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

struct Writer {
    path: PathBuf,
    file: File,
    reopen: Arc<AtomicBool>,
    /// The operator knows that it cannot be written.
    told: bool,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Filled>) {
        loop {
            let next = inbox.recv_timeout(LOOK);
            if self.reopen.swap(false, Ordering::AcqRel) {
                match open(&self.path) {
                    Ok(file) => (self.file, self.told) = (file, false),
                    Err(error) => self.tell(&error),
                }
            }
            match next {
                Ok(filled) => self.write(filled),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn write(&mut self, filled: Filled) {
        let Filled { mut bytes, records, home, lost } = filled;
        if let Err(error) = self.file.write_all(&bytes) {
            lost.fetch_add(records, Ordering::Relaxed);
            self.tell(&error);
        }
        bytes.clear();
        // A lane that has ended needs no buffer.
        let _ = home.try_send(bytes);
    }

    fn tell(&mut self, error: &io::Error) {
        if !self.told {
            eprintln!("httpd: cannot write `{}` ({error}); make room, then send SIGHUP", self.path.display());
            self.told = true;
        }
    }
}

/// What a record says of a request: kept until it is known how the request was answered.
#[derive(Debug, Default)]
pub(super) struct Note {
    /// The request line, then referrer and user agent, each in quotes.
    text: Vec<u8>,
    /// Where the request line ends.
    line: usize,
}

impl Note {
    /// Note a request.
    pub fn set(&mut self, request: &Request<'_>) {
        self.text.clear();
        self.text.extend_from_slice(if request.method == Method::Head { b"\"HEAD " } else { b"\"GET " });
        quote(request.target.as_bytes(), &mut self.text);
        self.text.extend_from_slice(if request.old { b" HTTP/1.0\"" } else { b" HTTP/1.1\"" });
        self.line = self.text.len();
        for field in [request.referer, request.user_agent] {
            self.text.extend_from_slice(b" \"");
            quote(if field.is_empty() { b"-" } else { field }, &mut self.text);
            self.text.push(b'"');
        }
    }

    /// Forget it.
    pub fn clear(&mut self) {
        self.text.clear();
        self.line = 0;
    }

    /// The request line, and what stands behind the figures.
    fn parts(&self) -> (&[u8], &[u8]) {
        // What could not be read has neither.
        if self.text.is_empty() { (b"\"-\"", b" \"-\" \"-\"") } else { self.text.split_at(self.line) }
    }
}

/// Bytes that cannot end their quotes, nor their line.
fn quote(bytes: &[u8], text: &mut Vec<u8>) {
    for &byte in &bytes[..bytes.len().min(FIELD_MAX)] {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                // Writing to a vector does not fail.
                let _ = write!(text, "\\x{byte:02x}");
            }
            byte => text.push(byte),
        }
    }
}

/// A lane's end of the log. Never blocks; allocates nothing once its buffers are made.
#[derive(Debug)]
pub struct LaneLog {
    filled: SyncSender<Filled>,
    home: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    /// Buffers made so far.
    made: usize,
    buffer: Vec<u8>,
    /// Records in the buffer.
    records: u64,
    dropped: u64,
    lost: Arc<AtomicU64>,
}

impl LaneLog {
    /// Records that are not in the file: there was no buffer, or they could not be written.
    pub fn dropped(&self) -> u64 {
        self.dropped + self.lost.load(Ordering::Relaxed)
    }

    /// Add a record in the combined log format. `bytes`: content sent.
    pub(super) fn record(
        &mut self,
        clock: &HttpClock,
        peer: IpAddr,
        note: &Note,
        status: Status,
        bytes: u64,
    ) {
        if self.buffer.len() + RECORD_MAX > BUFFER_BYTES {
            self.flush();
        }
        if self.buffer.capacity() == 0 && !self.take_buffer() {
            self.dropped += 1;
            return;
        }
        let date = clock.text();
        let (line, rest) = note.parts();
        let buffer = &mut self.buffer;
        // Writing to a vector does not fail.
        let _ = write!(buffer, "{peer} - - [");
        for (part, behind) in [(5..7, b'/'), (8..11, b'/'), (12..16, b':'), (17..25, b' ')] {
            buffer.extend_from_slice(&date[part]);
            buffer.push(behind);
        }
        buffer.extend_from_slice(b"+0000] ");
        buffer.extend_from_slice(line);
        let _ = write!(buffer, " {} {bytes}", &status.text()[..3]);
        buffer.extend_from_slice(rest);
        buffer.push(b'\n');
        self.records += 1;
    }

    /// Hand what is there to the thread.
    pub fn flush(&mut self) {
        if self.records == 0 {
            return;
        }
        let (bytes, records) = (core::mem::take(&mut self.buffer), core::mem::take(&mut self.records));
        let filled = Filled { bytes, records, home: self.home.clone(), lost: Arc::clone(&self.lost) };
        if self.filled.try_send(filled).is_err() {
            self.dropped += records;
            self.made -= 1;
        }
    }

    fn take_buffer(&mut self) -> bool {
        if let Ok(buffer) = self.empty.try_recv() {
            self.buffer = buffer;
        } else if self.made < BUFFERS {
            self.made += 1;
            self.buffer = Vec::with_capacity(BUFFER_BYTES);
        }
        self.buffer.capacity() > 0
    }
}

impl Drop for LaneLog {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use super::*;
    use crate::http::{Parsed, parse};

    fn note(head: &str) -> Note {
        let Parsed::Request(request, _) = parse(head.as_bytes()) else { panic!("{head:?} is no request") };
        let mut note = Note::default();
        note.set(&request);
        note
    }

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("corelane-log-{}-{name}", std::process::id()))
    }

    #[test]
    fn records_have_the_combined_format_and_survive_rotation() {
        // Shows the exact lines, hostile fields escaped, and that after SIGHUP's flag lines go to a new file.
        let (path, moved) = (file("a"), file("b"));
        let log = AccessLog::open(&path).expect("a writable folder");
        let mut lane = log.lane();
        let clock = HttpClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
        let peer = IpAddr::from([10, 0, 0, 9]);
        let plain = note("GET /a?b HTTP/1.1\r\nHost: h\r\nReferer: http://x/\r\nUser-Agent: curl/8\r\n\r\n");
        lane.record(&clock, peer, &plain, Status::Ok, 17);
        lane.flush();
        let written = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        while written(&path).is_empty() {
            thread::yield_now();
        }
        fs::rename(&path, &moved).expect("ours");
        log.reopen().store(true, Ordering::Release);
        while !path.exists() {
            thread::yield_now();
        }
        let hostile = note("HEAD / HTTP/1.0\r\nUser-Agent: a\"b\\\u{e9}\r\n\r\n");
        lane.record(&clock, peer, &hostile, Status::NotFound, 0);
        lane.record(&clock, peer, &Note::default(), Status::BadRequest, 5);
        assert_eq!(lane.dropped(), 0);
        drop(lane);
        log.close();
        let start = "10.0.0.9 - - [06/Nov/1994:08:49:37 +0000]";
        let first = format!("{start} \"GET /a?b HTTP/1.1\" 200 17 \"http://x/\" \"curl/8\"\n");
        let second = format!("{start} \"HEAD / HTTP/1.0\" 404 0 \"-\" \"a\\x22b\\x5c\\xc3\\xa9\"\n");
        let third = format!("{start} \"-\" 400 5 \"-\" \"-\"\n");
        assert_eq!((written(&moved), written(&path)), (first, second + &third));
        for path in [path, moved] {
            fs::remove_file(path).expect("ours");
        }
    }

    #[test]
    fn a_disk_that_does_not_answer_costs_records_and_nothing_else() {
        // Shows with a pipe that nobody reads: the lane goes on, the bound of its buffers holds, each loss is counted.
        let path = file("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo is there").success());
        let reader =
            File::options().read(true).write(true).open(&path).expect("a pipe opens at once both ways");
        let log = AccessLog::open(&path).expect("there is a reader");
        let mut lane = log.lane();
        let clock = HttpClock::new(SystemTime::UNIX_EPOCH);
        let note = note(&format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(900)));
        let records = 4 * (BUFFERS * BUFFER_BYTES / 1000) as u64;
        for _ in 0..records {
            lane.record(&clock, IpAddr::from([10, 0, 0, 9]), &note, Status::Ok, 1);
        }
        let kept = (BUFFERS * BUFFER_BYTES / 900) as u64;
        assert!(lane.made == BUFFERS && lane.dropped() > records - 2 * kept, "{}", lane.dropped());
        // Reading lets the thread go on; what was kept comes out.
        let read = thread::spawn(move || io::copy(&mut io::Read::take(reader, 60_000), &mut io::sink()));
        assert_eq!(read.join().expect("no panic").expect("readable"), 60_000);
        fs::remove_file(path).expect("ours");
        std::mem::forget((lane, log));
    }
}

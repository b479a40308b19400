//! What the tests of whole programs share: a folder of files, a server on one end of a wire, a client on the other.

mod allocator;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use apps::watch::Watch;
use corelane::soft::Net;
use corelane::{Config, Event, FaultSpec, Lane, LaneError, Op, QueueId, Reason, Received, Runtime, Stream};

pub use allocator::allocations;

/// How long anything may take that is expected to happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A folder that goes when the test ends.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("corelane-site-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a writable temporary folder");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Write a file that has not changed for a minute.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("writable");
        fs::write(&path, bytes).expect("writable");
        let then = SystemTime::now() - Duration::from_secs(60);
        fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(then)).expect("ours");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Bytes that differ from place to place.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at / 5 + at * 3) % 251).expect("below 251")).collect()
}

/// Tells the client where the server listens, and checks what is left when it ends.
pub struct Ready(Sender<SocketAddr>);

impl Watch for Ready {
    fn ready(&mut self, _lane: &Lane, local: SocketAddr) {
        let _ = self.0.send(local);
    }
    fn turn(&mut self, _lane: &Lane) {}
    fn end(&mut self, lane: &Lane) {
        assert_eq!(
            (lane.lent(), lane.held_frames()),
            (0, 0),
            "something was not given back: {}",
            lane.report()
        );
    }
}

/// A runtime on one end of `net`.
fn runtime(net: &Net, last: u8, faults: Option<FaultSpec>) -> Runtime {
    let config = Config {
        faults,
        receive_frames: 2048,
        control_frames: 2048,
        blocks: 512,
        stop_within: Duration::from_secs(2),
        ..Config::new(net.clone(), IpAddr::from([10, 0, 0, last]))
    };
    Runtime::new(config).expect("the wire has a free end")
}

/// Run `server` on one end of a wire and `client` on the other; stop the server when the client is done.
pub fn against<S, C>(server: S, client: C)
where
    S: Fn(Lane, SocketAddr, &mut Ready) -> Result<(), LaneError> + Sync,
    C: Fn(&mut Lane, SocketAddr) + Sync,
{
    behind(None, server, client);
}

/// The same with the server behind a bad network.
pub fn behind<S, C>(faults: Option<FaultSpec>, server: S, client: C)
where
    S: Fn(Lane, SocketAddr, &mut Ready) -> Result<(), LaneError> + Sync,
    C: Fn(&mut Lane, SocketAddr) + Sync,
{
    let net = Net::default();
    let (serving, asking) = (runtime(&net, 1, faults), runtime(&net, 2, None));
    let stopper = serving.stopper();
    let address = SocketAddr::from(([10, 0, 0, 1], 80));
    let (ready, inbox) = channel();
    thread::scope(|scope| {
        let served = scope.spawn(|| serving.run(|lane| server(lane, address, &mut Ready(ready.clone()))));
        let local = inbox.recv_timeout(PATIENCE).expect("the server listens");
        let asked = asking.run(|mut lane| {
            client(&mut lane, local);
            Ok(())
        });
        stopper.stop();
        served.join().expect("the server does not panic").expect("the server ends in order");
        asked.expect("the client is content");
    });
}

/// A client's connection.
pub struct Client<'a> {
    lane: &'a mut Lane,
    stream: Stream,
    /// Everything received.
    pub received: Vec<u8>,
    /// The server has sent its FIN.
    pub ended: bool,
    /// The connection is over, and why.
    pub closed: Option<Reason>,
    /// Keep what arrives from now on, so that the window closes.
    pub stalled: bool,
    held: Vec<Received>,
}

impl<'a> Client<'a> {
    pub fn connect(lane: &'a mut Lane, to: SocketAddr) -> Client<'a> {
        lane.submit(Op::connect(to)).expect("room for an op");
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            assert!(lane.wait(&[QueueId::MAIN], Some(Duration::from_millis(100))));
            while let Some(done) = lane.take(QueueId::MAIN) {
                match done.event {
                    Event::Connected { stream, .. } => {
                        lane.submit(Op::receive(stream)).expect("room for an op");
                        return Client::again(lane, stream);
                    }
                    Event::Failed { error, .. } => panic!("no connection: {error}"),
                    _ => {}
                }
            }
        }
        panic!("no connection within {PATIENCE:?}");
    }

    /// Leave the connection open for later.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Go on with a connection that was left open.
    pub fn again(lane: &'a mut Lane, stream: Stream) -> Client<'a> {
        Client {
            lane,
            stream,
            received: Vec::new(),
            ended: false,
            closed: None,
            stalled: false,
            held: Vec::new(),
        }
    }

    pub fn abort(mut self) {
        self.lane.submit(Op::abort(self.stream)).expect("room for an op");
        self.until("the end of the connection", |client| client.closed.is_some());
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.lane.submit(Op::send(self.stream, bytes.to_vec())).expect("room for an op");
    }

    /// Send in pieces, each in a turn of its own.
    pub fn dribble(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            self.send(piece);
            self.turn();
        }
    }

    pub fn shutdown(&mut self) {
        self.lane.submit(Op::shutdown(self.stream)).expect("room for an op");
    }

    pub fn close(mut self) {
        self.lane.submit(Op::close(self.stream)).expect("room for an op");
        self.until("the end of the connection", |client| client.closed.is_some());
    }

    fn turn(&mut self) {
        assert!(self.lane.wait(&[QueueId::MAIN], Some(Duration::from_millis(1))));
        while let Some(done) = self.lane.take(QueueId::MAIN) {
            match done.event {
                Event::Received { stream, data } if stream == self.stream => {
                    self.received.extend_from_slice(&data);
                    if self.stalled {
                        self.held.push(data);
                    }
                }
                Event::End { stream } if stream == self.stream => self.ended = true,
                Event::Closed { socket, reason, .. } if socket == self.stream.into() => {
                    self.closed = Some(reason)
                }
                _ => {}
            }
        }
    }

    /// Go on until `done`, and fail the test if that takes too long.
    pub fn until(&mut self, what: &str, done: impl Fn(&Client<'_>) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            let (bytes, report) = (self.received.len(), self.lane.report());
            assert!(
                Instant::now() < until,
                "{what} did not come; received {bytes} bytes; the client's {report}"
            );
            self.turn();
        }
    }

    /// Wait for as many whole answers, and take them. `heads`: they have no content, whatever their length says.
    pub fn answers(&mut self, count: usize, heads: bool) -> Vec<Answer> {
        self.until("an answer", |client| {
            split(&client.received, heads).0.len() >= count || client.closed.is_some()
        });
        let (mut answers, _) = split(&self.received, heads);
        assert!(answers.len() >= count, "closed after {} answers of {count}", answers.len());
        answers.truncate(count);
        let taken: usize = answers.iter().map(|answer| answer.bytes).sum();
        self.received.drain(..taken);
        answers
    }

    /// Ask and wait for the one answer.
    pub fn ask(&mut self, request: &str) -> Answer {
        self.send(request.as_bytes());
        self.answers(1, request.starts_with("HEAD")).remove(0)
    }

    /// A GET on a connection that goes on.
    pub fn get(&mut self, target: &str) -> Answer {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"))
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub content: Vec<u8>,
    /// Length with its head.
    bytes: usize,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
    }
}

/// Whole answers at the front of `bytes`, and how much is left.
pub fn split(mut bytes: &[u8], heads: bool) -> (Vec<Answer>, usize) {
    let mut answers = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(head)) = response.parse(bytes) else { break };
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let fields: Vec<_> =
            response.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect();
        let status = response.code.expect("a whole head has a status");
        let mut answer = Answer { status, fields, content: Vec::new(), bytes: head };
        let length = answer.field("content-length").map_or(0, |length| length.parse().expect("a number"));
        let length = if heads || status == 304 { 0 } else { length };
        let Some(content) = bytes.get(head..head + length) else { break };
        answer.content = content.to_vec();
        answer.bytes += length;
        bytes = &bytes[head + length..];
        answers.push(answer);
    }
    (answers, bytes.len())
}

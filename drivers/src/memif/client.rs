//! The client's side of the talk over a memif socket: it comes, shares its memory, and comes again when the server has
//! left. The server's is `server.rs`.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::channel::{Alarm, Channel, Trouble, event, wait};
use super::link::{Link, Rings};
use super::message::{Message, VERSION};
use super::region::Region;
use super::ring::{Layout, lay_out};
use super::wake::Event;

/// Between two tries to come to a server.
const RETRY: Duration = Duration::from_millis(100);

/// For a server to answer in.
const ANSWER: Duration = Duration::from_secs(2);

/// A client while it lives: dropping it leaves the server.
pub(super) struct Client {
    ending: Arc<Ending>,
    thread: Option<JoinHandle<()>>,
}

struct Ending {
    alarm: Alarm,
    over: AtomicBool,
}

/// What a client wants.
pub(super) struct Wish {
    pub socket: PathBuf,
    pub id: u32,
    pub layout: Layout,
}

/// Why the talk ended.
pub(super) enum End {
    /// We are to end.
    Over,
    /// The server has left, as servers may.
    Left,
    Trouble(Trouble),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> End {
        End::Trouble(trouble)
    }
}

impl Client {
    pub fn start(wish: Wish, link: Arc<Link>) -> io::Result<Client> {
        let talk = Talk::new(wish, link)?;
        let ending = Arc::clone(&talk.ending);
        let thread = thread::Builder::new().name("memif".to_owned()).spawn(move || talk.run())?;
        Ok(Client { ending, thread: Some(thread) })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.ending.over.store(true, Ordering::Release);
        self.ending.alarm.raise();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a client's thread does.
pub(super) struct Talk {
    wish: Wish,
    link: Arc<Link>,
    ending: Arc<Ending>,
}

impl Talk {
    pub fn new(wish: Wish, link: Arc<Link>) -> io::Result<Talk> {
        let ending = Arc::new(Ending { alarm: Alarm::new()?, over: AtomicBool::new(false) });
        Ok(Talk { wish, link, ending })
    }

    fn run(self) {
        while !self.is_over() {
            let end = match Channel::connect(&self.wish.socket) {
                Ok(channel) => self.with(&channel),
                // It is not there yet, or not any more.
                Err(_) => End::Left,
            };
            self.link.end();
            match end {
                End::Over => return,
                End::Left => {}
                End::Trouble(trouble) => self.link.complain(trouble),
            }
            wait([self.ending.alarm.as_fd()], Some(RETRY));
        }
    }

    fn is_over(&self) -> bool {
        self.ending.over.load(Ordering::Acquire)
    }

    /// A link from its beginning to its end.
    fn with(&self, server: &Channel) -> End {
        let end = self.agree(server).err().unwrap_or_else(|| self.stay(server));
        if matches!(end, End::Over) {
            let reason = "the client has ended".to_owned();
            let _ = server.send(&Message::Disconnect { reason }, None);
        }
        end
    }

    /// Brings the link up.
    pub fn agree(&self, server: &Channel) -> Result<(), End> {
        let Wish { id, layout, .. } = self.wish;
        let system = |error: io::Error| End::Trouble(format!("the system refused shared memory: {error}"));
        match self.answer(server)? {
            Message::Hello { versions: (least, most), log2_ring_max, .. } => {
                if !(least..=most).contains(&VERSION) {
                    return Err(End::Trouble("the server speaks another version of memif".to_owned()));
                }
                if log2_ring_max < layout.log2_size {
                    return Err(End::Trouble(format!("the server has no rings of 2^{}", layout.log2_size)));
                }
            }
            other => return Err(unexpected(&other)),
        }
        server.send(&Message::init(id), None)?;
        self.granted(server)?;
        let (region, memory) = Region::create(layout.bytes()).map_err(system)?;
        let bytes = region.bytes() as u64;
        let regions: Arc<[Region]> = Arc::new([region]);
        let (incoming, outgoing) = lay_out(&regions, layout)?;
        server.send(&Message::AddRegion { index: 0, bytes }, Some(memory.as_fd()))?;
        self.granted(server)?;
        let files = [event().map_err(system)?, event().map_err(system)?];
        for (to_server, file) in [(true, &files[0]), (false, &files[1])] {
            let ring = layout.place(to_server);
            server.send(&Message::AddRing { ring }, Some(file.as_fd()))?;
            self.granted(server)?;
        }
        server.send(&Message::Connect, None)?;
        match self.answer(server)? {
            Message::Connected => {}
            other => return Err(unexpected(&other)),
        }
        let [to_server, to_client] = files;
        let (wake, woken) = (Event::new(to_server)?, Event::new(to_client)?);
        Ok(self.link.begin(Rings { incoming, outgoing, wake: Some(wake), is_watched: true }, Some(woken))?)
    }

    /// Until one of the two leaves.
    fn stay(&self, server: &Channel) -> End {
        match self.next(server, None) {
            Ok(Message::Disconnect { .. }) => End::Left,
            Ok(other) => unexpected(&other),
            Err(end) => end,
        }
    }

    fn granted(&self, server: &Channel) -> Result<(), End> {
        match self.answer(server)? {
            Message::Ack => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn answer(&self, server: &Channel) -> Result<Message, End> {
        self.next(server, Some(ANSWER))
    }

    /// The server's next message, within `most`.
    fn next(&self, server: &Channel, most: Option<Duration>) -> Result<Message, End> {
        let end = most.map(|most| Instant::now() + most);
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(End::Trouble("the server does not answer".to_owned()));
            }
            wait([self.ending.alarm.as_fd(), server.as_fd()], left);
            if self.is_over() {
                return Err(End::Over);
            }
            match server.receive() {
                Ok(Some((message, _file))) => return Ok(message),
                Ok(None) => {}
                Err(_) if self.link.is_up() => return Err(End::Left),
                Err(trouble) => {
                    return Err(End::Trouble(format!("the server cannot be talked to: {trouble}")));
                }
            }
        }
    }
}

fn unexpected(message: &Message) -> End {
    End::Trouble(match message {
        Message::Disconnect { reason } => format!("the server refuses us: {reason}"),
        _ => "the server does not keep to memif's protocol".to_owned(),
    })
}

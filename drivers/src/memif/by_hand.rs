//! Both kinds of end without their threads, and what a peer needs that is made by hand: it says what it likes, and writes where
//! it likes. For the targets for fuzzing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::net::{Shutdown, shutdown};

use super::Keeper;
use super::channel::{Channel, event};
use super::client::{Talk, Wish};
use super::link::Link;
use super::message::{MESSAGE_BYTES, Message};
use super::queue::MemifQueue;
use super::region::Region;
use super::ring::Layout;
use super::server::{Peer, Shared};
use crate::pool::Pool;
use crate::port::{DeviceStatistics, Queue};

/// The link that peers ask for.
const LINK: u32 = 0;

/// Reads a message and writes it again. `None` for what the protocol does not know.
pub fn memif_message(bytes: &[u8; MESSAGE_BYTES]) -> Option<[u8; MESSAGE_BYTES]> {
    Message::decode(bytes).map(|message| message.encode("by hand"))
}

/// A file to be woken by.
///
/// Panics: if the process has no file left.
pub fn memif_event() -> OwnedFd {
    event().expect("a file")
}

/// Memory that both ends share, as the peer has it.
pub struct MemifMemory {
    region: Region,
    file: OwnedFd,
}

impl MemifMemory {
    /// New memory of at least `bytes` bytes, all zero.
    ///
    /// Panics: if there is none.
    pub fn create(bytes: usize) -> MemifMemory {
        let (region, file) = Region::create(bytes).expect("memory");
        MemifMemory { region, file }
    }

    /// The first `bytes` bytes of the memory that came with a message.
    pub fn of(file: OwnedFd, bytes: u64) -> Option<MemifMemory> {
        let region = Region::map(&file, bytes).ok()?;
        Some(MemifMemory { region, file })
    }

    /// How much there is.
    pub fn bytes(&self) -> usize {
        self.region.bytes()
    }

    /// What another process maps it by.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Writes bytes.
    ///
    /// Panics: if there is no room for them.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        let (offset, length) = (at.try_into().expect("32 bits"), bytes.len().try_into().expect("32 bits"));
        self.region.buffer(offset, length).expect("inside").copy_in(0, bytes);
    }

    /// All that is there.
    pub fn read(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes()];
        let length = self.bytes().try_into().expect("32 bits");
        self.region.buffer(0, length).expect("inside").copy_out(0, &mut bytes);
        bytes
    }
}

/// The peer's end of the socket.
pub struct MemifLine(Channel);

impl MemifLine {
    /// Says something, with a file or without. False: nobody takes it.
    pub fn say(&self, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> bool {
        self.0.send_bytes(bytes, file).is_ok()
    }

    /// What our end has said, message by message.
    pub fn hear(&self) -> Option<([u8; MESSAGE_BYTES], Option<OwnedFd>)> {
        let (message, file) = self.0.receive().ok()??;
        Some((message.encode("by hand"), file))
    }

    /// Says nothing more.
    pub fn end(&self) {
        let _ = shutdown(&self.0, Shutdown::Write);
    }
}

/// An end of ours, without what brings its link up.
pub struct MemifEnd {
    link: Arc<Link>,
    queue: MemifQueue,
}

impl MemifEnd {
    fn new(pool: Pool, frame_bytes_max: usize) -> MemifEnd {
        let link = Arc::new(Link::new("by hand".to_owned()).expect("files"));
        let queue = MemifQueue::new(Arc::clone(&link), pool, frame_bytes_max, Arc::new(Keeper::ByHand));
        MemifEnd { link, queue }
    }

    /// The link is up.
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Its queue.
    pub fn queue(&mut self) -> &mut dyn Queue {
        &mut self.queue
    }

    /// What it has counted.
    pub fn statistics(&self) -> DeviceStatistics {
        self.link.counters.statistics()
    }

    /// Frames of the pool that can be taken now.
    pub fn available(&self) -> usize {
        self.queue.available()
    }
}

/// A server with one client, who is made by hand.
pub struct MemifServer {
    /// Its end of the link.
    pub end: MemifEnd,
    shared: Shared,
    client: Option<Peer>,
}

impl MemifServer {
    /// A server that receives into frames of `pool` and sends frames of at most `frame_bytes_max` bytes, and its client's line.
    ///
    /// Panics: if the process has no file left.
    pub fn new(pool: Pool, frame_bytes_max: usize) -> (MemifServer, MemifLine) {
        let end = MemifEnd::new(pool, frame_bytes_max);
        let shared = Shared::new().expect("a file");
        shared.links().insert(LINK, Arc::clone(&end.link));
        let (ours, theirs) = Channel::pair().expect("a socket");
        (MemifServer { end, shared, client: Peer::greet(ours) }, MemifLine(theirs))
    }

    /// Deals with all that the client has said. False: it has been let go.
    pub fn serve(&mut self) -> bool {
        self.client.take_if(|client| !client.serve(&self.shared, true));
        self.client.is_some()
    }

    /// Closes the link, as its owner may at any time.
    pub fn close(&mut self) {
        self.shared.links().clear();
    }
}

/// A client whose server is made by hand.
pub struct MemifClient {
    /// Its end of the link.
    pub end: MemifEnd,
    talk: Talk,
    channel: Channel,
}

impl MemifClient {
    /// A client that receives into frames of `pool` and sends frames of at most `frame_bytes_max` bytes, and its server's line.
    /// Its rings have two to the power of `log2_size` buffers of `buffer_bytes` each.
    ///
    /// Panics: if the process has no file left.
    pub fn new(
        pool: Pool,
        frame_bytes_max: usize,
        log2_size: u8,
        buffer_bytes: u32,
    ) -> (MemifClient, MemifLine) {
        let end = MemifEnd::new(pool, frame_bytes_max);
        let wish = Wish { socket: PathBuf::new(), id: LINK, layout: Layout { log2_size, buffer_bytes } };
        let talk = Talk::new(wish, Arc::clone(&end.link)).expect("a file");
        let (channel, theirs) = Channel::pair().expect("a socket");
        (MemifClient { end, talk, channel }, MemifLine(theirs))
    }

    /// Brings the link up with a server that has said all that it has to say: more is waited for until its line ends. False: it
    /// does not keep to the protocol.
    pub fn agree(&mut self) -> bool {
        self.talk.agree(&self.channel).is_ok()
    }
}

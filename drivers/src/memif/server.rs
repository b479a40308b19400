//! The server's side of the talk over a memif socket: it listens, and takes each client's memory for the link that the
//! client names. One thread serves all links of a socket. The client's side is `client.rs`.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, io};

use rustix::event::{PollFd, PollFlags};

use super::channel::{Alarm, Channel, Trouble, listener, wait, wait_for};
use super::link::{Link, Rings};
use super::message::{Message, RingPlace, VERSION};
use super::region::Region;
use super::ring::{LOG2_SIZE_MAX, find};
use super::wake::Event;

/// Regions of one client: DPDK's has one or two.
const REGIONS_MAX: u16 = 16;

/// Clients whose link is not up yet. Who comes beyond them takes the place of the first.
const STRANGERS_MAX: usize = 16;

/// Between two tries to let a client in.
const RETRY: Duration = Duration::from_millis(100);

/// The servers of this process by their sockets.
static SERVERS: Mutex<BTreeMap<PathBuf, Server>> = Mutex::new(BTreeMap::new());

struct Server {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What a server's thread shares with those who open and close links.
pub(super) struct Shared {
    alarm: Alarm,
    over: AtomicBool,
    links: Mutex<BTreeMap<u32, Arc<Link>>>,
}

impl Shared {
    pub fn new() -> io::Result<Shared> {
        Ok(Shared { alarm: Alarm::new()?, over: AtomicBool::new(false), links: Mutex::default() })
    }

    pub fn links(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One link of a server while it lives: dropping it makes its client leave, and with the last one the socket goes.
pub(super) struct Place {
    socket: PathBuf,
    id: u32,
}

impl Place {
    /// Errors: the socket cannot be made, or its link `id` is taken.
    pub fn open(socket: &Path, id: u32, link: Arc<Link>) -> io::Result<Place> {
        let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
        if !servers.contains_key(socket) {
            servers.insert(socket.to_owned(), Server::start(socket)?);
        }
        if let Some(server) = servers.get(socket) {
            let mut links = server.shared.links();
            if links.contains_key(&id) {
                return Err(io::Error::other(format!("link {id} of its socket is open already")));
            }
            links.insert(id, link);
        }
        Ok(Place { socket: socket.to_owned(), id })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(server) = servers.get(&self.socket) else { return };
        let mut links = server.shared.links();
        let link = links.remove(&self.id);
        let is_last = links.is_empty();
        drop(links);
        if let Some(link) = link {
            link.end();
        }
        server.shared.alarm.raise();
        if is_last {
            servers.remove(&self.socket);
            let _ = fs::remove_file(&self.socket);
        }
    }
}

impl Server {
    fn start(socket: &Path) -> io::Result<Server> {
        let listener = listener(socket)?;
        let shared = Arc::new(Shared::new()?);
        let theirs = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("memif".to_owned()).spawn(move || serve(&listener, &theirs))?;
        Ok(Server { shared, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.shared.alarm.raise();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &OwnedFd, shared: &Shared) {
    let mut peers: Vec<Peer> = Vec::new();
    while !shared.over.load(Ordering::Acquire) {
        let ours = [shared.alarm.as_fd(), listener.as_fd()];
        let mut files: Vec<PollFd<'_>> = ours
            .into_iter()
            .chain(peers.iter().map(|peer| peer.channel.as_fd()))
            .map(|file| PollFd::from_borrowed_fd(file, PollFlags::IN))
            .collect();
        wait_for(&mut files, None);
        let spoke: Vec<bool> = files.iter().skip(ours.len()).map(|file| !file.revents().is_empty()).collect();
        drop(files);
        shared.alarm.clear();
        let mut spoke = spoke.into_iter();
        peers.retain_mut(|peer| peer.serve(shared, spoke.next().unwrap_or(false)));
        while let Some(channel) = accept(listener, shared) {
            peers.extend(Peer::greet(channel));
            let strangers = peers.iter().filter(|peer| !peer.is_connected).count();
            if strangers > STRANGERS_MAX
                && let Some(first) = peers.iter().position(|peer| !peer.is_connected)
            {
                peers.remove(first);
            }
        }
    }
    for peer in &peers {
        peer.dismiss("the server has ended");
    }
}

/// The next client, if there is one. Where the process has no file for it left, it waits, and so does the thread.
fn accept(listener: &OwnedFd, shared: &Shared) -> Option<Channel> {
    match Channel::accept(listener) {
        Ok(channel) => channel,
        Err(_) => {
            wait([shared.alarm.as_fd()], Some(RETRY));
            None
        }
    }
}

/// A client that has come.
pub(super) struct Peer {
    channel: Channel,
    /// The one that it asked for.
    link: Option<(u32, Arc<Link>)>,
    regions: Vec<Region>,
    /// Each with the file that wakes who takes from it.
    to_server: Option<(RingPlace, Option<Event>)>,
    to_client: Option<(RingPlace, Option<Event>)>,
    is_connected: bool,
}

impl Peer {
    pub fn greet(channel: Channel) -> Option<Peer> {
        let hello = Message::Hello {
            versions: (VERSION, VERSION),
            region_max: REGIONS_MAX - 1,
            to_server_max: 0,
            to_client_max: 0,
            log2_ring_max: LOG2_SIZE_MAX,
        };
        channel.send(&hello, None).ok()?;
        Some(Peer {
            channel,
            link: None,
            regions: Vec::new(),
            to_server: None,
            to_client: None,
            is_connected: false,
        })
    }

    fn dismiss(&self, reason: &str) {
        let _ = self.channel.send(&Message::Disconnect { reason: reason.to_owned() }, None);
    }

    /// Deals with all that it has said. False: it has left, or has to.
    pub fn serve(&mut self, shared: &Shared, spoke: bool) -> bool {
        if let Some((id, link)) = &self.link
            && !shared.links().get(id).is_some_and(|now| Arc::ptr_eq(now, link))
        {
            self.dismiss("the server has closed the link");
            return false;
        }
        if !spoke {
            return true;
        }
        loop {
            match self.channel.receive() {
                Ok(None) => return true,
                Ok(Some((Message::Disconnect { .. }, _))) | Err(_) => return false,
                Ok(Some((message, file))) => {
                    if let Err(trouble) = self.hear(shared, message, file) {
                        self.dismiss(&trouble);
                        if let Some((_, link)) = &self.link {
                            link.complain(format!("a client was refused: {trouble}"));
                        }
                        return false;
                    }
                }
            }
        }
    }

    fn hear(&mut self, shared: &Shared, message: Message, file: Option<OwnedFd>) -> Result<(), Trouble> {
        if self.is_connected {
            return Err("the link is up already".to_owned());
        }
        match message {
            Message::Init { version, id, mode } => self.choose(shared, version, id, mode)?,
            Message::AddRegion { index, bytes } if self.link.is_some() => {
                if usize::from(index) != self.regions.len() || index >= REGIONS_MAX {
                    return Err("its regions do not come in order, or are too many".to_owned());
                }
                let file = file.ok_or("its memory has no file")?;
                self.regions.push(Region::map(&file, bytes)?);
            }
            Message::AddRing { ring } if self.link.is_some() => {
                let place = if ring.to_server { &mut self.to_server } else { &mut self.to_client };
                // Who could tell it again and again would keep this thread from everybody else.
                if ring.index != 0 || place.is_some() {
                    return Err("there is one ring each way".to_owned());
                }
                *place = Some((ring, file.map(Event::new).transpose()?));
            }
            Message::Connect => return self.connect(),
            _ => return Err("this is not what the protocol has next".to_owned()),
        }
        self.channel.send(&Message::Ack, None)
    }

    fn choose(&mut self, shared: &Shared, version: u16, id: u32, mode: u8) -> Result<(), Trouble> {
        if !Message::is_spoken(version, mode) {
            return Err("this is version 2.0, with Ethernet's headers".to_owned());
        }
        if self.link.is_some() {
            return Err("a client has one link".to_owned());
        }
        let Some(link) = shared.links().get(&id).map(Arc::clone) else {
            return Err(format!("there is no link {id} here"));
        };
        // Its client holds the other.
        if link.is_up() {
            return Err(format!("link {id} has a client"));
        }
        self.link = Some((id, link));
        Ok(())
    }

    fn connect(&mut self) -> Result<(), Trouble> {
        let (Some((_, link)), Some((to_server, woken)), Some((to_client, wake))) =
            (&self.link, self.to_server.take(), self.to_client.take())
        else {
            return Err("a link has a ring each way".to_owned());
        };
        if link.is_up() {
            return Err("the link has another client by now".to_owned());
        }
        let memory: Arc<[Region]> = std::mem::take(&mut self.regions).into();
        let (incoming, outgoing) = find(&memory, to_server, to_client)?;
        self.channel.send(&Message::Connected, None)?;
        self.is_connected = true;
        link.begin(Rings { incoming, outgoing, wake, is_watched: woken.is_some() }, woken)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.is_connected
            && let Some((_, link)) = &self.link
        {
            link.end();
        }
    }
}

//! The slots of sockets, and the parts of connections. What is done to them is the other files' business.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::buffer::Waiting;
use crate::config::TcpConfig;
use crate::places::Place;
use crate::socket::{LaneId, OpError, SocketId, StreamOptions};
use crate::tcp::isn::{FlowKey, Secret, Tuple};
use crate::tcp::options;
use crate::tcp::send::NONE;
use crate::tcp::state::{self, Cold, Connection, Hot, Shared, Signals, State, decline, flag, hint};
use crate::tcp::ticks::Ticks;
use crate::time::Instant;
use crate::wire::tcp::SeqNum;

/// What a slot is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// Nothing.
    #[default]
    Free,
    /// A TCP connection.
    Stream,
    /// A listener.
    Listener,
    /// A UDP socket.
    Udp,
}

/// The sockets of a lane.
#[derive(Debug)]
pub struct Flows {
    lane: LaneId,
    secret: Secret,
    hot: Vec<Hot>,
    /// The ends of streams over IPv6, by slot; no longer than the last of them.
    ends: Vec<Ends>,
    kinds: Vec<Kind>,
    /// The cold parts of streams.
    cold: Vec<Cold>,
    /// The first free slot; each leads to the next by its tag.
    free: u32,
    max: usize,
    used: usize,
    /// What streams share.
    pub shared: Shared,
    /// Ranges that insertion freed; emptied after each event.
    pub freed: Vec<u32>,
    /// Slots the wheel visits this turn; reused.
    pub visits: Vec<(u32, Ticks)>,
}

/// Slots that there is room for once there is one.
const SLOTS_FIRST: usize = 64;

/// The two ends of a stream over IPv6, of which the hot part has but a hash.
#[derive(Clone, Copy, Debug)]
struct Ends {
    remote: Ipv6Addr,
    local: Ipv6Addr,
}

/// What a new connection begins with.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// The two ends.
    pub tuple: Tuple,
    /// Our initial sequence number.
    pub iss: SeqNum,
    /// What is added to our clock to make timestamps.
    pub ts_offset: u32,
    /// MSS we announce, and the most we send.
    pub mss: u16,
    /// Index of the path.
    pub path: u16,
    /// Where completions go.
    pub queue: u8,
    /// Under which tag.
    pub tag: u64,
    /// Slot of the listener it came by, or `NONE`.
    pub listener: u32,
    /// What it does otherwise than the configuration says, if anything.
    pub options: Option<StreamOptions>,
    /// The state it begins in.
    pub state: State,
}

impl Flows {
    pub fn new(
        lane: LaneId,
        secret: Secret,
        max: usize,
        cells_max: usize,
        config: TcpConfig,
        now: Instant,
    ) -> Flows {
        Flows {
            lane,
            secret,
            ends: Vec::new(),
            hot: Vec::new(),
            kinds: Vec::new(),
            cold: Vec::new(),
            free: NONE,
            max,
            used: 0,
            shared: Shared::new(cells_max, config, now),
            freed: Vec::new(),
            visits: Vec::new(),
        }
    }

    /// Where the parts of connections lie.
    pub fn places(&self) -> Vec<Place> {
        vec![
            Place::of("hot part", &self.hot),
            Place::of("cold part", &self.cold),
            Place::of("kind", &self.kinds),
            Place::of("ends", &self.ends),
            self.shared.cells.place(),
        ]
    }

    /// Sockets of any kind.
    pub fn sockets(&self) -> usize {
        self.used
    }

    /// Slots that were ever used: for walks over all.
    pub fn slots(&self) -> u32 {
        u32::try_from(self.kinds.len()).unwrap_or(NONE)
    }

    /// Take a free slot; `None` if there are as many sockets as may be.
    pub fn take(&mut self, kind: Kind) -> Option<u32> {
        if self.used >= self.max {
            return None;
        }
        let slot = match self.hot.get_mut(self.free as usize) {
            Some(hot) => {
                let next = u32::try_from(hot.tag).unwrap_or(NONE);
                core::mem::replace(&mut self.free, next)
            }
            None => {
                self.grow();
                self.hot.push(Hot::BLANK);
                self.cold.push(Cold::BLANK);
                self.kinds.push(Kind::Free);
                u32::try_from(self.kinds.len() - 1).ok()?
            }
        };
        self.used += 1;
        if let (Some(hot), Some(slot_kind)) =
            (self.hot.get_mut(slot as usize), self.kinds.get_mut(slot as usize))
        {
            *slot_kind = kind;
            hot.flags = 0;
            hot.held = 0;
        }
        Some(slot)
    }

    /// Have room for another slot: for as many again, but never for more than there may be.
    fn grow(&mut self) {
        let len = self.kinds.len();
        if len == self.kinds.capacity() {
            let more = len.max(SLOTS_FIRST).min(self.max.saturating_sub(len)).max(1);
            self.hot.reserve_exact(more);
            self.cold.reserve_exact(more);
            self.kinds.reserve_exact(more);
        }
    }

    /// Give a slot back: its handle is stale from here on.
    pub fn release(&mut self, slot: u32) {
        let Some(kind) = self.kinds.get_mut(slot as usize) else { return };
        let was = core::mem::take(kind);
        if was == Kind::Free {
            return;
        }
        self.used -= 1;
        let Some(hot) = self.hot.get_mut(slot as usize) else { return };
        hot.tag = u64::from(core::mem::replace(&mut self.free, slot));
        hot.generation = hot.generation.wrapping_add(1);
        (hot.state, hot.decline) = (State::Closed, decline::STATE);
        // What the wheel has promised the slot stands, for whoever has it then: so the wheel never holds more
        // promises than slots, but for those that an earlier deadline overtook.
        if was == Kind::Stream
            && let Some(cold) = self.cold.get_mut(slot as usize)
        {
            self.shared.controls.remove(&mut cold.control);
            self.shared.actives.remove(cold.active);
            cold.active = NONE;
            self.shared.rares.remove(&mut cold.rare);
        }
    }

    /// What a slot is used for. Of a connection its hot part tells, which is looked at anyway.
    #[inline]
    pub fn kind(&self, slot: u32) -> Kind {
        match self.hot.get(slot as usize) {
            Some(hot) if hot.state != State::Closed => Kind::Stream,
            _ => self.kinds.get(slot as usize).copied().unwrap_or_default(),
        }
    }

    /// The handle of a slot's socket.
    #[inline]
    pub fn id(&self, slot: u32) -> SocketId {
        let generation = self.hot.get(slot as usize).map_or(0, |hot| hot.generation);
        SocketId::new(self.lane, slot, generation)
    }

    /// The slot of a handle, if it names a living socket of this lane.
    #[inline]
    pub fn find(&self, socket: SocketId) -> Result<(u32, Kind), OpError> {
        match self.stream(socket) {
            Some(_) => Ok((socket.slot(), Kind::Stream)),
            None => self.find_other(socket),
        }
    }

    /// The hot part of the stream that a handle names, if it is a living one of this lane.
    #[inline]
    pub fn stream(&self, socket: SocketId) -> Option<&Hot> {
        self.hot.get(socket.slot() as usize).filter(|hot| {
            hot.generation == socket.generation() && hot.state != State::Closed && socket.lane() == self.lane
        })
    }

    /// The same where it names no stream.
    #[cold]
    fn find_other(&self, socket: SocketId) -> Result<(u32, Kind), OpError> {
        if socket.lane() != self.lane {
            return Err(OpError::WrongLane(socket.lane()));
        }
        let slot = socket.slot();
        let kind = self.kind(slot);
        let current = self.hot.get(slot as usize).is_some_and(|hot| hot.generation == socket.generation());
        if kind == Kind::Free || !current {
            return Err(OpError::StaleHandle);
        }
        Ok((slot, kind))
    }

    /// Fill a slot with a new connection.
    pub fn begin(&mut self, slot: u32, birth: &Birth) -> Option<Connection<'_>> {
        self.note_ends(slot, &birth.tuple);
        let (config, now) = (&self.shared.config, self.shared.now);
        let cold = self.cold.get_mut(slot as usize)?;
        *cold = Cold {
            iss: birth.iss,
            limited_end: birth.iss,
            short_end: birth.iss,
            data_ms: now.millis,
            listener: birth.listener,
            adv_mss: birth.mss,
            congestion: config.congestion,
            ..Cold::BLANK
        };
        let hot = self.hot.get_mut(slot as usize)?;
        *hot = Hot {
            key: self.secret.addresses(&birth.tuple),
            ports: birth.tuple.ports(),
            snd_una: birth.iss,
            snd_nxt: birth.iss,
            cwnd: u32::from(birth.mss),
            state: birth.state,
            heard_ms: now.millis,
            sent_us: now.micros,
            tag: birth.tag,
            ts_offset: birth.ts_offset,
            frames_max: config.receive_frames,
            rcv_mss: crate::tcp::input::MSS_DEFAULT,
            mss: birth.mss,
            path: birth.path,
            queue: birth.queue,
            generation: hot.generation,
            armed_at: hot.armed_at,
            ..Hot::BLANK
        };
        let quick_acks = config.quick_acks;
        self.shared.signals = Signals::default();
        let mut connection = Connection { hot, cold, shared: &mut self.shared };
        connection.set_quick_acks(quick_acks);
        if let Some(options) = birth.options {
            options::begin(&mut connection, options);
        }
        Some(connection)
    }

    fn note_ends(&mut self, slot: u32, tuple: &Tuple) {
        let (IpAddr::V6(local), IpAddr::V6(remote)) = (tuple.local.ip(), tuple.remote.ip()) else { return };
        let at = slot as usize;
        if self.ends.len() <= at {
            let none = Ends { remote: Ipv6Addr::UNSPECIFIED, local: Ipv6Addr::UNSPECIFIED };
            self.ends.resize(at + 1, none);
        }
        self.ends[at] = Ends { remote, local };
    }

    /// The hot part of a slot.
    #[inline]
    pub fn hot(&self, slot: u32) -> Option<&Hot> {
        self.hot.get(slot as usize)
    }

    /// The fast path declines whatever comes for a slot.
    #[inline]
    pub fn declines(&self, slot: u32) -> bool {
        self.hot(slot).is_none_or(|hot| hot.decline != 0)
    }

    /// Bring near what a stream's hot part leads to: its oldest range.
    #[inline]
    pub fn prefetch_rest(&self, slot: u32) {
        let Some(hot) = self.hot.get(slot as usize) else { return };
        self.shared.cells.prefetch(hot.head);
    }

    /// The same before it says something: where that may be an acknowledgement, when a delayed one is due.
    #[inline]
    pub fn prefetch_said(&self, slot: u32) {
        let Some(hot) = self.hot.get(slot as usize) else { return };
        if hot.unsent != NONE {
            self.shared.cells.prefetch(hot.head);
        } else if let Some(cold) = self.cold.get(slot as usize) {
            drivers::prefetch(&cold.delack_at);
        }
    }

    /// Bring near what a visit of the wheel looks at.
    #[inline]
    pub fn prefetch_visit(&self, slot: u32) {
        if let (Some(hot), Some(cold)) = (self.hot.get(slot as usize), self.cold.get(slot as usize)) {
            drivers::prefetch(hot);
            drivers::prefetch(&hot.tag);
            drivers::prefetch(cold);
            drivers::prefetch(&cold.delack_at);
        }
    }

    /// The hot part of a slot, for changing.
    #[inline]
    pub fn hot_mut(&mut self, slot: u32) -> Option<&mut Hot> {
        self.hot.get_mut(slot as usize)
    }

    /// The cold part of a stream.
    pub fn cold(&self, slot: u32) -> Option<&Cold> {
        self.cold.get(slot as usize)
    }

    /// The hot and the cold part of a stream.
    #[inline]
    pub fn hot_and_cold(&mut self, slot: u32) -> Option<(&mut Hot, &mut Cold)> {
        let hot = self.hot.get_mut(slot as usize)?;
        let cold = self.cold.get_mut(slot as usize)?;
        Some((hot, cold))
    }

    /// A stream, for TCP to work on.
    #[inline]
    pub fn connection(&mut self, slot: u32) -> Option<Connection<'_>> {
        // Paid before it is taken apart: what was written to memory for a call is not read at once again.
        if self.hot.get(slot as usize)?.owed != 0 {
            self.pay(slot);
        }
        self.connection_owing(slot)
    }

    #[inline(never)]
    fn pay(&mut self, slot: u32) {
        if let Some(mut connection) = self.connection_owing(slot) {
            connection.pay();
        }
    }

    /// The same for the fast path, which pays what it owes to the cold part when it must.
    #[inline]
    pub fn connection_owing(&mut self, slot: u32) -> Option<Connection<'_>> {
        self.owing_if(slot, |_| true)
    }

    #[inline(always)]
    fn owing_if(&mut self, slot: u32, is_it: impl FnOnce(&Hot) -> bool) -> Option<Connection<'_>> {
        let hot = self.hot.get_mut(slot as usize)?;
        let cold = self.cold.get_mut(slot as usize)?;
        if !is_it(hot) {
            return None;
        }
        self.shared.signals = Signals::default();
        Some(Connection { hot, cold, shared: &mut self.shared })
    }

    /// The same of a stream over IPv4 with these addresses and ports, as the table has them, if it is or was in the slot: of
    /// one that was, and of whatever else is in a slot, [`Hot::is_plain`] is false.
    #[inline]
    pub fn between_owing(&mut self, slot: u32, addresses: u64, ports: u32) -> Option<Connection<'_>> {
        self.owing_if(slot, |hot| hot.key == addresses && hot.ports == ports)
    }

    /// The same of what a handle names, if it is a living socket of this lane: of one that is no stream `is_plain` is false.
    #[inline]
    pub fn named_owing(&mut self, socket: SocketId) -> Option<Connection<'_>> {
        let lane = self.lane;
        self.owing_if(socket.slot(), |hot| hot.generation == socket.generation() && socket.lane() == lane)
    }

    /// The two ends of a stream.
    pub fn tuple(&self, slot: u32) -> Option<Tuple> {
        let hot = self.hot.get(slot as usize)?;
        let (local, remote) = if hot.is_ipv6() {
            let ends = self.ends.get(slot as usize)?;
            (IpAddr::V6(ends.local), IpAddr::V6(ends.remote))
        } else {
            #[expect(clippy::cast_possible_truncation, reason = "each half is an address")]
            let (remote, local) = ((hot.key >> 32) as u32, hot.key as u32);
            (IpAddr::V4(local.into()), IpAddr::V4(remote.into()))
        };
        Some(Tuple {
            local: SocketAddr::new(local, hot.local_port()),
            remote: SocketAddr::new(remote, hot.remote_port()),
        })
    }

    /// The slot is this tuple's stream.
    #[inline]
    pub fn is_tuple(&self, slot: u32, key: &FlowKey, tuple: &Tuple) -> bool {
        self.hot.get(slot as usize).is_some_and(|hot| {
            hot.key == key.addresses
                && hot.ports == key.ports
                && hot.state != State::Closed
                // A word of IPv4 is the addresses; one of IPv6 is as good as unique, and yet.
                && (!hot.is_ipv6() || self.tuple(slot).as_ref() == Some(tuple))
        })
    }

    /// The slot is the stream over IPv4 with these addresses and ports, as the table has them.
    #[inline]
    pub fn is_ends_ipv4(&self, slot: u32, addresses: u64, ports: u32) -> bool {
        self.hot
            .get(slot as usize)
            .is_some_and(|hot| hot.key == addresses && hot.ports == ports && hot.state != State::Closed)
    }

    /// Note that a stream is on the dirty list; false if it was already, or is no stream.
    #[inline]
    pub fn set_dirty(&mut self, slot: u32) -> bool {
        if self.kind(slot) != Kind::Stream {
            return false;
        }
        let Some(hot) = self.hot.get_mut(slot as usize) else { return false };
        let fresh = hot.flags & flag::DIRTY == 0;
        hot.flags |= flag::DIRTY;
        fresh
    }

    /// A stream's deadline, and where the wheel has it.
    #[inline]
    pub fn deadlines(&self, slot: u32) -> Option<(Ticks, Ticks)> {
        if self.kind(slot) != Kind::Stream {
            return None;
        }
        let hot = self.hot.get(slot as usize)?;
        let cold = self.cold.get(slot as usize)?;
        Some((state::deadline(hot, cold, &self.shared.rares, self.shared.now.ticks), hot.armed_at))
    }

    /// Where the wheel has a slot, whatever it is used for.
    pub fn armed(&self, slot: u32) -> Ticks {
        self.hot.get(slot as usize).map_or(Ticks::OFF, |hot| hot.armed_at)
    }

    /// Note where the wheel has a slot.
    pub fn set_armed(&mut self, slot: u32, at: Ticks) {
        if let Some(hot) = self.hot.get_mut(slot as usize) {
            hot.armed_at = at;
        }
    }

    /// Frames that wait for the application.
    pub fn waiting(&self, slot: u32) -> Waiting {
        self.cold(slot)
            .map_or(Waiting::EMPTY, |cold| Waiting { head: cold.waiting_head, tail: cold.waiting_tail })
    }

    /// Note the ends of the frames that wait for the application.
    pub fn set_waiting(&mut self, slot: u32, waiting: Waiting) {
        if let Some((hot, cold)) = self.hot_and_cold(slot) {
            cold.waiting_head = waiting.head;
            cold.waiting_tail = waiting.tail;
            hot.hints &= !hint::WAITS;
            if !waiting.is_empty() {
                hot.hints |= hint::WAITS;
            }
        }
    }
}

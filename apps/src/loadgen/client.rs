//! A lane's client: which request goes out when and where. What it is at is in `client/phases.rs`, and what completions
//! do to a connection in `events.rs`.

mod phases;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corelane::{Action, Instant, Lane, LaneError, LaneSet, Op, QueueId, Region, Tag};

pub(super) use self::phases::Phase;
use super::slot::{Listed, Slot, State};
use super::{Exchange, Plan, Progress, Results, Schedule};
use crate::outbox::Outbox;
use crate::service::{self, Service};
use crate::watch::Watch;

/// Most requests of one send: their bytes lie behind each other in memory that the device reads. Units: bytes.
const BURST_BYTES: usize = 64 * 1024;

/// How often connections are looked at whose patience may have ended.
const SCAN: Duration = Duration::from_millis(100);

/// How long a place rests whose connection could not be opened.
pub(super) const REST: Duration = Duration::from_millis(100);

/// How long the server has to close first, where it is to.
pub(super) const FINISH: Duration = Duration::from_secs(1);

/// How long connections have to end in order.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The tag of ops whose failure tells nothing that a connection's end does not tell.
pub(super) const QUIET: Tag = Tag(u64::MAX);

/// One lane's client.
#[derive(Debug)]
pub struct Client {
    pub(super) plan: Plan,
    pub(super) slots: Vec<Slot>,
    pub(super) results: Results,
    pub(super) phase: Phase,
    /// The lane's clock, as of its last turn.
    pub(super) now: Instant,
    pub(super) connecting: usize,
    /// Connections whose end was asked for and has not come.
    pub(super) closing: usize,
    /// Requests that were begun and are not over.
    pub(super) under_way: u64,
    /// Requests that a server which closed the connection did not take: when they were due.
    pub(super) retries: VecDeque<Instant>,
    pub(super) resting: VecDeque<(Instant, usize)>,
    /// Plaintext on its way from TLS to whoever reads it.
    pub(super) plain: Vec<u8>,
    /// Several requests behind each other.
    burst: Bytes,
    /// One request.
    single: Bytes,
    outbox: Outbox,
    ready_open: VecDeque<usize>,
    ready_idle: VecDeque<usize>,
    part: (usize, usize),
    schedule: Option<Schedule>,
    /// Requests that may still begin.
    budget: Option<u64>,
    count_from: Instant,
    until: Option<Instant>,
    last_answer: Instant,
    next_scan: Instant,
    next_source: usize,
    progress: Arc<Progress>,
}

impl Client {
    /// A client that does its part, `part.0` of `part.1`, of what all lanes are to do.
    pub fn new(plan: &Plan, part: (usize, usize), progress: Arc<Progress>) -> Client {
        let plan = plan.part(part.0, part.1);
        let request = plan.exchange.request();
        let copies = (BURST_BYTES / request.len().max(1)).clamp(1, plan.pipeline);
        let burst: Bytes = request.repeat(copies).into();
        // Memory that the device reads, if it is little enough.
        let region = (1..=BURST_BYTES).contains(&burst.len()).then(|| Region::new(1, burst.len()));
        let burst = region.and_then(|region| region.store(&burst)).unwrap_or(burst);
        Client {
            slots: (0..plan.connections).map(|_| Slot::new(&plan.exchange)).collect(),
            results: Results::default(),
            phase: Phase::Waiting(Instant::ZERO),
            now: Instant::ZERO,
            connecting: 0,
            closing: 0,
            under_way: 0,
            retries: VecDeque::new(),
            resting: VecDeque::new(),
            plain: Vec::new(),
            single: plan.exchange.single(&burst),
            burst,
            outbox: Outbox::default(),
            ready_open: VecDeque::new(),
            ready_idle: VecDeque::new(),
            part,
            schedule: None,
            budget: plan.requests,
            count_from: Instant::FOREVER,
            until: None,
            last_answer: Instant::ZERO,
            next_scan: Instant::ZERO,
            // Lanes begin at different addresses.
            next_source: part.0 * plan.sources.len() / part.1.max(1),
            progress,
            plan,
        }
    }

    /// Begin.
    pub fn start(&mut self, lane: &mut Lane) {
        self.now = lane.now();
        self.next_scan = self.now.saturating_add(SCAN);
        self.phase = Phase::Waiting(self.now.saturating_add(self.plan.wait));
        if self.plan.wait.is_zero() {
            self.open_or_begin();
        }
        self.advance(lane);
    }

    /// Work off what a turn of the lane brought.
    pub fn turn(&mut self, lane: &mut Lane) {
        self.now = lane.now();
        if lane.is_stopping() {
            self.interrupt(lane);
        }
        self.outbox.flush(lane);
        while self.outbox.is_empty()
            && let Some(done) = lane.take(QueueId::MAIN)
        {
            self.handle(lane, done);
        }
        self.advance(lane);
        self.progress.set(self.results.latency.len(), self.results.errors_all(), self.results.opened);
    }

    /// All is over: the lane can go.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// How long the lane may rest if nothing arrives.
    pub fn pause(&self) -> Duration {
        if !self.outbox.is_empty() || self.is_done() {
            return Duration::ZERO;
        }
        let due = match (&self.schedule, self.phase) {
            (Some(schedule), Phase::Running) if self.has_ready() => Some(schedule.peek()),
            _ => None,
        };
        let rested = self.resting.front().map(|(until, _)| *until);
        let until = match self.phase {
            Phase::Running => self.until,
            Phase::Leaving(until) => Some(until),
            _ => None,
        };
        let first = [due, rested, until, Some(self.next_scan)].into_iter().flatten().min();
        first.map_or(SCAN, |first| first.saturating_since(self.now))
    }

    /// What was found.
    pub fn finish(self) -> Results {
        self.results
    }

    /// Requests go out that are due, on connections that take them.
    fn pump(&mut self, lane: &mut Lane) {
        while self.outbox.is_empty() && self.is_due() {
            let Some(index) = self.next_ready() else { return };
            let idle = self.slots[index].state == State::Idle;
            let room = if idle || self.schedule.is_some() {
                1
            } else {
                self.plan.pipeline - self.slots[index].waiting.len()
            };
            let mut count = 0;
            while count < room
                && let Some(due) = self.take_due()
            {
                self.slots[index].waiting.push_back(due);
                count += 1;
            }
            self.under_way += count as u64;
            if idle {
                self.connect(lane, index);
            } else {
                self.send(lane, index, count);
            }
            self.list(index);
        }
    }

    fn is_due(&self) -> bool {
        if !self.retries.is_empty() {
            return true;
        }
        let due = self.schedule.as_ref().map_or(self.now, Schedule::peek);
        self.phase == Phase::Running
            && self.budget != Some(0)
            && due <= self.now
            // What was due before the end is sent, though a turn may begin a little after it.
            && self.until.is_none_or(|until| due < until)
    }

    /// When the next request that is due was due; `None` if none is.
    fn take_due(&mut self) -> Option<Instant> {
        if let Some(due) = self.retries.pop_front() {
            return Some(due);
        }
        if !self.is_due() {
            return None;
        }
        let due = match &mut self.schedule {
            None => self.now,
            Some(schedule) => {
                let due = schedule.peek();
                schedule.step();
                due
            }
        };
        if due >= self.count_from {
            self.budget = self.budget.map(|left| left.saturating_sub(1));
        }
        Some(due)
    }

    /// Put a connection on the list of those that could take a request, if it can.
    pub(super) fn list(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let list = match slot.state {
            State::Open if slot.waiting.len() < self.plan.pipeline => Listed::Open,
            State::Idle => Listed::Idle,
            _ => return,
        };
        if slot.listed == list || !matches!(self.phase, Phase::Running | Phase::Draining(_)) {
            return;
        }
        slot.listed = list;
        let list = if list == Listed::Open { &mut self.ready_open } else { &mut self.ready_idle };
        list.push_back(index);
    }

    fn has_ready(&self) -> bool {
        !self.ready_open.is_empty() || (!self.ready_idle.is_empty() && self.connecting < self.plan.connecting)
    }

    /// A connection that takes a request: an open one first.
    fn next_ready(&mut self) -> Option<usize> {
        while let Some(index) = self.ready_open.pop_front() {
            let slot = &mut self.slots[index];
            // What happened since it was listed may have changed that.
            if slot.listed == Listed::Open {
                slot.listed = Listed::No;
                if slot.state == State::Open && slot.waiting.len() < self.plan.pipeline {
                    return Some(index);
                }
            }
        }
        while self.connecting < self.plan.connecting
            && let Some(index) = self.ready_idle.pop_front()
        {
            let slot = &mut self.slots[index];
            if slot.listed == Listed::Idle {
                slot.listed = Listed::No;
                if slot.state == State::Idle {
                    return Some(index);
                }
            }
        }
        None
    }

    fn connect(&mut self, lane: &mut Lane, index: usize) {
        let source = (!self.plan.sources.is_empty()).then(|| {
            self.next_source = (self.next_source + 1) % self.plan.sources.len();
            SocketAddr::new(self.plan.sources[self.next_source], 0)
        });
        let probing = matches!(self.phase, Phase::Waiting(_));
        let timeout = if probing { FINISH } else { self.plan.timeout };
        let slot = &mut self.slots[index];
        slot.state = State::Connecting;
        slot.began = self.now;
        let tag = slot.tag(index);
        let op = Op::connect(self.plan.to).tag(tag);
        let action = Action::Connect { to: self.plan.to, from: source, timeout, lane: None, options: None };
        self.connecting += 1;
        self.submit(lane, Op { action, ..op });
    }

    /// Send as many requests on a connection that is open.
    pub(super) fn send(&mut self, lane: &mut Lane, index: usize, count: usize) {
        let length = self.plan.exchange.request().len();
        if self.is_counting() {
            self.results.sent_bytes += (length * count) as u64;
        }
        self.slots[index].deadline = self.now.saturating_add(self.plan.timeout);
        let Some(stream) = self.slots[index].stream else { return };
        if let Exchange::Upload(_) = self.plan.exchange {
            // A send of its own for each piece: what sends cost is what an upload is to show.
            let (tag, piece) = (self.slots[index].tag(index), self.burst.slice(..length));
            (0..count).for_each(|_| self.submit(lane, Op::send(stream, piece.clone()).tag(tag).notify()));
            return;
        }
        if length == 0 {
            return;
        }
        let copies = self.burst.len() / length;
        let mut left = count;
        while left > 0 {
            let now = left.min(copies);
            left -= now;
            let bytes = if now == 1 { self.single.clone() } else { self.burst.slice(..now * length) };
            if self.slots[index].tls.is_some() {
                self.send_sealed(lane, index, &bytes);
            } else {
                self.submit(lane, Op::send(stream, bytes).tag(QUIET));
            }
        }
    }

    /// Submit an op, behind what waits.
    #[inline(always)]
    pub(super) fn submit(&mut self, lane: &mut Lane, op: Op) {
        self.outbox.submit(lane, op);
    }

    /// Requests that are due now count.
    pub(super) fn is_counting(&self) -> bool {
        self.count_from <= self.now && self.until.is_none_or(|until| self.now <= until)
    }

    /// An answer to a request that was due at `due` is whole.
    pub(super) fn count(&mut self, due: Instant) {
        if due < self.count_from {
            return;
        }
        super::results::record(&mut self.results.latency, self.now.saturating_since(due));
        self.results.answered += 1;
        self.last_answer = self.last_answer.max(self.now);
        if self.until.is_none_or(|until| self.now <= until) {
            self.results.answered_in_time += 1;
        }
    }
}

/// Run one client on its lane until it is done, or the lane has stopped.
///
/// Errors: none of its own; bounds that are met are waited for.
pub fn drive(lane: Lane, client: Client, watch: &mut impl Watch) -> Result<Results, LaneError> {
    let mut client = Some(client);
    let found = drive_all(LaneSet::new(vec![lane]), |_| client.take(), watch)?;
    Ok(found.into_iter().next().unwrap_or_default())
}

/// Run a client, made by `make`, on each lane of a thread. Returns what each found, in the lanes' order.
///
/// Errors: as `drive`'s.
pub fn drive_all(
    set: LaneSet,
    mut make: impl FnMut(&Lane) -> Option<Client>,
    watch: &mut impl Watch,
) -> Result<Vec<Results>, LaneError> {
    let loading =
        service::drive(set, |lane| Loading { client: make(lane), found: Results::default() }, watch)?;
    Ok(loading.into_iter().map(|loading| loading.found).collect())
}

/// A lane's client as a service.
struct Loading {
    client: Option<Client>,
    found: Results,
}

impl Service for Loading {
    fn start(&mut self, lane: &mut Lane) {
        if let Some(client) = &mut self.client {
            client.start(lane);
        }
    }

    fn pause(&self) -> Option<Duration> {
        self.client.as_ref().map(Client::pause)
    }

    fn turn(&mut self, lane: &mut Lane, _watch: &mut impl Watch) -> Result<bool, LaneError> {
        let Some(client) = self.client.as_mut().filter(|client| !client.is_done()) else { return Ok(false) };
        client.turn(lane);
        Ok(!client.is_done())
    }

    fn end(&mut self, lane: &mut Lane) {
        if let Some(mut client) = self.client.take() {
            // The lane may stop before the client has seen that it is to.
            client.interrupt(lane);
            self.found = client.finish();
        }
    }
}

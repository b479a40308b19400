//! What is asked of the lane. Each case makes a turn's frames, lets the lane take its turn, which alone is timed, and
//! checks what came of it.

mod rounds;

use std::collections::VecDeque;

use bytes::Bytes;
use drivers::Frame;
use stack::config::EngineConfig;
use stack::lane::Lane;
use stack::socket::{Event, Op, QueueId, Stream};
use stack::wire::tcp::Flags;

use crate::far::{Far, Heard, Say};
use crate::rig::{Application, PortOptions, Rig, server, timed, untimed};

/// What is done over and over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Case {
    /// 64 bytes come, the application sends them back; each request acknowledges the answer before.
    Request,
    /// 64 bytes come, the application drops them; the lane acknowledges as it sees fit.
    Receive,
    /// An acknowledgement of 64 bytes comes; sending them is not timed.
    Acknowledge,
    /// A connection is opened, exchanges 64 bytes each way and is closed by the far end.
    Connect,
    /// The second of two segments comes before the first.
    Hole,
    /// 64 bytes that were sent go unacknowledged until their timer sends them again; the acknowledgement is not timed.
    Timeout,
    /// Full segments come for one flow after the other, a burst each; the application drops them.
    BulkReceive,
    /// The application sends blocks of 64 KiB; the far end acknowledges every second segment, which is timed too.
    BulkSend,
}

/// All cases, by the names they are called by.
pub const CASES: [(&str, Case); 8] = [
    ("rr_64", Case::Request),
    ("rx_data", Case::Receive),
    ("ack_only", Case::Acknowledge),
    ("connect_close", Case::Connect),
    ("ooo_one_hole", Case::Hole),
    ("rto_fire", Case::Timeout),
    ("bulk_rx", Case::BulkReceive),
    ("bulk_tx", Case::BulkSend),
];

/// How a case is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What is done.
    pub case: Case,
    /// Connections there are. Each is asked at random, and none twice before its turn comes round.
    pub flows: usize,
    /// Frames that arrive at a time, at most. A turn takes 32 of them, or more while more are waiting.
    pub burst: usize,
    /// What the port does.
    pub port: PortOptions,
    /// The fast path is on.
    pub fast: bool,
}

/// Full-sized payload beside timestamps.
pub const MSS: usize = 1448;

/// Bytes of a request.
pub const SMALL: usize = 64;

/// Virtual time of a frame: what a lane that keeps up with ten gigabits has.
const FRAME_NS: u64 = 70;

/// Blocks that a bulk sender keeps queued on each flow, and the bytes of each.
const BLOCKS: usize = 8;
const BLOCK: usize = 65_536;

/// What the application answers with.
#[derive(Debug)]
struct Answers {
    case: Case,
    streams: Vec<Option<Stream>>,
    accepted: usize,
    closed: usize,
    bytes: u64,
    block: Bytes,
    /// Where each flow's blocks begin, if it sends any.
    starts: Vec<u32>,
}

impl Application for Answers {
    fn run(&mut self, lane: &mut Lane) {
        while let Some(done) = lane.take(QueueId::MAIN) {
            let submitted = match done.event {
                Event::Received { stream, data } => {
                    self.bytes += data.len() as u64;
                    match self.case {
                        Case::Request | Case::Connect => lane.submit(Op::send(stream, data)),
                        _ => Ok(()),
                    }
                }
                Event::Accepted { stream, peer, .. } => {
                    self.accepted += 1;
                    if let Some(known) = self.streams.get_mut(Far::flow(peer) as usize) {
                        *known = Some(stream);
                    }
                    Ok(())
                }
                Event::End { stream } => lane.submit(Op::close(stream)),
                Event::Closed { .. } => {
                    self.closed += 1;
                    Ok(())
                }
                Event::Sent { stream, .. } => lane.submit(Op::send(stream, self.block.clone()).notify()),
                _ => Ok(()),
            };
            submitted.expect("the queue keeps room for answers");
        }
    }
}

/// Flows at each step of a connection that comes and goes, and acknowledgements that are due.
#[derive(Debug, Default)]
struct Steps {
    idle: VecDeque<u32>,
    open: Vec<u32>,
    answered: Vec<u32>,
    last: Vec<u32>,
    acks: VecDeque<(u32, u32)>,
}

/// A case under way.
pub struct Run {
    plan: Plan,
    rig: Rig,
    far: Far,
    answers: Answers,
    /// Flows in the order in which they are asked, and how far that has come.
    order: Vec<u32>,
    next: usize,
    random: u64,
    frames: Vec<Frame>,
    sent: Vec<Frame>,
    heard: Vec<Heard>,
    /// Flows that wait for an answer.
    asked: Vec<bool>,
    steps: Steps,
    /// No further connection begins.
    ending: bool,
}

/// What is made of turns that are to be timed.
pub trait Meter {
    /// Take the turn, by [`timed`] if it is to count.
    fn turn(&mut self, lane: &mut Lane, application: &mut impl Application);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unmeasured;

impl Meter for Unmeasured {
    fn turn(&mut self, lane: &mut Lane, application: &mut impl Application) {
        untimed(lane, application);
    }
}

/// Lets callgrind count.
#[derive(Clone, Copy, Debug)]
pub struct Counted;

impl Meter for Counted {
    fn turn(&mut self, lane: &mut Lane, application: &mut impl Application) {
        timed(lane, application);
    }
}

impl Run {
    /// Connections are opened, none of which is timed.
    ///
    /// Panics: if the lane does not answer as it ought to.
    pub fn new(plan: Plan) -> Run {
        let tune = |config: &mut EngineConfig| {
            config.tcp.fast_path = plan.fast;
            // What is measured begins where connections are past their first segments.
            config.tcp.quick_acks = 0;
            // Of many flows each is silent for long, and its far end acknowledges with what it says next.
            config.tcp.rto_min_us = 1_000_000;
            config.tcp.tlp = false;
        };
        // A connection takes seven turns, and in each of them others begin: with fewer some turns would have little to do.
        let churn = if plan.case == Case::Connect { 2 * plan.burst } else { 0 };
        let flows = plan.flows + churn;
        let pattern: Vec<u8> = (0..BLOCK).map(|index| u8::try_from(index % 251).unwrap_or(0)).collect();
        let answers = Answers {
            case: plan.case,
            streams: vec![None; flows],
            accepted: 0,
            closed: 0,
            bytes: 0,
            block: Bytes::from(pattern),
            starts: Vec::new(),
        };
        let mut run = Run {
            plan,
            // A block for each answer that is not acknowledged yet.
            rig: Rig::new(flows, 2 * flows + 4096, plan.port, tune),
            far: Far::new(flows, plan.port.checksums),
            answers,
            order: (0..number(plan.flows)).collect(),
            next: 0,
            random: 0x1234_5678_9abc_def1,
            frames: Vec::new(),
            sent: Vec::new(),
            asked: vec![false; flows],
            heard: Vec::new(),
            steps: Steps { idle: (number(plan.flows)..number(flows)).collect(), ..Steps::default() },
            ending: false,
        };
        run.submit(Op::listen_eager(server()));
        run.turn(&mut Unmeasured);
        // The lane has them in another order than the far ends: what is next to each other here is not there.
        run.shuffle();
        run.open_all();
        if plan.case == Case::BulkSend {
            run.fill_queues();
        }
        run.shuffle();
        run
    }

    /// From here on ask so many of the flows alone, which the lane has spread among the others. These stay silent, and of their
    /// far ends nothing is looked at.
    ///
    /// Panics: if there are fewer, or more than a burst has are wanted.
    pub fn keep_busy(&mut self, busy: usize) {
        assert!((self.plan.burst..=self.plan.flows).contains(&busy), "some of the flows, a burst at least");
        self.order = (0..number(busy)).collect();
        self.shuffle();
    }

    fn submit(&mut self, op: Op) {
        assert!(self.rig.lane.submit(op).is_ok(), "a batch holds a burst's ops");
    }

    /// The turns in which the lane takes the frames that were made, mostly one, and what it has sent, checked as far as all
    /// cases are alike.
    fn turn(&mut self, meter: &mut impl Meter) {
        self.rig.pass(FRAME_NS * self.frames.len().max(1) as u64);
        self.far.clock = u32::try_from(self.rig.now() / 1_000_000).unwrap_or(u32::MAX);
        self.rig.arrive(&mut self.frames);
        meter.turn(&mut self.rig.lane, &mut self.answers);
        while !self.rig.is_taken() {
            meter.turn(&mut self.rig.lane, &mut self.answers);
        }
        self.rig.sent(&mut self.sent);
        self.heard.clear();
        let (far, heard) = (&mut self.far, &mut self.heard);
        self.sent.retain(|frame| {
            let understood = far.hear(frame);
            heard.extend(understood);
            understood.is_some()
        });
    }

    fn open_all(&mut self) {
        let all: Vec<u32> = self.order.clone();
        for flows in all.chunks(64) {
            for say in [Say { flags: Flags::SYN, ..Say::ACK }, Say::ACK] {
                for &flow in flows {
                    let frame = self.far.say(flow, &say);
                    self.frames.push(frame);
                }
                for _ in 0..2 {
                    self.turn(&mut Unmeasured);
                    self.take_all();
                }
            }
        }
        assert_eq!(self.answers.accepted, self.plan.flows, "every connection is open");
    }

    /// The far ends take what they were sent.
    fn take_all(&mut self) {
        for heard in self.heard.drain(..) {
            self.far.take(&heard);
        }
        self.sent.clear();
    }

    /// Another order of the flows: each once, at random (Fisher and Yates, by xorshift).
    fn shuffle(&mut self) {
        for last in (1..self.order.len()).rev() {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let at = usize::try_from(self.random % (last as u64 + 1)).unwrap_or(0);
            self.order.swap(last, at);
        }
        self.next = 0;
    }

    /// The next flow, unless it still waits for an answer.
    fn pick(&mut self) -> Option<u32> {
        if self.next == self.order.len() {
            self.shuffle();
        }
        let flow = self.order[self.next];
        if self.asked[flow as usize] {
            return None;
        }
        self.next += 1;
        Some(flow)
    }

    fn picks(&mut self, count: usize) -> Vec<u32> {
        let mut flows = Vec::with_capacity(count);
        while flows.len() < count
            && let Some(flow) = self.pick()
        {
            self.asked[flow as usize] = true;
            flows.push(flow);
        }
        flows
    }

    /// A payload that tells of which flow it is, and the how manieth.
    fn payload(&mut self, flow: u32) -> [u8; SMALL] {
        let mut payload = [0x2a; SMALL];
        let peer = &self.far.peers[flow as usize];
        for (word, value) in payload.chunks_exact_mut(4).zip([flow, peer.snd_nxt]) {
            word.copy_from_slice(&value.to_be_bytes());
        }
        payload
    }

    fn say_small(&mut self, flow: u32, flags: Flags) {
        let payload = self.payload(flow);
        let frame = self.far.say(flow, &Say { flags, ahead: 0, payload: &payload });
        self.frames.push(frame);
    }

    /// Where the lane's tables of connections lie.
    pub fn places(&self) -> Vec<stack::places::Place> {
        self.rig.places()
    }

    /// One round of the case. Returns how many transactions it has finished.
    pub fn round(&mut self, meter: &mut impl Meter) -> u64 {
        match self.plan.case {
            Case::Request => self.requests(meter),
            Case::Receive => self.receive(meter),
            Case::Acknowledge => self.acknowledge(meter),
            Case::Connect => self.connect(meter),
            Case::Hole => self.holes(meter),
            Case::Timeout => self.time_out(meter),
            Case::BulkReceive => self.bulk_receive(meter),
            Case::BulkSend => self.bulk_send(meter),
        }
    }

    /// Everything that was said is acknowledged and answered, once the lane has had time for it.
    ///
    /// Panics: if it is not, for then the figures mean nothing.
    pub fn check(&mut self) {
        if self.plan.case == Case::Request {
            // No request will follow that would acknowledge the last answers.
            self.turn(&mut Unmeasured);
            self.take_answers();
            let all: Vec<u32> = (0..number(self.plan.flows)).collect();
            for flows in all.chunks(64) {
                self.say_acks(flows);
                self.turn(&mut Unmeasured);
                self.take_all();
            }
        }
        self.ending = true;
        while self.plan.case == Case::Connect && self.steps.idle.len() < 2 * self.plan.burst {
            self.connect(&mut Unmeasured);
        }
        // A turn sees to so many timers only.
        for _ in 0..self.plan.flows / 32 + 8 {
            self.rig.pass(10_000_000);
            self.turn(&mut Unmeasured);
            self.take_all();
        }
        let flows = 0..number(self.plan.flows);
        let behind = flows.filter(|&flow| !self.far.is_acknowledged(flow)).count();
        assert_eq!(behind, 0, "flows whose data are not acknowledged");
        let dropped = self.rig.lane.report().counters.dropped();
        assert_eq!(dropped, 0, "frames that the lane dropped: {}", self.rig.lane.report());
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than fit a word")
}

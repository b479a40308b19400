//! What is asked of the lane. Each case makes a turn's frames, lets the lane take its turn, which alone is timed, and
//! checks what came of it.

use std::collections::VecDeque;

use bytes::Bytes;
use drivers::Frame;
use stack::config::EngineConfig;
use stack::lane::Lane;
use stack::socket::{Event, Op, QueueId, Stream};
use stack::wire::tcp::Flags;

use crate::far::{Far, Heard, Say, reports};
use crate::rig::{Application, OPS, PortOptions, Rig, server, timed, untimed};

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
    /// Frames that arrive in a turn, at most.
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
            let answer = match done.event {
                Event::Received { stream, data } => {
                    self.bytes += data.len() as u64;
                    match self.case {
                        Case::Request | Case::Connect => {
                            let mut block = lane.block().expect("a block for each answer");
                            assert!(block.extend(&data), "an answer fits a block");
                            Op::send(stream, block)
                        }
                        _ => continue,
                    }
                }
                Event::Accepted { stream, peer, .. } => {
                    self.accepted += 1;
                    if let Some(known) = self.streams.get_mut(Far::flow(peer) as usize) {
                        *known = Some(stream);
                    }
                    continue;
                }
                Event::End { stream } => Op::close(stream),
                Event::Closed { .. } => {
                    self.closed += 1;
                    continue;
                }
                Event::Sent { stream, .. } => Op::send(stream, self.block.clone()).notify(),
                _ => continue,
            };
            lane.submit(answer).expect("the queue keeps room for answers");
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
        let churn = if plan.case == Case::Connect { plan.burst } else { 0 };
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
        };
        run.submit(Op::listen_eager(server()));
        run.turn(&mut Unmeasured);
        run.open_all();
        if plan.case == Case::BulkSend {
            run.fill_queues();
        }
        run.shuffle();
        run
    }

    fn submit(&mut self, op: Op) {
        assert!(self.rig.lane.submit(op).is_ok(), "a batch holds a burst's ops");
    }

    /// One turn of the lane with the frames that were made, and what it has sent, checked as far as all cases are alike.
    fn turn(&mut self, meter: &mut impl Meter) {
        self.rig.pass(FRAME_NS * self.frames.len().max(1) as u64);
        self.far.clock = u32::try_from(self.rig.now() / 1_000_000).unwrap_or(u32::MAX);
        self.rig.arrive(&mut self.frames);
        meter.turn(&mut self.rig.lane, &mut self.answers);
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

    fn requests(&mut self, meter: &mut impl Meter) -> u64 {
        for flow in self.picks(self.plan.burst) {
            self.say_small(flow, Flags::ACK | Flags::PSH);
        }
        self.turn(meter);
        self.take_answers()
    }

    /// Every answer is the request that its flow has sent last.
    fn take_answers(&mut self) -> u64 {
        let mut answers = 0;
        for (heard, frame) in self.heard.iter().zip(&self.sent) {
            if heard.len > 0 {
                let peer = &self.far.peers[heard.flow as usize];
                let mut payload = [0; SMALL];
                copy_payload(frame, heard.offset, &mut payload);
                let words = [heard.flow, peer.snd_nxt.wrapping_sub(number(SMALL))].map(u32::to_be_bytes);
                assert_eq!((heard.len as usize, &payload[..8]), (SMALL, words.as_flattened()), "{heard:?}");
                self.asked[heard.flow as usize] = false;
                answers += 1;
            }
            self.far.take(heard);
        }
        self.sent.clear();
        answers
    }

    fn receive(&mut self, meter: &mut impl Meter) -> u64 {
        let flows = self.picks(self.plan.burst);
        for &flow in &flows {
            self.say_small(flow, Flags::ACK | Flags::PSH);
        }
        self.turn(meter);
        self.take_all();
        self.are_done(&flows)
    }

    /// These flows may be picked again.
    fn are_done(&mut self, flows: &[u32]) -> u64 {
        for &flow in flows {
            self.asked[flow as usize] = false;
        }
        flows.len() as u64
    }

    /// The application sends 64 bytes on some flows, which is not timed.
    fn send_small(&mut self) -> Vec<u32> {
        let flows = self.picks(self.plan.burst);
        for &flow in &flows {
            let stream = self.answers.streams[flow as usize].expect("it was accepted");
            let payload = self.answers.block.slice(..SMALL);
            self.submit(Op::send(stream, payload));
        }
        self.turn(&mut Unmeasured);
        assert_eq!(self.heard.len(), flows.len(), "each flow has sent");
        self.take_all();
        flows
    }

    fn say_acks(&mut self, flows: &[u32]) {
        for &flow in flows {
            let frame = self.far.say(flow, &Say::ACK);
            self.frames.push(frame);
        }
    }

    fn acknowledge(&mut self, meter: &mut impl Meter) -> u64 {
        let flows = self.send_small();
        self.say_acks(&flows);
        self.turn(meter);
        assert!(self.heard.is_empty(), "an acknowledgement is not answered");
        self.are_done(&flows)
    }

    fn time_out(&mut self, meter: &mut impl Meter) -> u64 {
        let flows = self.send_small();
        self.rig.pass(1_500_000_000);
        self.turn(meter);
        self.turn(meter);
        let again = self.heard.iter().filter(|heard| heard.len as usize == SMALL).count();
        assert_eq!(again, flows.len(), "each flow has sent again");
        self.sent.clear();
        self.say_acks(&flows);
        self.turn(&mut Unmeasured);
        self.are_done(&flows)
    }

    fn holes(&mut self, meter: &mut impl Meter) -> u64 {
        let flows = self.picks(self.plan.burst);
        for &flow in &flows {
            let payload = self.payload(flow);
            let say = Say { flags: Flags::ACK, ahead: number(SMALL), payload: &payload };
            let frame = self.far.say(flow, &say);
            self.frames.push(frame);
        }
        self.turn(meter);
        self.take_all();
        for &flow in &flows {
            self.say_small(flow, Flags::ACK);
            let peer = &mut self.far.peers[flow as usize];
            peer.snd_nxt = peer.snd_nxt.wrapping_add(number(SMALL));
        }
        self.turn(meter);
        assert!(self.heard.iter().all(|heard| reports(&heard.segment)), "each hole was reported at once");
        assert_eq!(self.heard.len(), flows.len(), "each hole was reported");
        self.take_all();
        self.turn(meter);
        assert!(
            flows.iter().all(|&flow| self.far.is_acknowledged(flow)),
            "each filled hole is acknowledged at once"
        );
        self.take_all();
        self.are_done(&flows)
    }

    fn connect(&mut self, meter: &mut impl Meter) -> u64 {
        // A connection takes four frames: so many at each step fill a burst.
        let begun = (self.plan.burst / 4).max(1).min(self.steps.idle.len());
        let mut steps = core::mem::take(&mut self.steps);
        let finished = steps.last.len() as u64;
        for flow in steps.last.drain(..) {
            let frame = self.far.say(flow, &Say::ACK);
            self.frames.push(frame);
            steps.idle.push_back(flow);
        }
        for flow in steps.answered.drain(..) {
            let frame = self.far.say(flow, &Say { flags: Flags::ACK | Flags::FIN, ..Say::ACK });
            self.frames.push(frame);
        }
        for flow in steps.open.drain(..) {
            self.say_small(flow, Flags::ACK | Flags::PSH);
        }
        for _ in 0..begun {
            let Some(flow) = steps.idle.pop_front() else { break };
            let frame = self.far.say(flow, &Say { flags: Flags::SYN, ..Say::ACK });
            self.frames.push(frame);
        }
        self.turn(meter);
        for heard in self.heard.drain(..) {
            if heard.segment.flags.contains(Flags::SYN) {
                steps.open.push(heard.flow);
            } else if heard.len > 0 {
                steps.answered.push(heard.flow);
            } else if heard.segment.flags.contains(Flags::FIN) {
                steps.last.push(heard.flow);
            }
            self.far.take(&heard);
        }
        self.sent.clear();
        self.steps = steps;
        finished
    }

    fn bulk_receive(&mut self, meter: &mut impl Meter) -> u64 {
        let flows = self.picks(1);
        let payload = self.answers.block.slice(..MSS);
        for _ in 0..flows.len() * self.plan.burst {
            let frame = self.far.say(flows[0], &Say { flags: Flags::ACK, ahead: 0, payload: &payload });
            self.frames.push(frame);
        }
        let arrived = self.frames.len() as u64;
        let before = self.answers.bytes;
        self.turn(meter);
        assert_eq!(self.answers.bytes - before, arrived * MSS as u64, "every byte was received");
        self.take_all();
        self.are_done(&flows);
        arrived
    }

    /// Keep so many blocks on each flow that windows alone decide.
    fn fill_queues(&mut self) {
        self.answers.starts = self.far.peers.iter().map(|peer| peer.rcv_nxt).collect();
        assert!(self.plan.flows * BLOCKS <= OPS, "bulk is sent on fewer flows");
        for flow in 0..self.plan.flows {
            let stream = self.answers.streams[flow].expect("it was accepted");
            for _ in 0..BLOCKS {
                let block = self.answers.block.clone();
                self.submit(Op::send(stream, block).notify());
            }
        }
    }

    fn bulk_send(&mut self, meter: &mut impl Meter) -> u64 {
        let acks = self.steps.acks.len().min(self.plan.burst);
        let flows: Vec<(u32, u32)> = self.steps.acks.drain(..acks).collect();
        for (flow, ack) in flows {
            let latest = core::mem::replace(&mut self.far.peers[flow as usize].rcv_nxt, ack);
            let frame = self.far.say(flow, &Say::ACK);
            self.frames.push(frame);
            self.far.peers[flow as usize].rcv_nxt = latest;
        }
        self.turn(meter);
        let mut bytes = 0;
        for (heard, frame) in self.heard.drain(..).zip(&self.sent) {
            let at = heard.segment.seq.0.wrapping_sub(self.answers.starts[heard.flow as usize]) as usize;
            check_payload(frame, heard.offset, &self.answers.block, at);
            let before = self.far.peers[heard.flow as usize].rcv_nxt;
            self.far.take(&heard);
            bytes += u64::from(heard.len);
            // Of a frame that the port would have cut, every second segment.
            let mut ack = before;
            let end = self.far.peers[heard.flow as usize].rcv_nxt;
            while end.wrapping_sub(ack) > 0 {
                ack = ack.wrapping_add(end.wrapping_sub(ack).min(number(2 * MSS)));
                self.steps.acks.push_back((heard.flow, ack));
            }
        }
        self.sent.clear();
        bytes / MSS as u64
    }

    /// Everything that was said is acknowledged and answered, once the lane has had time for it.
    ///
    /// Panics: if it is not, for then the figures mean nothing.
    pub fn check(&mut self) {
        // A turn sees to so many timers only.
        for _ in 0..self.plan.flows / 32 + 8 {
            self.rig.pass(10_000_000);
            self.turn(&mut Unmeasured);
            match self.plan.case {
                Case::Request => drop(self.take_answers()),
                _ => self.take_all(),
            }
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

/// The payload of a frame, which may lie in several segments.
fn copy_payload(frame: &Frame, offset: usize, into: &mut [u8]) {
    let bytes = frame.segments().flatten().skip(offset);
    into.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
}

/// Panics: if a frame's payload is not what the blocks hold at this place of the stream.
fn check_payload(frame: &Frame, mut offset: usize, block: &[u8], mut at: usize) {
    for segment in frame.segments() {
        let mut part = segment.get(offset..).unwrap_or(&[]);
        offset = offset.saturating_sub(segment.len());
        while !part.is_empty() {
            let rest = &block[at % block.len()..];
            let (now, later) = part.split_at(part.len().min(rest.len()));
            assert!(now == &rest[..now.len()], "a block was sent as it is, at byte {at} of the stream");
            at += now.len();
            part = later;
        }
    }
}

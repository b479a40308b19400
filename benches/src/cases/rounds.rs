//! One round of each case: what arrives, the turns that are timed, and what must come of them.

use drivers::Frame;
use stack::socket::Op;
use stack::wire::tcp::Flags;

use super::{BLOCKS, MSS, Meter, Run, SMALL, Unmeasured, number};
use crate::far::{Say, reports};
use crate::rig::OPS;

impl Run {
    pub(super) fn requests(&mut self, meter: &mut impl Meter) -> u64 {
        for flow in self.picks(self.plan.burst) {
            self.say_small(flow, Flags::ACK | Flags::PSH);
        }
        self.turn(meter);
        self.take_answers()
    }

    /// Every answer is the request that its flow has sent last.
    pub(super) fn take_answers(&mut self) -> u64 {
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

    pub(super) fn receive(&mut self, meter: &mut impl Meter) -> u64 {
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

    pub(super) fn say_acks(&mut self, flows: &[u32]) {
        for &flow in flows {
            let frame = self.far.say(flow, &Say::ACK);
            self.frames.push(frame);
        }
    }

    pub(super) fn acknowledge(&mut self, meter: &mut impl Meter) -> u64 {
        let flows = self.send_small();
        self.say_acks(&flows);
        self.turn(meter);
        assert!(self.heard.is_empty(), "an acknowledgement is not answered");
        self.are_done(&flows)
    }

    pub(super) fn time_out(&mut self, meter: &mut impl Meter) -> u64 {
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

    pub(super) fn holes(&mut self, meter: &mut impl Meter) -> u64 {
        let flows = self.picks(self.plan.burst);
        for &flow in &flows {
            let payload = self.payload(flow);
            let say = Say { flags: Flags::ACK, ahead: number(SMALL), payload: &payload };
            let frame = self.far.say(flow, &say);
            self.frames.push(frame);
        }
        self.turn(meter);
        let mut reported = self.take_reports();
        for &flow in &flows {
            self.say_small(flow, Flags::ACK);
            let peer = &mut self.far.peers[flow as usize];
            peer.snd_nxt = peer.snd_nxt.wrapping_add(number(SMALL));
        }
        self.turn(meter);
        reported += self.take_reports();
        assert_eq!(reported, flows.len(), "each hole was reported, at once");
        self.turn(meter);
        assert!(
            flows.iter().all(|&flow| self.far.is_acknowledged(flow)),
            "each filled hole is acknowledged at once"
        );
        self.take_all();
        self.are_done(&flows)
    }

    /// The far ends take what they were sent: how many of it reported a hole.
    fn take_reports(&mut self) -> usize {
        let reports = self.heard.iter().filter(|heard| reports(&heard.segment)).count();
        self.take_all();
        reports
    }

    pub(super) fn connect(&mut self, meter: &mut impl Meter) -> u64 {
        // A connection takes four frames: so many at each step fill a burst.
        let begun = if self.ending { 0 } else { (self.plan.burst / 4).max(1).min(self.steps.idle.len()) };
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

    pub(super) fn bulk_receive(&mut self, meter: &mut impl Meter) -> u64 {
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
    pub(super) fn fill_queues(&mut self) {
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

    pub(super) fn bulk_send(&mut self, meter: &mut impl Meter) -> u64 {
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

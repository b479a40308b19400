//! What the peer knows of each pair of ports from the segments that went by, and what must hold for those that come.

use std::collections::BTreeMap;

use stack::wire::tcp::{Flags, Segment, SeqNum};

/// The engine's port and the peer's.
pub type Pair = (u16, u16);

/// The byte at a position of what the application sends on any stream.
pub fn payload_byte(position: u64) -> u8 {
    u8::try_from(position % 251).unwrap_or(0)
}

/// The byte that the peer sends at a sequence number.
pub fn peer_byte(seq: SeqNum) -> u8 {
    seq.0.wrapping_mul(0x9e37_79b1).to_be_bytes()[0]
}

/// Of the SYNs that the peer sent on a pair, as many are remembered.
const SYNS: usize = 16;

/// One pair of ports.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// The engine's initial sequence number, once seen.
    pub iss: Option<SeqNum>,
    /// Behind the last byte that the engine has sent.
    pub snd_nxt: SeqNum,
    /// What the engine has acknowledged, once it has.
    pub ack: Option<SeqNum>,
    /// Right edge of its window.
    pub edge: SeqNum,
    /// Both of the last segment with payload or FIN, and of the last without: while the port is behind, these overtake those.
    said: [Option<(SeqNum, SeqNum)>; 2],
    /// The last timestamp it sent.
    pub stamp: u32,
    /// Its windows' shift, if both have offered one.
    shift: Option<u8>,
    /// The engine has begun more than once.
    again: bool,
    /// Where the peer's bytes may begin.
    starts: Vec<SeqNum>,
    /// Where the next byte that the application gets may stand, if any was got.
    next: Vec<SeqNum>,
}

/// All pairs.
#[derive(Debug, Default)]
pub struct Conversations(BTreeMap<Pair, Conversation>);

impl Conversations {
    /// Pairs that the engine has spoken on, in their order.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.0.keys()
    }

    /// What is known of a pair.
    pub fn get(&self, pair: Pair) -> Conversation {
        self.0.get(&pair).cloned().unwrap_or_default()
    }

    /// The peer sends a SYN.
    pub fn syn(&mut self, pair: Pair, seq: SeqNum) {
        let conversation = self.0.entry(pair).or_default();
        if conversation.starts.len() == SYNS {
            conversation.starts.remove(0);
        }
        conversation.starts.push(seq + 1);
    }

    /// The engine has sent a segment. `refused`: sends were refused, so positions in the stream are not known. `behind`:
    /// the port has been behind, so data and FIN of a connection may leave after the next one on its ports has begun.
    pub fn sent(&mut self, pair: Pair, segment: &Segment, payload: &[u8], refused: bool, behind: bool) {
        if segment.flags.contains(Flags::RST) {
            // A reset speaks for no connection that goes on.
            self.0.entry(pair).or_default().forget_acknowledged();
            return;
        }
        let conversation = self.0.entry(pair).or_default();
        if segment.flags.contains(Flags::SYN) {
            conversation.begin(segment);
        }
        // A FIN waits behind data.
        let waits = !payload.is_empty() || segment.flags.contains(Flags::FIN);
        if behind && waits && (conversation.again || conversation.starts.len() > 1) {
            return;
        }
        let len = u32::try_from(payload.len()).expect("a packet's length");
        let end = segment.seq + segment.seq_len(len);
        if end.gt(conversation.snd_nxt) {
            conversation.snd_nxt = end;
        }
        if let Some((stamp, _)) = segment.options.timestamps {
            conversation.stamp = stamp;
        }
        if let Some(iss) = conversation.iss
            && !refused
        {
            let first = u64::from(segment.seq.since(iss + 1)) + u64::from(segment.flags.contains(Flags::SYN));
            for (position, byte) in (first..).zip(payload) {
                assert_eq!(*byte, payload_byte(position), "byte {position} of {pair:?}: {segment:?}");
            }
        }
        if segment.flags.contains(Flags::ACK) {
            conversation.acknowledged(pair, segment, !waits);
        }
    }

    /// The application has received bytes.
    pub fn received(&mut self, pair: Pair, bytes: &[u8]) {
        let conversation = self.0.entry(pair).or_default();
        let is_at =
            |start: &SeqNum| (0..).zip(bytes).all(|(at, byte): (u32, &u8)| *byte == peer_byte(*start + at));
        let goes_on: Vec<SeqNum> = conversation.next.iter().copied().filter(is_at).collect();
        let begins: Vec<SeqNum> = conversation.starts.iter().copied().filter(is_at).collect();
        let at = if goes_on.is_empty() { begins } else { goes_on };
        assert!(!at.is_empty(), "{} bytes that the peer never sent in this order on {pair:?}", bytes.len());
        let len = u32::try_from(bytes.len()).expect("a frame's length");
        conversation.next = at.into_iter().map(|start| start + len).collect();
    }
}

impl Conversation {
    fn begin(&mut self, segment: &Segment) {
        // Of the engine's own SYN it is not known yet whether the peer's will offer a scale too. While the clock stands
        // the next connection begins at the same number, so the number alone does not tell them apart.
        let answer = segment.flags.contains(Flags::ACK);
        let shift = segment.options.window_scale.filter(|_| answer);
        if self.iss != Some(segment.seq) {
            self.again = self.iss.is_some();
            self.iss = Some(segment.seq);
            self.snd_nxt = segment.seq + 1;
            self.forget_acknowledged();
            self.shift = shift;
        } else if answer {
            self.shift = shift;
        }
    }

    fn forget_acknowledged(&mut self) {
        (self.ack, self.said) = (None, [None, None]);
    }

    fn acknowledged(&mut self, pair: Pair, segment: &Segment, is_bare: bool) {
        let syn = segment.flags.contains(Flags::SYN);
        let shift = if syn { 0 } else { self.shift.unwrap_or(0) };
        let edge = segment.ack + (u32::from(segment.window) << shift);
        if let Some((ack_before, edge_before)) = self.said[usize::from(is_bare)].filter(|_| !syn) {
            assert!(
                segment.ack.ge(ack_before),
                "{pair:?} took back an acknowledgement: {segment:?}, {self:?}"
            );
            // What is left of a connection in TIME_WAIT tells its window in whole units.
            let kept = (edge + (1 << shift)).gt(edge_before);
            assert!(kept || self.shift.is_none(), "{pair:?} took back its window: {segment:?}, {self:?}");
        }
        self.said[usize::from(is_bare)] = Some((segment.ack, edge));
        if syn || self.ack.is_none_or(|ack| segment.ack.ge(ack)) {
            (self.ack, self.edge) = (Some(segment.ack), edge);
        }
    }
}

//! The rings between the lanes of one runtime. What goes over them is `engine::mesh`'s; when it goes, `run`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drivers::{Bell, Frame};
use rte_ring::{Consumer, Producer};

use crate::engine::{Engine, Message};
use crate::socket::LaneId;
use crate::wire::DropReason;

/// Messages that a ring between two lanes holds: a few turns' worth of bursts.
pub const RING_MESSAGES: usize = 1024;

/// Frames of lanes without a queue that wait here for a port. Beyond it they wait in the ring, then over there.
const RELAYED_MAX: usize = 1024;

/// The ends of a ring between two lanes.
pub type Ring = (Producer<Message>, Consumer<Message>);

/// One lane's ends of the rings to and from all others.
pub struct Links {
    me: LaneId,
    peers: Vec<Peer>,
    /// Of each interface, by whom to send where there is no queue.
    via: Vec<Option<usize>>,
    bell: Bell,
    ended: Arc<Ended>,
    messages: Vec<Message>,
    /// Of each interface, frames to send for lanes that have no queue there.
    relayed: Vec<Vec<Frame>>,
}

struct Peer {
    lane: LaneId,
    to: Producer<Message>,
    from: Consumer<Message>,
    bell: Bell,
}

/// Lanes that have nothing left to do, and of these the ones that have handed everything on since all had ended: one
/// bit each.
#[derive(Debug, Default)]
struct Ended {
    lanes: AtomicU64,
    drained: AtomicU64,
    all: u64,
}

impl Links {
    /// A lane without others, whose sleep `bell` ends.
    pub fn alone(me: LaneId, bell: Bell) -> Links {
        Links::one_of(me, bell, Arc::new(Ended { all: 1 << me.0, ..Ended::default() }))
    }

    fn one_of(me: LaneId, bell: Bell, ended: Arc<Ended>) -> Links {
        let (via, relayed) = (Vec::new(), Vec::new());
        Links { me, peers: Vec::new(), via, bell, ended, messages: Vec::new(), relayed }
    }

    /// A ring from each lane to each other, made by `ring`. The bells belong to the lanes in order: those of one thread
    /// share one. `queues` says of each interface how many lanes have a queue there, the first ones; the others send by
    /// way of these in turn.
    ///
    /// Errors: what `ring` returns.
    pub fn mesh<E>(
        bells: &[Bell],
        queues: &[usize],
        mut ring: impl FnMut(LaneId, LaneId) -> Result<Ring, E>,
    ) -> Result<Vec<Links>, E> {
        let lanes: Vec<LaneId> = (0..).map(LaneId).take(bells.len()).collect();
        let all = lanes.iter().fold(0, |all, lane| all | 1 << lane.0);
        let ended = Arc::new(Ended { all, ..Ended::default() });
        let one = |(&me, bell): (&LaneId, &Bell)| Links::one_of(me, bell.clone(), Arc::clone(&ended));
        let mut links: Vec<Links> = lanes.iter().zip(bells).map(one).collect();
        for (index, &a) in lanes.iter().enumerate() {
            for &b in lanes.iter().skip(index + 1) {
                let ((to_b, from_a), (to_a, from_b)) = (ring(a, b)?, ring(b, a)?);
                let peer = |lane: LaneId, to, from| Peer {
                    lane,
                    to,
                    from,
                    bell: bells[usize::from(lane.0)].clone(),
                };
                links[usize::from(a.0)].peers.push(peer(b, to_b, from_b));
                links[usize::from(b.0)].peers.push(peer(a, to_a, from_a));
            }
        }
        for (index, links) in links.iter_mut().enumerate() {
            let via = |&queues: &usize| {
                let via = LaneId(u8::try_from(index % queues.max(1)).unwrap_or(0));
                let peer = links.peers.iter().position(|peer| peer.lane == via);
                peer.filter(|_| index >= queues)
            };
            links.via = queues.iter().map(via).collect();
            links.relayed.resize_with(queues.len(), Vec::new);
        }
        Ok(links)
    }

    /// What ends this lane's sleep.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Take in what the other lanes have sent, at most a ring's worth from each. True if there was something.
    pub fn hear(&mut self, engine: &mut Engine) -> bool {
        let mut heard = false;
        for peer in &mut self.peers {
            // A port that takes nothing must not keep from us what is for another: what is still to come for it goes.
            let waiting = self.relayed.iter().map(Vec::len).min().unwrap_or(0);
            let room = RELAYED_MAX.saturating_sub(waiting).min(RING_MESSAGES);
            heard |= peer.from.dequeue_burst(&mut self.messages, room) > 0;
            for message in self.messages.drain(..) {
                let Some((interface, frame)) = engine.receive_message(peer.lane, message) else { continue };
                match self.relayed.get_mut(usize::from(interface)) {
                    Some(relayed) if relayed.len() < 2 * RELAYED_MAX => relayed.push(frame),
                    _ => engine.count_unsent(DropReason::LaneRingFull),
                }
            }
        }
        heard
    }

    /// Send what the engine has for the other lanes, and wake those that sleep. True if there was something.
    pub fn tell(&mut self, engine: &mut Engine) -> bool {
        let mut told = false;
        for peer in &mut self.peers {
            let Some(outbox) = engine.outbox(peer.lane).filter(|outbox| !outbox.is_empty()) else { continue };
            if peer.to.is_abandoned() {
                // That lane has ended, and its connections with it.
                outbox.clear();
            } else if peer.to.enqueue_burst(outbox) > 0 {
                peer.bell.ring();
                told = true;
            }
        }
        told
    }

    /// Frames to send by an interface for lanes that have no queue there.
    pub fn relayed(&mut self, interface: u8) -> Option<&mut Vec<Frame>> {
        self.relayed.get_mut(usize::from(interface))
    }

    /// Give up what was to be sent for others.
    pub fn clear_relayed(&mut self) {
        self.relayed.iter_mut().for_each(Vec::clear);
    }

    /// Send frames by way of a lane that has a queue, if this one has none. Returns how many went.
    pub fn transmit(&mut self, interface: u8, frames: &mut Vec<Frame>) -> usize {
        let via = self.via.get(usize::from(interface)).copied().flatten();
        let Some(peer) = via.and_then(|via| self.peers.get_mut(via)) else { return 0 };
        let count = frames.len().min(peer.to.room());
        self.messages.extend(frames.drain(..count).map(|frame| Message::Transmit { frame, interface }));
        let sent = peer.to.enqueue_burst(&mut self.messages);
        // Only this end fills the ring, so the room was there.
        debug_assert!(sent == count && self.messages.is_empty());
        if sent > 0 {
            peer.bell.ring();
        }
        sent
    }

    /// This lane has nothing left to do of its own. True the first time.
    pub fn end(&self) -> bool {
        let before = self.ended.lanes.fetch_or(1 << self.me.0, Ordering::AcqRel);
        let first = before & 1 << self.me.0 == 0;
        if first {
            self.ring_all();
        }
        first
    }

    fn ring_all(&self) {
        self.peers.iter().for_each(|peer| peer.bell.ring());
    }

    /// Another lane has something left to do, or has left something for this one to hand on.
    pub fn is_needed(&self) -> bool {
        if self.ended.lanes.load(Ordering::Acquire) != self.ended.all {
            return true;
        }
        let me = 1 << self.me.0;
        if self.relayed.iter().all(Vec::is_empty)
            && self.peers.iter().all(|peer| peer.from.count() == 0)
            && self.ended.drained.fetch_or(me, Ordering::AcqRel) & me == 0
        {
            self.ring_all();
        }
        self.ended.drained.load(Ordering::Acquire) != self.ended.all
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.end();
        // Whoever waits for this lane to hand something on would wait in vain.
        self.ended.drained.fetch_or(1 << self.me.0, Ordering::AcqRel);
        self.ring_all();
    }
}

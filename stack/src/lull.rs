//! What a lane without work does with its core, and how much a lane with work takes on at a time.

use core::time::Duration;

use crate::time::Instant;

/// How long a yielding lane keeps its core with nothing to do: a peer on another core answers over Linux's links in some
/// 20 us. Whoever yields a shared core may not have it again for milliseconds. By the clock, for a turn without work
/// takes 0.5 us where looking at the port calls the system (TAP), and 0.1 where its ring is memory (AF_PACKET).
const SPIN: Duration = Duration::from_micros(32);

/// How long it stays awake with nothing to do, the time in which it yields included. The shortest sleep takes no less: by
/// itself Linux lets timers be 50 us late.
const AWAKE: Duration = Duration::from_micros(48);

/// The first sleep. Each that ends with nothing to do doubles the next.
const SLEEP_MIN: Duration = Duration::from_micros(16);

/// The longest sleep at first. Other lanes and wakers end a sleep at once; only what comes from a port waits for it, and not
/// where the port wakes whoever sleeps.
const SLEEP_MAX: Duration = Duration::from_millis(1);

/// Sleeps, about a quarter of a second, after which a lane sleeps longer: a thousand wake-ups a second cost two per cent
/// of a core.
const DOZE_SLEEPS: u32 = 256;

/// The longest sleep of all: latency after idling is at most this and the scheduler's wake-up.
const DOZE_MAX: Duration = Duration::from_millis(4);

/// The longest sleep of a lane that what comes from its ports wakes: a stop waits for it.
const WATCH_MAX: Duration = Duration::from_millis(50);

/// Times that a port may say in vain that something has come, before the lane looks for itself.
const ALARMS_MAX: u32 = 8;

/// A burst may follow a burst within a turn, up to so many of each port: applications get their turn too.
const BURSTS_MAX: u32 = 4;

/// Turns that left something waiting, one behind the other, after which a turn takes twice as much.
const FULL_TURNS: u32 = 8;

/// Bursts of each port that a turn takes.
///
/// Answers go at the end of a turn. A peer all of whose requests are answered in one turn has nothing to do meanwhile, and then
/// leaves the lane without: sixty-four requests in flight over shared memory were answered at half the rate. So it is one
/// burst while ports are emptied, and more while they are not, for a turn has its own cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Helping {
    pub bursts: u32,
    /// Turns that left something waiting, up to the last, since it grew.
    full: u32,
}

/// The time in which nothing moves, and what a yielding lane does with it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lull {
    /// When the first turn without work began.
    since: Option<Instant>,
    sleeps: u32,
    /// How often a port has said that something had come.
    alarms: u32,
}

/// What to do with a turn's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pause {
    /// Look again at once.
    Spin,
    /// Let others have the core, if there are any.
    Yield,
    /// For no longer than that.
    Sleep(Duration),
}

impl Helping {
    pub const FIRST: Helping = Helping { bursts: 1, full: 0 };

    /// A turn has ended: `left` if a port had as much as it was asked for, and so perhaps more.
    pub fn note(&mut self, left: bool) {
        if !left {
            *self = Helping::FIRST;
            return;
        }
        self.full += 1;
        if self.full == FULL_TURNS {
            *self = Helping { bursts: (2 * self.bursts).min(BURSTS_MAX), full: 0 };
        }
    }
}

impl Lull {
    /// A port says that something has come. If so, the next turn ends this.
    pub fn alarm(&mut self) {
        self.alarms = self.alarms.saturating_add(1);
    }

    /// What ports say is worth waking for: what they have they also give. Without a frame to receive into they cannot.
    pub fn heeds(&self) -> bool {
        self.alarms < ALARMS_MAX
    }

    /// A turn that began at `now` had nothing to do. `watched`: whatever comes ends a sleep.
    pub fn pause(&mut self, now: Instant, watched: bool) -> Pause {
        let lasted = now.saturating_since(*self.since.get_or_insert(now));
        if lasted < SPIN {
            return Pause::Spin;
        }
        if lasted < AWAKE {
            return Pause::Yield;
        }
        if watched {
            return Pause::Sleep(WATCH_MAX);
        }
        let most = if self.sleeps < DOZE_SLEEPS { SLEEP_MAX } else { DOZE_MAX };
        let sleep = most.min(SLEEP_MIN * (1 << self.sleeps.min(16)));
        self.sleeps = self.sleeps.saturating_add(1);
        Pause::Sleep(sleep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a lull's turns end with, each `turn` after the one before, in order and without repetitions.
    fn pauses(turn: Duration, turns: u32) -> Vec<Pause> {
        let mut lull = Lull::default();
        let began =
            (0..turns).map(|number| Instant::ZERO.saturating_add(Duration::from_secs(1) + turn * number));
        let mut pauses: Vec<_> = began.map(|now| lull.pause(now, false)).collect();
        pauses.dedup();
        pauses
    }

    #[test]
    fn a_turn_takes_more_while_more_is_waiting() {
        // Shows how a turn's bursts grow, up to their bound, and that one that leaves nothing begins anew.
        let mut helping = Helping::FIRST;
        let mut turns = |full: bool, turns: u32| {
            (0..turns).for_each(|_| helping.note(full));
            helping.bursts
        };
        assert_eq!([turns(true, 7), turns(true, 1), turns(true, 8), turns(true, 80)], [1, 2, 4, 4]);
        assert_eq!([turns(false, 1), turns(true, 7), turns(false, 1), turns(true, 7)], [1; 4]);
    }

    #[test]
    fn a_lane_keeps_awake_by_the_clock() {
        // Shows that turns of any length, as links differ in it, end in the first sleep at the same time.
        for turn in [50, 500, 4_000].map(Duration::from_nanos) {
            let turns = u32::try_from(AWAKE.as_nanos() / turn.as_nanos()).expect("few");
            assert_eq!(pauses(turn, turns), [Pause::Spin, Pause::Yield]);
            assert_eq!(pauses(turn, turns + 1), [Pause::Spin, Pause::Yield, Pause::Sleep(SLEEP_MIN)]);
        }
        // Who lost its core meanwhile has looked once more.
        assert_eq!(pauses(SLEEP_MAX, 2), [Pause::Spin, Pause::Sleep(SLEEP_MIN)]);
    }

    #[test]
    fn sleeps_grow_to_their_bounds() {
        // Shows each length of a sleep once, the last one only after many of the one before.
        let expected =
            [16, 32, 64, 128, 256, 512, 1_000, 4_000].map(|us| Pause::Sleep(Duration::from_micros(us)));
        assert_eq!(pauses(AWAKE, DOZE_SLEEPS + 2)[1..], expected);
        assert_eq!(pauses(AWAKE, DOZE_SLEEPS + 1)[1..], expected[..7]);
        let mut lull = Lull::default();
        let began = Instant::ZERO.saturating_add(AWAKE);
        assert_eq!(
            [lull.pause(Instant::ZERO, true), lull.pause(began, true)],
            [Pause::Spin, Pause::Sleep(WATCH_MAX)]
        );
        let heeded = (0..100).filter(|_| {
            let heeds = lull.heeds();
            lull.alarm();
            heeds
        });
        assert_eq!(heeded.count(), 8);
    }
}

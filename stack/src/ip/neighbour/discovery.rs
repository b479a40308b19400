//! What the cache learns from neighbour discovery (RFC 4861 section 7), and the times that routers set.
//! Messages as bytes are `wire::discovery`'s, what is answered to them is the engine's.

use super::{Action, Cache, State};
use crate::time::Instant;
use crate::wire::discovery::NeighbourAdvertisement;
use crate::wire::{DropReason, MacAddress};
use core::hash::BuildHasher;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

/// What an advertisement has changed beyond the cache.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Change {
    /// Nothing.
    None,
    /// The neighbour was a router and says that it is none any more: it leads nowhere.
    NoRouter,
}

/// The longest that routers may have us believe a confirmation (RFC 4861 section 6.2.1's bound of an hour).
const REACHABLE_MAX: Duration = Duration::from_hours(1);

/// The least and most that they may have us wait between solicitations, whatever they say.
pub const RETRANSMIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

impl<P> Cache<P> {
    /// Learns of the sender of a solicitation, a router solicitation, an advertisement of a router or a redirect: its
    /// station as it says. `router` is known of those that only routers send.
    ///
    /// Nothing is overwritten by what is the same, and nobody becomes reachable by what he asks.
    //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.3
    //# If an entry does not already exist, the node SHOULD create a new one
    //# and set its reachability state to STALE
    pub fn learn_station(
        &mut self,
        address: Ipv6Addr,
        station: MacAddress,
        router: Option<bool>,
        ours: Ipv6Addr,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) {
        let Some(at) = self.find_or_insert(IpAddr::V6(address), IpAddr::V6(ours), now, out) else { return };
        let Some(entry) = self.entries.get_mut(at) else { return };
        entry.router = router.unwrap_or(entry.router);
        let is_news = entry.state == State::Incomplete || entry.mac != station;
        if is_news && entry.state != State::Static {
            self.resolved(at, station, State::Stale, now, out);
        }
    }

    /// A neighbour has spoken as a router, without naming its station.
    //= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.4
    //# If no Source Link-Layer Address is included, but a
    //# corresponding Neighbor Cache entry exists, its IsRouter flag MUST be
    //# set to TRUE.
    pub fn note_router(&mut self, address: Ipv6Addr) {
        let at = self.index.get(&IpAddr::V6(address)).copied();
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            entry.router = true;
        }
    }

    /// Takes in a neighbour advertisement.
    ///
    /// Errors: `DiscoveryNotForUs` if nobody asked for that neighbour, or it says no station though none is known.
    pub fn receive_advertisement(
        &mut self,
        said: &NeighbourAdvertisement,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) -> Result<Change, DropReason> {
        //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.5
        //# If no entry exists, the advertisement SHOULD be silently discarded.
        let at = *self.index.get(&IpAddr::V6(said.target)).ok_or(DropReason::DiscoveryNotForUs)?;
        let entry = self.entries.get_mut(at).ok_or(DropReason::DiscoveryNotForUs)?;
        let NeighbourAdvertisement { router, solicited, overrides, station, .. } = *said;
        if entry.state == State::Static {
            return Ok(Change::None);
        }
        let known = (entry.state != State::Incomplete).then_some(entry.mac);
        let state = if solicited { State::Reachable } else { State::Stale };
        match (known, station) {
            //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.5
            //# If the link layer has addresses and no Target Link-Layer Address
            //# option is included, the receiving node SHOULD silently discard the
            //# received advertisement.
            (None, None) => return Err(DropReason::DiscoveryNotForUs),
            (None, Some(station)) => {
                entry.router = router;
                self.resolved(at, station, state, now, out);
                return Ok(Change::None);
            }
            (Some(mac), Some(station)) if mac != station && !overrides => {
                //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.5
                //# If the state of the entry is REACHABLE, set it to STALE, but
                //# do not update the entry in any other way.
                if entry.state == State::Reachable {
                    self.resolved(at, mac, State::Stale, now, out);
                }
                return Ok(Change::None);
            }
            _ => {}
        }
        let was_router = core::mem::replace(&mut entry.router, router);
        let mac = entry.mac;
        let station = station.unwrap_or(mac);
        if solicited || station != mac {
            self.resolved(at, station, state, now, out);
        }
        //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.5
        //# In those cases
        //# where the IsRouter flag changes from TRUE to FALSE as a result of this
        //# update, the node MUST remove that router from the Default Router List
        Ok(if was_router && !router { Change::NoRouter } else { Change::None })
    }

    /// Takes over the times that a router names; what it leaves open stays.
    //= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.4
    //# If the received Reachable Time value is non-zero, the host SHOULD set
    //# its BaseReachableTime variable to the received value.
    pub fn set_times(&mut self, reachable: Option<Duration>, retransmit: Option<Duration>) {
        if let Some(base) = reachable {
            self.link.reachable = self.spread(base.min(REACHABLE_MAX));
        }
        if let Some(time) = retransmit {
            self.link.retransmit = time.clamp(RETRANSMIT.0, RETRANSMIT.1);
        }
    }

    /// A time of a half to one and a half of `base`, so that neighbours do not all ask at once; this host's own.
    //= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.2
    //# This value should be a uniformly
    //# distributed random value between MIN_RANDOM_FACTOR and
    //# MAX_RANDOM_FACTOR times BaseReachableTime milliseconds.
    fn spread(&self, base: Duration) -> Duration {
        let dice = self.index.hasher().hash_one((self.mac, base)) % 1024;
        base / 2 + base * u32::try_from(dice).unwrap_or(0) / 1024
    }

    pub(super) fn reachable_time(&self, address: IpAddr) -> Duration {
        if address.is_ipv4() { self.config.reachable_time } else { self.link.reachable }
    }

    /// The time between solicitations, as routers have set it.
    #[must_use]
    pub fn retransmit_time(&self) -> Duration {
        self.link.retransmit
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, DELAY_FIRST_PROBE_TIME};
    use super::*;
    use crate::ip::KeyedHash;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const THEIRS: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
    const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 3]);
    const US: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const THEM: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    fn cache() -> Cache<u32> {
        Cache::new(MAC, Config::default(), KeyedHash::new([1, 2]))
    }

    fn says(flags: &str, station: Option<MacAddress>) -> NeighbourAdvertisement {
        let has = |flag| flags.contains(flag);
        NeighbourAdvertisement {
            router: has('R'),
            solicited: has('S'),
            overrides: has('O'),
            target: THEM,
            station,
        }
    }

    /// A cache in this state, with THEIRS for THEM, and what was done.
    fn known(state: State) -> Cache<u32> {
        let (mut cache, mut out) = (cache(), Vec::new());
        cache.hold(THEM.into(), US.into(), 7, at(0), &mut out);
        if state != State::Incomplete {
            let flags = if state == State::Reachable { "RS" } else { "R" };
            cache.receive_advertisement(&says(flags, Some(THEIRS)), at(0), &mut out).unwrap();
        }
        cache
    }

    #[test]
    fn a_neighbour_is_asked_for_and_found() {
        // Shows three solicitations of the group a second apart, the packet that waits and leaves, and the failure.
        let (mut cache, mut out) = (cache(), Vec::new());
        cache.hold(THEM.into(), US.into(), 7, at(0), &mut out);
        let ask = || Action::Solicit { to: None, source: US, target: THEM };
        assert_eq!(out, [ask()]);
        for second in 1..3 {
            out.clear();
            cache.advance(at(1000 * second), &mut out);
            assert_eq!(out, [ask()]);
        }
        out.clear();
        cache.advance(at(3000), &mut out);
        let failed = Action::Failed { packet: 7, address: THEM.into(), reason: DropReason::NeighbourFailed };
        assert_eq!(out, [failed]);
        out.clear();
        cache.hold(THEM.into(), US.into(), 8, at(4000), &mut out);
        cache.receive_advertisement(&says("SO", Some(THEIRS)), at(4001), &mut out).unwrap();
        assert_eq!(out, [ask(), Action::Release { packet: 8, to: THEIRS }]);
        assert_eq!(cache.state(THEM.into()), Some(State::Reachable));
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.5
    //= type=test
    //# If the state of the entry is REACHABLE, set it to STALE, but
    //# do not update the entry in any other way.
    fn advertisements_change_what_they_may() {
        // Shows the table of section 7.2.5: state × flags × station against the state and station that follow.
        use State::{Delay, Incomplete, Reachable};
        // An entry that a packet waited for is in use, so what would be STALE is in DELAY.
        let cases = [
            (Incomplete, "S", Some(OTHER), Reachable, OTHER),
            (Incomplete, "", Some(OTHER), Delay, OTHER),
            (Reachable, "", Some(OTHER), State::Stale, THEIRS),
            (Reachable, "S", Some(OTHER), State::Stale, THEIRS),
            (Reachable, "O", Some(OTHER), State::Stale, OTHER),
            (Reachable, "SO", Some(OTHER), Reachable, OTHER),
            (Reachable, "", Some(THEIRS), Reachable, THEIRS),
            (Reachable, "O", None, Reachable, THEIRS),
            (Delay, "", Some(OTHER), Delay, THEIRS),
            (Delay, "S", Some(OTHER), Delay, THEIRS),
            (Delay, "S", None, Reachable, THEIRS),
            (Delay, "S", Some(THEIRS), Reachable, THEIRS),
            (Delay, "O", Some(OTHER), State::Stale, OTHER),
        ];
        for (state, flags, station, after, mac) in cases {
            let mut cache = known(state);
            assert_eq!(cache.state(THEM.into()), Some(state));
            cache.receive_advertisement(&says(flags, station), at(1), &mut Vec::new()).unwrap();
            assert_eq!(cache.state(THEM.into()), Some(after), "{state:?} {flags} {station:?}");
            assert_eq!(cache.resolve(THEM.into(), at(1)), Some(mac), "{state:?} {flags} {station:?}");
        }
        //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.5
        //= type=test
        //# If the link layer has addresses and no Target Link-Layer Address
        //# option is included, the receiving node SHOULD silently discard the
        //# received advertisement.
        let nothing = known(Incomplete).receive_advertisement(&says("S", None), at(1), &mut Vec::new());
        assert_eq!(nothing, Err(DropReason::DiscoveryNotForUs));
        //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.5
        //= type=test
        //# If no entry exists, the advertisement SHOULD be silently discarded.
        let stranger = cache().receive_advertisement(&says("SO", Some(THEIRS)), at(1), &mut Vec::new());
        assert_eq!(stranger, Err(DropReason::DiscoveryNotForUs));
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.5
    //= type=test
    //# In those cases
    //# where the IsRouter flag changes from TRUE to FALSE as a result of this
    //# update, the node MUST remove that router from the Default Router List
    fn a_router_that_is_none_any_more() {
        // Shows that the change is told, once, and not by an advertisement that may not change anything.
        let mut cache = known(State::Reachable);
        let mut hear = |said| cache.receive_advertisement(&said, at(1), &mut Vec::new());
        assert_eq!(hear(says("", Some(OTHER))), Ok(Change::None));
        assert_eq!(hear(says("S", Some(THEIRS))), Ok(Change::NoRouter));
        assert_eq!(hear(says("S", Some(THEIRS))), Ok(Change::None));
        //= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.4
        //= type=test
        //# If no Source Link-Layer Address is included, but a
        //# corresponding Neighbor Cache entry exists, its IsRouter flag MUST be
        //# set to TRUE.
        cache.note_router(THEM);
        cache.note_router("fe80::77".parse().unwrap());
        assert_eq!(
            cache.receive_advertisement(&says("S", Some(THEIRS)), at(2), &mut Vec::new()),
            Ok(Change::NoRouter)
        );
    }

    #[test]
    fn an_entry_in_use_is_probed_at_its_station() {
        // Shows DELAY, three probes to the station itself, and the end of an entry that stays silent.
        let mut cache = known(State::Delay);
        let (mut out, mut times) = (Vec::new(), Vec::new());
        while let Some(now) = cache.next_deadline() {
            cache.advance(now, &mut out);
            let probe = Action::Solicit { to: Some(THEIRS), source: US, target: THEM };
            times.extend(out.drain(..).map(|action| (now.0 / 1_000_000, action == probe)));
        }
        let first = u64::try_from(DELAY_FIRST_PROBE_TIME.as_millis()).unwrap();
        assert_eq!(times, [(first, true), (first + 1000, true), (first + 2000, true)]);
        assert!(cache.is_empty());
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.3
    //= type=test
    //# If an entry does not already exist, the node SHOULD create a new one
    //# and set its reachability state to STALE
    fn who_asks_is_known() {
        // Shows that a solicitation makes an entry, changes a station, and confirms nothing that it need not.
        let (mut cache, mut out) = (cache(), Vec::new());
        cache.learn_station(THEM, THEIRS, None, US, at(0), &mut out);
        assert_eq!(cache.state(THEM.into()), Some(State::Stale));
        cache.receive_advertisement(&says("S", None), at(1), &mut out).unwrap();
        cache.learn_station(THEM, THEIRS, None, US, at(2), &mut out);
        assert_eq!(cache.state(THEM.into()), Some(State::Reachable));
        cache.learn_station(THEM, OTHER, None, US, at(3), &mut out);
        assert_eq!(
            (cache.state(THEM.into()), cache.resolve(THEM.into(), at(3))),
            (Some(State::Stale), Some(OTHER))
        );
        cache.add_static(THEM.into(), THEIRS, at(4), &mut out);
        cache.learn_station(THEM, OTHER, None, US, at(5), &mut out);
        cache.receive_advertisement(&says("SO", Some(OTHER)), at(5), &mut out).unwrap();
        assert_eq!(cache.resolve(THEM.into(), at(6)), Some(THEIRS));
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.2
    //= type=test
    //# This value should be a uniformly
    //# distributed random value between MIN_RANDOM_FACTOR and
    //# MAX_RANDOM_FACTOR times BaseReachableTime milliseconds.
    fn routers_set_the_times() {
        // Shows a reachable time around what was said and bounded, another for another host, and ARP's untouched.
        let mut cache = cache();
        let time = |cache: &mut Cache<u32>, base| {
            cache.set_times(Some(Duration::from_secs(base)), None);
            cache.reachable_time(THEM.into()).as_millis()
        };
        assert!((50_000..150_000).contains(&time(&mut cache, 100)));
        assert!(time(&mut cache, 1 << 30) <= 5_400_000);
        let mut other = Cache::<u32>::new(OTHER, Config::default(), KeyedHash::new([1, 2]));
        assert_ne!(time(&mut cache, 100), time(&mut other, 100));
        let four = "10.0.0.1".parse().unwrap();
        assert_eq!(cache.reachable_time(four), Config::default().reachable_time);
        cache.set_times(None, Some(Duration::from_millis(1)));
        assert_eq!(cache.retransmit_time(), Duration::from_millis(100));
    }
}

//! The IPv6 addresses of one interface: which are ours and since when, whether another station has them (duplicate
//! address detection), and what routers give us (RFC 4862, and RFC 4861 section 6.3): plain data and virtual time.
//! Messages as bytes are `wire::discovery`'s; routes and frames are the engine's.

mod identifiers;
mod routers;

use self::routers::Routers;
use super::KeyedHash;
use super::route::{Class, class_of};
use crate::config::{Identifiers, Ipv6Config};
use crate::time::Instant;
use crate::wire::discovery::{Ask, Prefix};
use crate::wire::{MacAddress, ipv6};
use core::hash::BuildHasher;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

/// Addresses of one interface: more prefixes than routers have reason to give.
pub const ADDRESSES_MAX: usize = 32;

/// The longest that an address waits before it is first asked for (RFC 4861 section 10, MAX_RTR_SOLICITATION_DELAY).
const DELAY_MAX: Duration = Duration::from_secs(1);

/// Other identifiers that are tried after one that another station has (RFC 7217 section 7, IDGEN_RETRIES).
const IDENTIFIERS_MAX: u8 = 3;

/// What an unauthenticated router may not shorten an address's life to (RFC 4862 section 5.5.3).
const LIFE_MIN: Duration = Duration::from_hours(2);

/// Bits of a prefix in which a host may make itself an address (RFC 4291 section 2.5.1).
const PREFIX_BITS: u8 = 64;

/// What the caller must do.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Action {
    /// Send this message, with hop limit 255, to a group.
    Ask {
        /// The message.
        ask: Ask,
        /// From which address of ours, or the unspecified one.
        source: Ipv6Addr,
        /// To which group.
        destination: Ipv6Addr,
    },
    /// Tell the routers that listen that we are in the group of an address, before it is asked for and once it is ours.
    Joined {
        /// The address.
        address: Ipv6Addr,
    },
    /// Tell them of all our groups, for they have asked.
    Listening,
    /// The address is ours from now on.
    Add {
        /// The address.
        address: Ipv6Addr,
        /// Leading bits that neighbours share; 128: it says nothing of neighbours.
        prefix_len: u8,
    },
    /// It is ours no longer.
    Remove {
        /// The address.
        address: Ipv6Addr,
    },
    /// Connections should no longer begin with it, or they may again.
    Deprecate {
        /// The address.
        address: Ipv6Addr,
        /// They should not.
        deprecated: bool,
    },
    /// Another station has it: it is not ours, and will not be.
    Duplicate {
        /// The address.
        address: Ipv6Addr,
    },
    /// These addresses are neighbours from now on, or no longer.
    OnLink {
        /// Their leading bits.
        prefix: Ipv6Addr,
        /// How many.
        len: u8,
        /// They are.
        on: bool,
    },
    /// This router leads to everything else from now on, or no longer.
    Router {
        /// Its link-local address.
        address: Ipv6Addr,
        /// It does.
        on: bool,
    },
    /// What the link takes. Units: bytes, with IP header.
    Mtu(u16),
    /// The hop limit of what we send.
    HopLimit(u8),
    /// Times of neighbour discovery, where they were said.
    Times {
        /// How long a confirmation is good for.
        reachable: Option<Duration>,
        /// Time between solicitations.
        retransmit: Option<Duration>,
    },
}

/// Whose idea an address was.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
enum Origin {
    Operator,
    LinkLocal,
    Router,
}

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
enum State {
    /// Asked for, `left` more times; then ours.
    Tentative { left: u8 },
    /// Ours.
    Assigned,
    /// Another's.
    Duplicate,
}

#[derive(Clone, Debug)]
struct Entry {
    address: Ipv6Addr,
    prefix_len: u8,
    origin: Origin,
    state: State,
    /// When a tentative one is asked for again, or ours.
    due: Instant,
    preferred_until: Instant,
    valid_until: Instant,
    deprecated: bool,
    /// Identifiers tried before.
    tried: u8,
}

/// The addresses of one interface.
#[derive(Debug)]
pub struct Addresses {
    mac: MacAddress,
    mtu: u16,
    config: Ipv6Config,
    hash: KeyedHash,
    /// Between two solicitations, as routers have set it.
    retransmit: Duration,
    entries: Vec<Entry>,
    routers: Routers,
    /// When routers are told of our groups.
    report_at: Instant,
    next: Instant,
}

impl Addresses {
    /// None yet, on a link that takes packets of `mtu` bytes.
    #[must_use]
    pub fn new(mac: MacAddress, mtu: u16, config: Ipv6Config, hash: KeyedHash) -> Self {
        Self {
            mac,
            mtu,
            config,
            hash,
            retransmit: super::neighbour::RETRY_INTERVAL,
            entries: Vec::new(),
            routers: Routers::default(),
            report_at: Instant::FOREVER,
            next: Instant::FOREVER,
        }
    }

    /// Speak IPv6 from now on: take a link-local address, without which there is no neighbour discovery.
    //= https://www.rfc-editor.org/rfc/rfc4291#section-2.1
    //# All interfaces are required to have at least one Link-Local unicast
    //# address
    pub fn start(&mut self, now: Instant, out: &mut Vec<Action>) {
        if !self.entries.iter().any(|entry| entry.address.is_unicast_link_local()) {
            let address = self.made(ipv6::LINK_LOCAL, 0);
            self.add(address, PREFIX_BITS, Origin::LinkLocal, now, out);
        }
    }

    /// Take an address that the operator has named. False if it is none for a host, or there are too many.
    pub fn add_static(
        &mut self,
        address: Ipv6Addr,
        prefix_len: u8,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> bool {
        class_of(IpAddr::V6(address)) == Class::Unicast
            && self.add(address, prefix_len, Origin::Operator, now, out)
    }

    /// Give an address up, whoever named it.
    pub fn remove(&mut self, address: Ipv6Addr, out: &mut Vec<Action>) {
        if let Some(at) = self.find(address) {
            self.take_out(at, out);
        }
        self.plan();
    }

    /// All addresses that we have or ask for: we are in their groups.
    pub fn groups(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.entries.iter().filter(|entry| entry.state != State::Duplicate).map(|entry| entry.address)
    }

    /// The address is to be ours soon.
    #[must_use]
    pub fn is_tentative(&self, address: Ipv6Addr) -> bool {
        let tentative = |entry: &Entry| matches!(entry.state, State::Tentative { .. });
        self.find(address).and_then(|at| self.entries.get(at)).is_some_and(tentative)
    }

    /// The address is ours.
    #[must_use]
    pub fn is_assigned(&self, address: Ipv6Addr) -> bool {
        self.find(address)
            .and_then(|at| self.entries.get(at))
            .is_some_and(|entry| entry.state == State::Assigned)
    }

    /// Addresses that were named or made and that another station has.
    #[must_use]
    pub fn duplicates(&self) -> usize {
        self.entries.iter().filter(|entry| entry.state == State::Duplicate).count()
    }

    /// IPv6 is spoken here.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.entries.is_empty() || self.config.routers
    }

    /// Some address is to be ours soon.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.state, State::Tentative { .. }))
    }

    /// Our link-local address, once we have it.
    #[must_use]
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        let ours = |entry: &&Entry| entry.state == State::Assigned && entry.address.is_unicast_link_local();
        self.entries.iter().find(ours).map(|entry| entry.address)
    }

    /// Another station asks for an address that we ask for, or says that it has it.
    //= https://www.rfc-editor.org/rfc/rfc4862#section-5.4.3
    //# If the solicitation is from another node, the tentative
    //# address is a duplicate and should not be used (by either node).
    pub fn on_conflict(&mut self, address: Ipv6Addr, now: Instant, out: &mut Vec<Action>) {
        if !self.is_tentative(address) {
            return;
        }
        let Some(at) = self.find(address) else { return };
        let Some(entry) = self.entries.get_mut(at) else { return };
        entry.state = State::Duplicate;
        let Entry { origin, tried, preferred_until, valid_until, .. } = *entry;
        let opaque = matches!(self.config.identifiers, Identifiers::Opaque(_));
        if origin == Origin::Operator || !opaque || tried >= IDENTIFIERS_MAX {
            out.push(Action::Duplicate { address });
            return self.plan();
        }
        let prefix = Ipv6Addr::from(u128::from(address) >> 64 << 64);
        let other = self.made(prefix, tried + 1);
        let prefix_len = entry_prefix(origin);
        self.entries.remove(at);
        if self.add(other, prefix_len, origin, now, out)
            && let Some(entry) = self.entries.last_mut()
        {
            entry.tried = tried + 1;
            (entry.preferred_until, entry.valid_until) = (preferred_until, valid_until);
        }
        self.plan();
    }

    /// A router asks for our groups, and leaves us so much time for the answer.
    //= https://www.rfc-editor.org/rfc/rfc3810#section-6.2
    //# Instead of responding immediately, the node
    //# delays its response by a random amount of time, bounded by the
    pub fn on_query(&mut self, within: Duration, now: Instant) {
        let dice = self.hash.hash_one((self.mac, now.0)) % 1024;
        let delay = within * u32::try_from(dice).unwrap_or(0) / 1024;
        self.report_at = self.report_at.min(now.saturating_add(delay));
        self.plan();
    }

    /// When `advance` has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        (self.next != Instant::FOREVER).then_some(self.next)
    }

    /// Does what is due: asks again, takes addresses, lets addresses, prefixes and routers go.
    pub fn advance(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.next > now {
            return;
        }
        for at in (0..self.entries.len()).rev() {
            self.advance_entry(at, now, out);
        }
        if self.report_at <= now {
            self.report_at = Instant::FOREVER;
            out.push(Action::Listening);
        }
        self.solicit(now, out);
        self.routers.expire(now, out);
        self.plan();
    }

    fn advance_entry(&mut self, at: usize, now: Instant, out: &mut Vec<Action>) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        if entry.valid_until <= now {
            //= https://www.rfc-editor.org/rfc/rfc4862#section-5.5.4
            //# An address (and its association with an interface) becomes invalid
            //# when its valid lifetime expires.
            return self.take_out(at, out);
        }
        entry.judge(now, out);
        let address = entry.address;
        match entry.state {
            State::Tentative { left } if entry.due <= now && left > 0 => {
                //= https://www.rfc-editor.org/rfc/rfc4862#section-5.4.2
                //# The
                //# solicitation's Target Address is set to the address being checked,
                //# the IP source is set to the unspecified address, and the IP
                entry.state = State::Tentative { left: left - 1 };
                entry.due = now.saturating_add(self.retransmit);
                let ask = Ask::Neighbour { target: address, station: None };
                let destination = ipv6::solicited_node(address);
                //= https://www.rfc-editor.org/rfc/rfc4862#section-5.4.2
                //# Before sending a Neighbor Solicitation, an interface MUST join the
                //# all-nodes multicast address and the solicited-node multicast address
                //# of the tentative address.
                out.push(Action::Joined { address });
                out.push(Action::Ask { ask, source: Ipv6Addr::UNSPECIFIED, destination });
            }
            State::Tentative { .. } if entry.due <= now => self.assign(at, now, out),
            _ => {}
        }
    }

    /// Nobody else has it.
    fn assign(&mut self, at: usize, now: Instant, out: &mut Vec<Action>) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        entry.state = State::Assigned;
        let Entry { address, prefix_len, .. } = *entry;
        out.push(Action::Add { address, prefix_len });
        out.push(Action::Joined { address });
        entry.judge(now, out);
        // Whoever remembers another station with it learns at once, as with a gratuitous ARP.
        let ask = Ask::Ours { target: address, station: self.mac, solicited: false, overrides: true };
        out.push(Action::Ask { ask, source: address, destination: ipv6::ALL_NODES });
        if address.is_unicast_link_local() && self.config.routers {
            self.routers.begin(now);
        }
    }

    fn add(
        &mut self,
        address: Ipv6Addr,
        prefix_len: u8,
        origin: Origin,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> bool {
        if self.find(address).is_some() {
            return true;
        }
        if self.entries.len() >= ADDRESSES_MAX {
            return false;
        }
        let left = self.config.duplicate_transmits;
        //= https://www.rfc-editor.org/rfc/rfc4862#section-5.4.2
        //# If the Neighbor Solicitation is going to be the first message sent
        //# from an interface after interface (re)initialization, the node SHOULD
        //# delay joining the solicited-node multicast address by a random delay
        let dice = self.hash.hash_one((self.mac, address)) % 1024;
        let delay = DELAY_MAX * u32::try_from(dice).unwrap_or(0) / 1024;
        self.entries.push(Entry {
            address,
            prefix_len,
            origin,
            state: State::Tentative { left },
            due: if left > 0 { now.saturating_add(delay) } else { now },
            preferred_until: Instant::FOREVER,
            valid_until: Instant::FOREVER,
            deprecated: false,
            tried: 0,
        });
        if left == 0 {
            self.assign(self.entries.len() - 1, now, out);
        }
        self.plan();
        true
    }

    /// What a router says of a prefix in which hosts may make themselves addresses.
    fn on_prefix(&mut self, said: &Prefix, now: Instant, out: &mut Vec<Action>) {
        let link_local = said.prefix.is_unicast_link_local();
        //= https://www.rfc-editor.org/rfc/rfc4862#section-5.5.3
        //# c)  If the preferred lifetime is greater than the valid lifetime,
        //#   silently ignore the Prefix Information option.
        if !said.autonomous || link_local || said.preferred_s > said.valid_s || said.prefix.is_multicast() {
            return;
        }
        //= https://www.rfc-editor.org/rfc/rfc4862#section-5.5.3
        //# If the sum of the prefix length and interface identifier length
        //# does not equal 128 bits, the Prefix Information option MUST be
        //# ignored.
        if said.len != PREFIX_BITS {
            return;
        }
        let (preferred, valid) = (after(now, said.preferred_s), after(now, said.valid_s));
        let same = |entry: &&mut Entry| {
            entry.origin == Origin::Router && u128::from(entry.address) >> 64 == u128::from(said.prefix) >> 64
        };
        if let Some(entry) = self.entries.iter_mut().find(same) {
            entry.preferred_until = preferred;
            let floor = now.saturating_add(LIFE_MIN);
            //= https://www.rfc-editor.org/rfc/rfc4862#section-5.5.3
            //# 1.  If the received Valid Lifetime is greater than 2 hours or
            //#     greater than RemainingLifetime, set the valid lifetime of the
            //#     corresponding address to the advertised Valid Lifetime.
            if valid > floor || valid > entry.valid_until {
                entry.valid_until = valid;
            } else if entry.valid_until > floor {
                entry.valid_until = floor;
            }
            return entry.judge(now, out);
        }
        let address = self.made(said.prefix, 0);
        if said.valid_s == 0 || self.find(address).is_some() {
            return;
        }
        if self.add(address, entry_prefix(Origin::Router), Origin::Router, now, out)
            && let Some(entry) = self.entries.last_mut()
        {
            (entry.preferred_until, entry.valid_until) = (preferred, valid);
            entry.judge(now, out);
        }
    }

    fn find(&self, address: Ipv6Addr) -> Option<usize> {
        self.entries.iter().position(|entry| entry.address == address)
    }

    fn take_out(&mut self, at: usize, out: &mut Vec<Action>) {
        let entry = self.entries.remove(at);
        if entry.state == State::Assigned {
            out.push(Action::Remove { address: entry.address });
        }
    }

    /// Note when something is next to be done.
    fn plan(&mut self) {
        let of_entry = |entry: &Entry| {
            let due =
                if matches!(entry.state, State::Tentative { .. }) { entry.due } else { Instant::FOREVER };
            let preferred = if entry.deprecated { Instant::FOREVER } else { entry.preferred_until };
            due.min(preferred).min(entry.valid_until)
        };
        let entries = self.entries.iter().map(of_entry).min().unwrap_or(Instant::FOREVER);
        self.next = entries.min(self.routers.next()).min(self.report_at);
    }
}

impl Entry {
    /// Note whether connections may begin with the address.
    fn judge(&mut self, now: Instant, out: &mut Vec<Action>) {
        let deprecated = self.preferred_until <= now;
        if self.state == State::Assigned && self.deprecated != deprecated {
            self.deprecated = deprecated;
            out.push(Action::Deprecate { address: self.address, deprecated });
        }
    }
}

/// Leading bits that an address shares with neighbours for all that its maker knows.
const fn entry_prefix(origin: Origin) -> u8 {
    match origin {
        Origin::Router => 128,
        Origin::Operator | Origin::LinkLocal => PREFIX_BITS,
    }
}

/// When a time that a router has named is over.
fn after(now: Instant, seconds: u32) -> Instant {
    match seconds {
        u32::MAX => Instant::FOREVER,
        seconds => now.saturating_add(Duration::from_secs(seconds.into())),
    }
}

#[cfg(test)]
mod tests;

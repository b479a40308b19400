//! The routers of a link and what they say of it: default routes, prefixes of neighbours, MTU, times. Bounded, for
//! whoever is on the link can claim to be any number of them.

use super::{Action, Addresses, after};
use crate::ip::neighbour::RETRANSMIT;
use crate::time::Instant;
use crate::wire::discovery::{Ask, Prefix, RouterAdvertisement};
use crate::wire::ipv6;
use core::net::Ipv6Addr;
use core::time::Duration;

/// Default routers of one link: RFC 4861 section 5.2 asks for two at least.
pub const ROUTERS_MAX: usize = 8;

/// Prefixes of neighbours on one link.
pub const PREFIXES_MAX: usize = 16;

/// Solicitations before we wait for routers to speak by themselves, and the time between two (RFC 4861 section 10).
const SOLICITATIONS_MAX: u8 = 3;
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);

#[derive(Debug)]
struct Router {
    address: Ipv6Addr,
    until: Instant,
}

#[derive(Debug)]
struct OnLink {
    prefix: Ipv6Addr,
    len: u8,
    until: Instant,
}

/// What is known of a link's routers.
#[derive(Debug)]
pub(super) struct Routers {
    /// The one to be asked first in front.
    routers: Vec<Router>,
    prefixes: Vec<OnLink>,
    solicitations: u8,
    solicit_at: Instant,
}

impl Default for Routers {
    fn default() -> Self {
        let (routers, prefixes) = (Vec::new(), Vec::new());
        Self { routers, prefixes, solicitations: 0, solicit_at: Instant::FOREVER }
    }
}

impl Routers {
    /// There is an address to ask from: ask. The random delay has passed with the address's own.
    pub fn begin(&mut self, now: Instant) {
        (self.solicitations, self.solicit_at) = (0, now);
    }

    /// When something is next to be done.
    pub fn next(&self) -> Instant {
        let routers = self.routers.iter().map(|router| router.until);
        let prefixes = self.prefixes.iter().map(|prefix| prefix.until);
        routers.chain(prefixes).min().unwrap_or(Instant::FOREVER).min(self.solicit_at)
    }

    /// Let go what nobody has confirmed in time.
    //= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.5
    //# Whenever the invalidation timer expires for a Prefix List entry, that
    //# entry is discarded.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<Action>) {
        let expired = self.routers.extract_if(.., |router| router.until <= now);
        out.extend(expired.map(|router| Action::Router { address: router.address, on: false }));
        let expired = self.prefixes.extract_if(.., |prefix| prefix.until <= now);
        out.extend(expired.map(|OnLink { prefix, len, .. }| Action::OnLink { prefix, len, on: false }));
    }

    //= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.4
    //# - If the address is already present in the host's Default Router
    //#   List and the received Router Lifetime value is zero, immediately
    //#   time-out the entry
    fn hear(&mut self, address: Ipv6Addr, until: Instant, now: Instant, out: &mut Vec<Action>) {
        if let Some(at) = self.routers.iter().position(|router| router.address == address) {
            if until > now {
                self.routers[at].until = until;
            } else {
                self.routers.remove(at);
                out.push(Action::Router { address, on: false });
            }
        } else if until > now && self.routers.len() < ROUTERS_MAX {
            self.routers.push(Router { address, until });
            out.push(Action::Router { address, on: true });
        }
    }

    fn hear_prefix(&mut self, said: &Prefix, now: Instant, out: &mut Vec<Action>) {
        //= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.4
        //# with the on-link flag set to zero conveys no information concerning
        //# on-link determination and MUST NOT be interpreted to mean that
        //# addresses covered by the prefix are off-link.
        if !said.on_link || said.prefix.is_unicast_link_local() || said.prefix.is_multicast() {
            return;
        }
        let Prefix { prefix, len, .. } = *said;
        let until = after(now, said.valid_s);
        let known = self.prefixes.iter().position(|known| (known.prefix, known.len) == (prefix, len));
        match known {
            Some(at) if until > now => self.prefixes[at].until = until,
            Some(at) => {
                self.prefixes.remove(at);
                out.push(Action::OnLink { prefix, len, on: false });
            }
            None if until > now && self.prefixes.len() < PREFIXES_MAX => {
                self.prefixes.push(OnLink { prefix, len, until });
                out.push(Action::OnLink { prefix, len, on: true });
            }
            None => {}
        }
    }
}

impl Addresses {
    /// Takes in what a router says of itself and of the link. Nothing, unless we were told to listen.
    pub fn on_router(
        &mut self,
        source: Ipv6Addr,
        said: &RouterAdvertisement<'_>,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        if !self.config.routers {
            return;
        }
        if said.hop_limit != 0 {
            out.push(Action::HopLimit(said.hop_limit));
        }
        let time = |ms: u32| (ms > 0).then(|| Duration::from_millis(ms.into()));
        let (reachable, retransmit) = (time(said.reachable_ms), time(said.retransmit_ms));
        if reachable.is_some() || retransmit.is_some() {
            self.retransmit =
                retransmit.map_or(self.retransmit, |time| time.clamp(RETRANSMIT.0, RETRANSMIT.1));
            out.push(Action::Times { reachable, retransmit });
        }
        //= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.4
        //# If the MTU option is present, hosts SHOULD copy the option's value
        //# into LinkMTU so long as the value is greater than or equal to the
        //# minimum link MTU [IPv6] and does not exceed the maximum LinkMTU value
        let mtu = said.mtu.and_then(|mtu| u16::try_from(mtu).ok());
        if let Some(mtu) = mtu.filter(|mtu| (ipv6::MTU_MIN..=self.mtu).contains(mtu)) {
            out.push(Action::Mtu(mtu));
        }
        self.routers.hear(source, after(now, said.lifetime_s.into()), now, out);
        for prefix in said.prefixes() {
            self.routers.hear_prefix(&prefix, now, out);
            self.on_prefix(&prefix, now, out);
        }
        //= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.7
        //# Once the host sends a Router Solicitation, and receives a valid
        //# Router Advertisement with a non-zero Router Lifetime, the host MUST
        //# desist from sending additional solicitations on that interface
        if said.lifetime_s > 0 && self.routers.solicitations > 0 {
            self.routers.solicit_at = Instant::FOREVER;
        }
        self.plan();
        if self.next <= now {
            self.advance(now, out);
        }
    }

    /// A router does not answer, or is none any more: whoever else there is comes first. `gone`: it is none.
    //= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.6
    //# 1) Routers that are reachable or probably reachable (i.e., in any
    //#    state other than INCOMPLETE) SHOULD be preferred over routers
    //#    whose reachability is unknown or suspect
    pub fn on_router_lost(&mut self, address: Ipv6Addr, gone: bool, out: &mut Vec<Action>) {
        let routers = &mut self.routers.routers;
        let Some(at) = routers.iter().position(|router| router.address == address) else { return };
        if gone {
            routers.remove(at);
            out.push(Action::Router { address, on: false });
        } else if at + 1 < routers.len() {
            let router = routers.remove(at);
            routers.push(router);
            out.push(Action::Router { address, on: false });
            out.push(Action::Router { address, on: true });
        }
        self.plan();
    }

    /// Ask for routers, if it is time to.
    pub(super) fn solicit(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.routers.solicit_at > now {
            return;
        }
        let Some(source) = self.link_local() else {
            self.routers.solicit_at = Instant::FOREVER;
            return;
        };
        self.routers.solicitations += 1;
        let last = self.routers.solicitations >= SOLICITATIONS_MAX;
        self.routers.solicit_at =
            if last { Instant::FOREVER } else { now.saturating_add(SOLICITATION_INTERVAL) };
        let ask = Ask::Routers { station: Some(self.mac) };
        out.push(Action::Ask { ask, source, destination: ipv6::ALL_ROUTERS });
    }
}

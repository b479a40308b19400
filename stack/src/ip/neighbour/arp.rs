//! What the cache learns from ARP (RFC 826), and how it answers for our own addresses and defends them (RFC 5227).
//! Packets as bytes are `wire::arp`'s.

use super::{Action, Cache, State};
use crate::time::Instant;
use crate::wire::arp::{Operation, Packet};
use crate::wire::{DropReason, MacAddress};
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

/// Our own addresses on one interface: each request is compared with all of them.
pub const ADDRESSES_MAX: usize = 64;

/// Between two defences of an address (RFC 5227 section 1.1, DEFEND_INTERVAL).
pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

impl<P> Cache<P> {
    /// Answers for this address from now on, and announces it; false if there are too many already.
    pub fn add_address(&mut self, address: Ipv4Addr, out: &mut Vec<Action<P>>) -> bool {
        if self.addresses.contains(&address) {
            return true;
        }
        if self.addresses.len() >= ADDRESSES_MAX {
            return false;
        }
        self.addresses.push(address);
        self.announce(address, out);
        true
    }

    /// No longer answers for this address, nor asks as it: neighbours found under it are forgotten.
    pub fn remove_address(&mut self, address: Ipv4Addr, out: &mut Vec<Action<P>>) {
        self.addresses.retain(|known| *known != address);
        for at in (0..self.entries.len()).rev() {
            let its = self.entries.get(at).is_some_and(|entry| entry.source == IpAddr::V4(address));
            if its && self.entries.get(at).is_some_and(|entry| entry.state != State::Static) {
                self.take_out(at, DropReason::NeighbourFailed, out);
            }
        }
    }

    /// Takes in an ARP packet: learns, answers, releases.
    ///
    /// Errors: `ArpNotForUs` if it changes nothing; `ArpConflict` if another station has our address.
    pub fn receive(
        &mut self,
        packet: &Packet,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) -> Result<(), DropReason> {
        if packet.sender_mac == self.mac {
            return Err(DropReason::ArpNotForUs);
        }
        if self.addresses.contains(&packet.sender) {
            self.defend(packet.sender, now, out);
            return Err(DropReason::ArpConflict);
        }
        let for_us = self.addresses.contains(&packet.target);
        let may_learn = !packet.sender.is_unspecified()
            && !packet.sender.is_broadcast()
            && !packet.sender.is_multicast()
            && !packet.sender.is_loopback();
        let merged = may_learn && self.merge(packet, for_us, now, out);
        if for_us && packet.operation == Operation::Request {
            //= https://www.rfc-editor.org/rfc/rfc826
            //# If Merge_flag is false, add the triplet <protocol type,
            //#     sender protocol address, sender hardware address> to
            //#     the translation table.
            if may_learn && !merged {
                let sender = IpAddr::V4(packet.sender);
                if let Some(at) = self.find_or_insert(sender, IpAddr::V4(packet.target), now, out) {
                    self.resolved(at, packet.sender_mac, State::Stale, now, out);
                }
            }
            let reply = Packet {
                operation: Operation::Reply,
                sender_mac: self.mac,
                sender: packet.target,
                target_mac: packet.sender_mac,
                target: packet.sender,
            };
            out.push(Action::Transmit { to: packet.sender_mac, packet: reply });
            return Ok(());
        }
        if merged { Ok(()) } else { Err(DropReason::ArpNotForUs) }
    }

    /// Learns of a neighbour from whoever has reason to believe it.
    pub fn learn(&mut self, packet: &Packet, now: Instant, out: &mut Vec<Action<P>>) {
        let sender = IpAddr::V4(packet.sender);
        if packet.sender_mac != self.mac
            && !self.addresses.contains(&packet.sender)
            && let Some(at) = self.find_or_insert(sender, IpAddr::V4(packet.target), now, out)
        {
            self.resolved(at, packet.sender_mac, State::Stale, now, out);
        }
    }

    /// Updates the sender's entry, if there is one; says whether there is.
    fn merge(&mut self, packet: &Packet, for_us: bool, now: Instant, out: &mut Vec<Action<P>>) -> bool {
        let Some(at) = self.index.get(&IpAddr::V4(packet.sender)).copied() else { return false };
        let Some(entry) = self.entries.get(at) else { return false };
        let answers = for_us && packet.operation == Operation::Reply;
        let is_news = entry.state == State::Incomplete || entry.mac != packet.sender_mac;
        match entry.state {
            State::Static => {}
            // Only an answer to us shows that the way there works, too.
            _ if answers => self.resolved(at, packet.sender_mac, State::Reachable, now, out),
            _ if is_news => self.resolved(at, packet.sender_mac, State::Stale, now, out),
            _ => {}
        }
        true
    }

    /// Tells all stations that the address is ours: a request for itself (RFC 5227 section 3).
    fn announce(&self, address: Ipv4Addr, out: &mut Vec<Action<P>>) {
        let packet = Packet {
            operation: Operation::Request,
            sender_mac: self.mac,
            sender: address,
            target_mac: MacAddress::ZERO,
            target: address,
        };
        out.push(Action::Transmit { to: MacAddress::BROADCAST, packet });
    }

    //= https://www.rfc-editor.org/rfc/rfc5227#section-2.4
    //# the time recorded for the previous conflicting ARP packet is within
    //# DEFEND_INTERVAL seconds, then the host MUST NOT send another defensive
    //# ARP Announcement.
    fn defend(&mut self, address: Ipv4Addr, now: Instant, out: &mut Vec<Action<P>>) {
        let is_due = self.defended.is_none_or(|at| now.saturating_since(at) >= DEFEND_INTERVAL);
        if is_due {
            self.defended = Some(now);
            self.announce(address, out);
        }
    }
}

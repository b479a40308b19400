//! Packets of the script against packets of the stack: relative numbers to live ones and back, and what must be equal.

use crate::calls::pattern;
use crate::language::{Body, Ip, Packet, Tcp, TcpOption, flag};
use crate::wire::{Seen, SeenBody, Segment, letters};

/// What is known of one connection's numbers.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// The stack's live sequence numbers less the script's, once it sent a SYN.
    pub offset: Option<u32>,
    /// The next SYN of the stack's may begin a new connection.
    pub renew: bool,
    /// The peer's initial sequence number, and whether it was sent.
    pub irs: Option<u32>,
    /// Timestamps of the stack's: what the script calls them, and what they are.
    stamps: Vec<(u32, u32)>,
}

impl Numbers {
    fn live(&self, script: u32) -> u32 {
        script.wrapping_add(self.offset.unwrap_or(0))
    }

    fn script(&self, live: u32) -> u32 {
        live.wrapping_sub(self.offset.unwrap_or(0))
    }

    /// The place in the peer's stream of a sequence number.
    fn place(&self, seq: u32, flags: u16) -> u64 {
        let first = self.irs.unwrap_or(0).wrapping_add(1);
        u64::from(seq.wrapping_add(u32::from(flags & flag::SYN != 0)).wrapping_sub(first))
    }

    /// A timestamp of the stack's that the peer echoes.
    fn live_stamp(&self, script: u32) -> u32 {
        let known = self.stamps.iter().rev().find(|(name, _)| *name == script);
        match (known, self.stamps.first()) {
            (Some((_, live)), _) => *live,
            (None, Some((name, live))) if script != 0 => live.wrapping_add(script.wrapping_sub(*name)),
            _ => script,
        }
    }

    /// The script's segment with live numbers.
    pub fn inbound(&mut self, tcp: &Tcp, ports: (u16, u16)) -> Result<Segment, String> {
        if tcp.flags & (flag::SYN | flag::ACK) == flag::SYN && self.irs != Some(tcp.seq) {
            self.renew = true;
        }
        if tcp.flags & flag::SYN != 0 && self.irs.is_none_or(|_| self.renew) {
            self.irs = Some(tcp.seq);
        }
        let options = tcp.options.clone().ok_or("`<...>` says nothing of a packet to build")?;
        let first = self.place(tcp.seq, tcp.flags);
        Ok(Segment {
            source_port: ports.1,
            destination_port: ports.0,
            seq: tcp.seq,
            ack: tcp.ack.map_or(0, |ack| self.live(ack)),
            flags: tcp.flags,
            window: tcp.window.ok_or("a packet to build needs `win`")?,
            urgent: tcp.urgent.unwrap_or(0),
            options: options.into_iter().map(|option| self.live_option(option)).collect(),
            payload: (first..).take(usize::from(tcp.len)).map(pattern).collect(),
        })
    }

    fn live_option(&self, option: TcpOption) -> TcpOption {
        match option {
            TcpOption::Sack(blocks) => {
                let live = |(left, right)| (self.live(left), self.live(right));
                TcpOption::Sack(blocks.into_iter().map(live).collect())
            }
            TcpOption::Timestamps(value, echo) => TcpOption::Timestamps(value, self.live_stamp(echo)),
            other => other,
        }
    }

    /// Compare the stack's segment with the script's. `ticks`: how far a timestamp may be from the script's.
    pub fn outbound(
        &mut self,
        expected: &Tcp,
        seen: &Segment,
        ticks: u32,
        plain: bool,
    ) -> Result<(), String> {
        self.learn(expected, seen);
        let reset_of_nothing = seen.flags & flag::RST != 0 && seen.seq == 0 && expected.seq == 0;
        let seq = if reset_of_nothing { 0 } else { self.script(seen.seq) };
        let mut wrong = Vec::new();
        let mut check = |what: &str, is: bool| {
            if !is {
                wrong.push(what.to_owned());
            }
        };
        check("flags", seen.flags == expected.flags);
        check("sequence number", seq == expected.seq);
        check("length", seen.payload.len() == usize::from(expected.len));
        check("acknowledgement number", seen.ack == expected.ack.unwrap_or(0));
        check("window", expected.window.is_none_or(|window| window == seen.window));
        let urgent = if seen.flags & flag::URG != 0 { seen.urgent } else { 0 };
        check("urgent pointer", urgent == expected.urgent.unwrap_or(0));
        let first = u64::from(seq.wrapping_add(u32::from(seen.flags & flag::SYN != 0)).wrapping_sub(1));
        let mut bytes = (first..).zip(&seen.payload);
        check("payload", !plain || bytes.all(|(place, byte)| pattern(place) == *byte));
        if let Some(options) = &expected.options {
            let same = options.len() == seen.options.len()
                && options
                    .iter()
                    .zip(&seen.options)
                    .all(|(script, live)| self.same_option(script, live, ticks));
            check("options", same);
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(format!("other {} in: {}", wrong.join(", "), self.text(seen)))
    }

    /// Learn the stack's numbers from its SYN, and its timestamps.
    fn learn(&mut self, expected: &Tcp, seen: &Segment) {
        if seen.flags & expected.flags & flag::SYN != 0 && (self.offset.is_none() || self.renew) {
            self.offset = Some(seen.seq.wrapping_sub(expected.seq));
            self.renew = false;
            self.stamps.clear();
        }
        let stamp = |options: &[TcpOption]| {
            options.iter().find_map(|option| match option {
                TcpOption::Timestamps(value, _) => Some(*value),
                _ => None,
            })
        };
        if let (Some(script), Some(live)) =
            (stamp(expected.options.as_deref().unwrap_or_default()), stamp(&seen.options))
        {
            self.stamps.push((script, live));
        }
    }

    fn same_option(&self, script: &TcpOption, live: &TcpOption, ticks: u32) -> bool {
        match (script, live) {
            (TcpOption::Timestamps(script, script_echo), TcpOption::Timestamps(live, echo)) => {
                let Some((first_script, first_live)) = self.stamps.first() else { return false };
                let off = live.wrapping_sub(*first_live).wrapping_sub(script.wrapping_sub(*first_script));
                off.cast_signed().unsigned_abs() <= ticks && echo == script_echo
            }
            (script, live) => script == live,
        }
    }

    /// A segment of the stack's as a script would have it.
    pub fn text(&self, seen: &Segment) -> String {
        let seq = self.script(seen.seq);
        let len = u32::try_from(seen.payload.len()).unwrap_or(0);
        let mut text = format!("{} {seq}:{}({len})", letters(seen.flags), seq.wrapping_add(len));
        if seen.flags & flag::ACK != 0 {
            text.push_str(&format!(" ack {}", seen.ack));
        }
        text.push_str(&format!(" win {}", seen.window));
        let options: Vec<String> = seen.options.iter().map(|option| self.option_text(option)).collect();
        if !options.is_empty() {
            text.push_str(&format!(" <{}>", options.join(",")));
        }
        text
    }

    fn option_text(&self, option: &TcpOption) -> String {
        match option {
            TcpOption::End => "eol".to_owned(),
            TcpOption::Nop => "nop".to_owned(),
            TcpOption::Mss(mss) => format!("mss {mss}"),
            TcpOption::WindowScale(shift) => format!("wscale {shift}"),
            TcpOption::SackOk => "sackOK".to_owned(),
            TcpOption::Sack(blocks) => {
                blocks.iter().fold("sack".to_owned(), |text, (left, right)| format!("{text} {left}:{right}"))
            }
            TcpOption::Timestamps(value, echo) => {
                let script = match self.stamps.first() {
                    Some((name, live)) => name.wrapping_add(value.wrapping_sub(*live)),
                    None => *value,
                };
                format!("TS val {script} ecr {echo}")
            }
            TcpOption::Other(kind, bytes) => format!("unknown {kind} {bytes:?}"),
        }
    }
}

/// What is said of the IP header must be so.
pub fn header(expected: &Ip, seen: &Seen) -> Result<(), String> {
    let tos = seen.header.tos;
    if expected.ecn.is_some_and(|ecn| ecn != tos & 3) {
        return Err(format!("other ECN bits: {}", ["noecn", "ect1", "ect0", "ce"][usize::from(tos & 3)]));
    }
    if expected.tos.is_some_and(|expected| expected != tos) {
        return Err(format!("another type of service: {tos:#x}"));
    }
    if expected.ttl.is_some_and(|ttl| ttl != seen.header.ttl) {
        return Err(format!("another time to live: {}", seen.header.ttl));
    }
    Ok(())
}

/// What is not TCP.
pub fn other(expected: &Packet, seen: &SeenBody, ports: (u16, u16)) -> Result<(), String> {
    let same = match (&expected.body, seen) {
        (Body::Udp(len), SeenBody::Udp { source_port, destination_port, payload }) => {
            payload.len() == usize::from(*len) && (*source_port, *destination_port) == ports
        }
        (Body::Icmp { kind, code, .. }, SeenBody::Icmp { kind: seen_kind, code: seen_code }) => {
            (kind, code) == (seen_kind, seen_code)
        }
        _ => false,
    };
    if same { Ok(()) } else { Err(format!("another packet: {seen:?}")) }
}

//! The other end of a connection: its numbers, and segments in and out.

use core::ffi::c_int;

use crate::host::{Host, LOCAL};
use crate::segment::{ACK, FIN, PSH, SYN, Segment, URG};

/// Our initial sequence number.
const ISS: u32 = 1_000_000;

/// The remote host's end.
pub struct Peer<'a> {
    host: &'a Host,
    local_port: u16,
    /// Our port.
    pub port: u16,
    /// The next number we send.
    pub seq: u32,
    /// The next number we expect.
    pub ack: u32,
}

impl<'a> Peer<'a> {
    pub fn of(host: &'a Host) -> Peer<'a> {
        Peer { host, local_port: 8080, port: 40_000, seq: ISS, ack: 0 }
    }

    /// Send a segment.
    pub fn send(&mut self, flags: u8, data: &[u8]) {
        self.send_with(flags, data, 0);
    }

    /// Send data of which the first `urgent` bytes are urgent.
    pub fn send_urgent(&mut self, data: &[u8], urgent: u16) {
        self.send_with(ACK | PSH | URG, data, urgent);
    }

    fn send_with(&mut self, flags: u8, data: &[u8], urgent: u16) {
        let syn = flags & SYN != 0;
        // mss 1460, sackOK, nop, nop, nop, wscale 7
        let options = if syn { vec![2, 4, 5, 180, 4, 2, 1, 1, 1, 3, 3, 7] } else { Vec::new() };
        let segment = Segment {
            from: self.port,
            to: self.local_port,
            seq: self.seq,
            ack: if flags & ACK != 0 { self.ack } else { 0 },
            flags,
            window: 32_792,
            urgent,
            options,
            data: data.to_vec(),
            tos: 0,
        };
        self.host.inject(&segment.packet());
        self.seq = self.seq.wrapping_add(data.len() as u32 + u32::from(syn) + u32::from(flags & FIN != 0));
    }

    /// The next segment of the plug-in.
    pub fn next(&mut self) -> Segment {
        let (_, packet) = self.host.sniff().expect("a segment");
        let segment = Segment::parse(&packet);
        let len = segment.data.len() as u32
            + u32::from(segment.flags & SYN != 0)
            + u32::from(segment.flags & FIN != 0);
        let end = segment.seq.wrapping_add(len);
        if segment.flags & SYN != 0 || end.wrapping_sub(self.ack) < 1 << 31 {
            self.ack = end;
        }
        segment
    }

    /// The next segment of the plug-in, which has these flags.
    #[track_caller]
    pub fn expect(&mut self, flags: u8) -> Segment {
        let segment = self.next();
        assert_eq!(segment.flags, flags, "{segment:?}");
        segment
    }

    /// The data of the next segment that has some.
    pub fn take_data(&mut self) -> Vec<u8> {
        loop {
            let segment = self.next();
            if !segment.data.is_empty() {
                return segment.data;
            }
        }
    }

    /// A SYN to us: which port it came from is what we answer to.
    pub fn accept_syn(&mut self) -> Segment {
        let syn = self.expect(SYN);
        (self.port, self.local_port) = (syn.to, syn.from);
        syn
    }

    /// A listener, and a connection that it has accepted.
    pub fn passive(&mut self, host: &Host) -> (c_int, c_int) {
        let listener = host.socket();
        host.bind(listener, LOCAL, 8080).expect("the address is free");
        host.listen(listener, 5).expect("nobody listens there");
        self.send(SYN, &[]);
        self.expect(SYN | ACK);
        self.send(ACK, &[]);
        (listener, host.accept(listener).expect("a connection waits"))
    }
}

//! The ceiling of a link: answers TCP as fast as its frames can be turned round, without a stack, a connection or a loss
//! repaired. What a server on the same link reaches of its rate is the server's doing.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;
use std::process::ExitCode;

use clap::Parser;
use drivers::clock::Clock;
use drivers::dpdk::{Eal, EalOptions, refuse_tap_signal};
use drivers::{Device, Frame, OpenOptions, SetupError, open};
use stack::wire::checksum::{Checksum, checksum};

/// Frames of a turn.
const BURST: usize = 32;

/// Where headers begin and end: Ethernet, then IPv4 and TCP without options.
const IP: usize = 14;
const TCP: usize = IP + 20;
const DATA: usize = TCP + 20;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Answer every TCP segment that says something, by itself: what it says, or the same page to whatever it asks.
#[derive(Parser, Debug)]
#[command(version)]
struct Options {
    /// Device, as the other programs name it
    #[arg(long)]
    device: Device,
    /// The address that is answered for
    #[arg(long)]
    address: Ipv4Addr,
    /// Answer as a web server that has a page of so many bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(0..=1024))]
    page: Option<u16>,
    /// End each connection with its first answer
    #[arg(long, requires = "page")]
    close: bool,
    /// Run without huge pages, in this much ordinary memory
    #[arg(long, value_name = "MB", num_args = 0..=1, default_missing_value = "256")]
    no_huge: Option<u32>,
}

/// What is said, and by whom.
struct Responder {
    mac: [u8; 6],
    address: Ipv4Addr,
    /// `None`: what was said.
    answer: Option<Vec<u8>>,
    close: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("responder: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), SetupError> {
    refuse_tap_signal();
    Eal::init(&EalOptions { no_huge_mib: options.no_huge, ..EalOptions::for_devices([&options.device]) })?;
    let mut opened = open(&options.device, &OpenOptions { receive_frames: 8192, ..OpenOptions::default() })?;
    let answer = options.page.map(|bytes| page(usize::from(bytes), options.close));
    let responder = Responder { mac: opened.mac, address: options.address, answer, close: options.close };
    let queue = &mut opened.queues[0].queue;
    println!("responder: answering at {} on {}", options.address, opened.name);
    let clock = Clock::new();
    let (mut came, mut answers) = (Vec::with_capacity(BURST), Vec::with_capacity(BURST));
    loop {
        let now = clock.nanoseconds();
        // What the device does not take at once it is asked to take again; meanwhile what comes waits in its queue.
        if answers.is_empty() && queue.receive(now, &mut came, BURST) == 0 {
            queue.reclaim();
            std::hint::spin_loop();
        }
        answers.extend(came.drain(..).filter_map(|frame| responder.turn_round(frame)));
        if !answers.is_empty() {
            queue.transmit(now, &mut answers);
        }
    }
}

fn page(bytes: usize, close: bool) -> Vec<u8> {
    let connection = if close { "Connection: close\r\n" } else { "" };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n{connection}\r\n");
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + bytes, b'x');
    answer
}

impl Responder {
    /// Make a frame its own answer; `None`: there is none to give.
    fn turn_round(&self, mut frame: Frame) -> Option<Frame> {
        let bytes = frame.bytes_mut()?;
        match bytes.get(12..14)? {
            [8, 6] => self.resolve(bytes)?,
            [8, 0] => self.reply(&mut frame)?,
            _ => return None,
        }
        let bytes = frame.bytes_mut()?;
        bytes.copy_within(6..12, 0);
        bytes[6..12].copy_from_slice(&self.mac);
        Some(frame)
    }

    /// ARP: who asks for our address is told.
    fn resolve(&self, bytes: &mut [u8]) -> Option<()> {
        let packet = bytes.get_mut(14..42)?;
        if packet[6..8] != [0, 1] || packet[24..28] != self.address.octets() {
            return None;
        }
        packet[7] = 2;
        packet.copy_within(8..18, 18);
        packet[8..14].copy_from_slice(&self.mac);
        packet[14..18].copy_from_slice(&self.address.octets());
        Some(())
    }

    fn reply(&self, frame: &mut Frame) -> Option<()> {
        let bytes = frame.bytes();
        if *bytes.get(IP)? != 0x45
            || *bytes.get(IP + 9)? != 6
            || bytes.get(IP + 16..TCP)? != self.address.octets()
        {
            return None;
        }
        let total = usize::from(u16::from_be_bytes([bytes[IP + 2], bytes[IP + 3]]));
        let data = TCP + usize::from(*bytes.get(TCP + 12)? >> 4) * 4;
        let said = (IP + total).checked_sub(data)?;
        let flags = *bytes.get(TCP + 13)?;
        let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let (seq, acknowledged) = (word(TCP + 4)?, word(TCP + 8)?);
        let ended = u32::from(flags & FIN != 0);
        let length = u32::try_from(said).ok()?;
        let (answer, window_of): (u8, u32) = match () {
            () if flags & RST != 0 => return None,
            () if flags & SYN != 0 => (SYN | ACK, 1),
            () if said > 0 => (ACK | PSH | if self.close || ended > 0 { FIN } else { 0 }, 0),
            // Of a connection that we have ended already the peer's end is acknowledged alone.
            () if ended > 0 => (ACK | if self.close { 0 } else { FIN }, 0),
            () => return None,
        };
        let isn = if answer & SYN != 0 { 0 } else { acknowledged };
        let next = seq.wrapping_add(length + ended + window_of);
        self.fill(frame, data, if answer & PSH != 0 { said } else { 0 });
        if answer & SYN != 0 {
            // The largest segment; nothing else is negotiated, so that no segment has options.
            frame.append(4)?.copy_from_slice(&[2, 4, 5, 0xb4]);
        }
        seal(frame.bytes_mut()?, answer, isn, next)
    }

    /// Put what is answered behind bare headers: `said` bytes that came, the page in their place, or nothing.
    fn fill(&self, frame: &mut Frame, data: usize, said: usize) {
        match &self.answer {
            Some(answer) if said > 0 => {
                frame.truncate(DATA);
                if let Some(room) = frame.append(answer.len()) {
                    room.copy_from_slice(answer);
                }
            }
            _ => {
                if data > DATA
                    && said > 0
                    && let Some(bytes) = frame.bytes_mut()
                {
                    bytes.copy_within(data..data + said, DATA);
                }
                frame.truncate(DATA + said);
            }
        }
    }
}

/// Write the headers of an answer over those of what it answers.
fn seal(bytes: &mut [u8], flags: u8, seq: u32, acknowledged: u32) -> Option<()> {
    let total = u16::try_from(bytes.len() - IP).ok()?;
    let options = if flags & SYN != 0 { 4 } else { 0 };
    let ip = bytes.get_mut(IP..TCP)?;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    let (source, destination) = swap::<4>(ip, 12);
    ip[10..12].fill(0);
    let sum = checksum(ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let tcp = bytes.get_mut(TCP..)?;
    swap::<2>(tcp, 0);
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    tcp[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    tcp[12] = (5 + options / 4) << 4;
    tcp[13] = flags;
    tcp[14..16].fill(0xff);
    tcp[16..20].fill(0);
    let pseudo = Checksum::pseudo_ipv4(source.into(), destination.into(), 6, total - 20);
    let sum = pseudo.with(tcp).finish();
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Swap two neighbours of `N` bytes; returns them as they lie then.
fn swap<const N: usize>(bytes: &mut [u8], at: usize) -> ([u8; N], [u8; N]) {
    let (mut first, mut second) = ([0; N], [0; N]);
    second.copy_from_slice(&bytes[at..at + N]);
    first.copy_from_slice(&bytes[at + N..at + 2 * N]);
    bytes[at..at + N].copy_from_slice(&first);
    bytes[at + N..at + 2 * N].copy_from_slice(&second);
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [u8; 4] = [10, 0, 0, 2];
    const THEIRS: [u8; 4] = [10, 0, 0, 1];

    fn responder(answer: Option<Vec<u8>>, close: bool) -> Responder {
        Responder { mac: [2; 6], address: OURS.into(), answer, close }
    }

    /// A segment as a client sends it.
    fn segment(flags: u8, options: &[u8], said: &[u8]) -> Frame {
        let mut bytes = vec![0; DATA];
        bytes[0..6].fill(2);
        bytes[6..12].fill(1);
        bytes[12..14].copy_from_slice(&[8, 0]);
        bytes[IP] = 0x45;
        bytes[IP + 9] = 6;
        bytes[IP + 12..IP + 16].copy_from_slice(&THEIRS);
        bytes[IP + 16..IP + 20].copy_from_slice(&OURS);
        bytes[TCP..TCP + 4].copy_from_slice(&[0x80, 1, 0, 80]);
        bytes[TCP + 4..TCP + 8].copy_from_slice(&1000_u32.to_be_bytes());
        bytes[TCP + 8..TCP + 12].copy_from_slice(&7_u32.to_be_bytes());
        bytes[TCP + 12] = (5 + u8::try_from(options.len() / 4).unwrap()) << 4;
        bytes[TCP + 13] = flags;
        bytes.extend_from_slice(options);
        bytes.extend_from_slice(said);
        let total = u16::try_from(bytes.len() - IP).unwrap();
        bytes[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
        // What an Ethernet too short for it is filled up with.
        bytes.resize(bytes.len().max(60), 0);
        let mut frame = drivers::Pool::packets(1).take().unwrap();
        frame.append(bytes.len()).unwrap().copy_from_slice(&bytes);
        frame
    }

    /// Flags, sequence number, acknowledgement and payload of an answer whose addresses and checksums are right.
    fn read(frame: &Frame) -> (u8, u32, u32, Vec<u8>) {
        let bytes = frame.bytes();
        assert_eq!((&bytes[0..6], &bytes[6..12]), (&[1; 6][..], &[2; 6][..]));
        assert_eq!((&bytes[IP + 12..IP + 16], &bytes[IP + 16..IP + 20]), (&OURS[..], &THEIRS[..]));
        assert_eq!(bytes[TCP..TCP + 4], [0, 80, 0x80, 1]);
        assert_eq!(checksum(&bytes[IP..TCP]), 0);
        let length = u16::try_from(bytes.len() - TCP).unwrap();
        assert!(Checksum::pseudo_ipv4(OURS.into(), THEIRS.into(), 6, length).with(&bytes[TCP..]).is_valid());
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let data = TCP + usize::from(bytes[TCP + 12] >> 4) * 4;
        (bytes[TCP + 13], word(TCP + 4), word(TCP + 8), bytes[data..].to_vec())
    }

    #[test]
    fn each_segment_is_answered_by_itself() {
        // Shows the handshake, requests with options and without, each end, and what gets no answer.
        let answer = page(3, false);
        let web = responder(Some(answer.clone()), false);
        let said = |responder: &Responder, flags, options: &[u8], said: &[u8]| {
            responder.turn_round(segment(flags, options, said)).map(|frame| read(&frame))
        };
        assert_eq!(said(&web, SYN, &[2, 4, 5, 0xb4], b""), Some((SYN | ACK, 0, 1001, vec![])));
        assert_eq!(said(&web, ACK | PSH, &[], b"GET"), Some((ACK | PSH, 7, 1003, answer.clone())));
        assert_eq!(said(&web, ACK | PSH, &[1; 12], b"GET"), Some((ACK | PSH, 7, 1003, answer)));
        assert_eq!(said(&web, ACK | FIN, &[], b""), Some((ACK | FIN, 7, 1001, vec![])));
        assert_eq!((said(&web, ACK, &[], b""), said(&web, RST, &[], b"")), (None, None));
        let echo = responder(None, false);
        assert_eq!(said(&echo, ACK | PSH, &[1; 12], b"ping"), Some((ACK | PSH, 7, 1004, b"ping".to_vec())));
        let ending = responder(Some(page(0, true)), true);
        assert_eq!(said(&ending, ACK | PSH, &[], b"GET").unwrap().0, ACK | PSH | FIN);
        assert_eq!(said(&ending, ACK | FIN, &[], b""), Some((ACK, 7, 1001, vec![])));
    }

    #[test]
    fn who_asks_for_the_address_is_told() {
        // Shows the answer to a request for ours, and none to one for another's.
        let ask = |target: [u8; 4]| {
            let mut bytes = [0xff_u8; 42];
            bytes[6..12].fill(1);
            bytes[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            bytes[22..28].fill(1);
            bytes[28..32].copy_from_slice(&THEIRS);
            bytes[38..42].copy_from_slice(&target);
            let mut frame = drivers::Pool::packets(1).take().unwrap();
            frame.append(42).unwrap().copy_from_slice(&bytes);
            responder(None, false).turn_round(frame)
        };
        let answer = ask(OURS).unwrap();
        let bytes = answer.bytes();
        assert_eq!((bytes[21], &bytes[22..28], &bytes[28..32]), (2, &[2; 6][..], &OURS[..]));
        assert_eq!((&bytes[32..38], &bytes[38..42]), (&[1; 6][..], &THEIRS[..]));
        assert!(ask([10, 0, 0, 9]).is_none());
    }
}

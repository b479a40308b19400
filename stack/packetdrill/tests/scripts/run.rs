//! Runs a script against the plug-in in its virtual time: waits, injects, calls, and compares what comes out.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};

use crate::calls::{self, Context, Done, pattern};
use crate::code;
use crate::compare::{self, Numbers};
use crate::interface::{self, Interface};
use crate::language::{Action, Body, Call, Event, Moment, Packet, Script, Value, flag};
use crate::wire::{self, Header, SeenBody};

/// The port that `bind(3, ..., ...)` takes here, and `connect(3, ..., ...)` there.
const SERVER_PORT: u16 = 8080;
/// The peer's port when it connects to us.
const CLIENT_PORT: u16 = 40_000;
/// How far from its time a packet may be, unless the script says otherwise: packetdrill's 4 ms. Units: microseconds.
const TOLERANCE: i64 = 4_000;

/// How far the clock is moved at once. Units: microseconds.
const STEP_MAX: u32 = 1_000_000_000;

/// What goes on while a call blocks in a thread of its own.
struct Blocked {
    line: usize,
    call: Call,
    /// When it must end. Units: microseconds since the script began.
    end: i64,
    thread: Arc<Thread>,
}

#[derive(Default)]
struct Thread {
    /// Its kernel number, once it runs.
    number: AtomicI32,
    /// What became of the call, and the live time at which it ended.
    done: Mutex<Option<(Result<Done, String>, i64)>>,
}

struct Runner {
    api: Arc<Interface>,
    /// The live time at which the script began, and the script's time of the last event. Units: microseconds.
    begin: i64,
    last: i64,
    tolerance: i64,
    local: IpAddr,
    remote: IpAddr,
    /// Our port and the peer's of the connection the script speaks of.
    ports: (u16, u16),
    /// The next SYN of the stack's tells its port.
    learns_port: bool,
    connections: BTreeMap<u16, Numbers>,
    context: Context,
    /// Bytes received, by the script's descriptors.
    received: BTreeMap<i64, u64>,
    /// The descriptor whose TCP_INFO is asserted.
    stream: Option<i64>,
    /// Payloads follow the pattern: not where urgent bytes are taken out of the stream.
    plain: bool,
    settings: std::path::PathBuf,
    blocked: Option<Blocked>,
}

/// Run a script, with the stack's fast path or without. `settings`: the file that the environment names for what scripts
/// set. Errors: `line: fault`.
pub fn run(script: &Script, object: &Path, settings: &Path, fast: bool) -> Result<(), String> {
    let option = |name: &str| script.options.get(name).map(String::as_str);
    let mtu = option("mtu").unwrap_or("1500");
    let (local, prefix, remote) = match option("ip_version") {
        Some("ipv6") => ("fd3d:a0b:17d6::1", 64, "fd3d:fa7b:d17d::1"),
        _ => ("192.168.0.1", 16, "192.0.2.1"),
    };
    fs::write(settings, "").map_err(|error| error.to_string())?;
    let flags = format!("local={local}/{prefix},gw={local},mtu={mtu},tcp_fast_path={}", u8::from(fast));
    let api = Interface::load(object, &flags)?;
    let address = |text: &str| text.parse::<IpAddr>().map_err(|error| error.to_string());
    let (local, remote) = (address(local)?, address(remote)?);
    let begin = api.now();
    let tolerance = option("tolerance_usecs").map_or(Ok(TOLERANCE), str::parse);
    let mut runner = Runner {
        api: Arc::new(api),
        begin,
        last: 0,
        tolerance: tolerance.map_err(|error| error.to_string())?,
        local,
        remote,
        ports: (SERVER_PORT, CLIENT_PORT),
        learns_port: false,
        connections: BTreeMap::new(),
        context: Context {
            fds: BTreeMap::new(),
            local: SocketAddr::new(local, SERVER_PORT),
            remote: SocketAddr::new(remote, SERVER_PORT),
            written: BTreeMap::new(),
        },
        received: BTreeMap::new(),
        stream: None,
        plain: true,
        settings: settings.to_path_buf(),
        blocked: None,
    };
    for event in &script.events {
        runner.event(event).map_err(|fault| format!("{}: {fault}", event.line))?;
    }
    runner.end()?;
    runner.api.free();
    Ok(())
}

impl Runner {
    /// The time since the script began. Units: microseconds.
    fn now(&self) -> i64 {
        self.api.now() - self.begin
    }

    fn event(&mut self, event: &Event) -> Result<(), String> {
        let base = if event.time.relative { self.last } else { 0 };
        let (first, last) = match event.time.at {
            Moment::Any => (i64::MIN, i64::MAX),
            Moment::At(at) => (base + at, base + at),
            Moment::Between(first, last) | Moment::Blocks(first, last) => (base + first, base + last),
        };
        if let Action::Outbound(packet) = &event.action {
            let at = self.outbound(packet, first, last)?;
            self.last = if first == last { first } else { at };
            return Ok(());
        }
        self.wait_until(first)?;
        self.last = if first == i64::MIN { self.now() } else { first };
        match &event.action {
            Action::Inbound(packet) => self.inbound(packet),
            Action::Call(call) if matches!(event.time.at, Moment::Blocks(..)) => {
                self.block(event.line, call, last)
            }
            Action::Call(call) => self.call(call),
            Action::Shell(command) => self.set(command),
            Action::Code(text) => self.check(text),
            Action::Outbound(_) => Ok(()),
        }
    }

    /// Let the stack's time pass up to a point of the script's.
    fn wait_until(&mut self, time: i64) -> Result<(), String> {
        loop {
            let now = self.now();
            if now >= time {
                return Ok(());
            }
            let step = u32::try_from(time - now).unwrap_or(STEP_MAX).min(STEP_MAX);
            self.api.usleep(step).map_err(|errno| format!("usleep failed with {errno}"))?;
            self.settle()?;
        }
    }

    fn header(&self, packet: &Packet) -> Header {
        let tos = packet.ip.tos.unwrap_or(0) | packet.ip.ecn.unwrap_or(0);
        Header { source: self.remote, destination: self.local, tos, ttl: packet.ip.ttl.unwrap_or(255) }
    }

    fn inbound(&mut self, packet: &Packet) -> Result<(), String> {
        if let Some(port) = packet.ip.port {
            self.ports.1 = port;
        }
        let (header, ports) = (self.header(packet), self.ports);
        let numbers = self.connections.entry(ports.1).or_default();
        let bytes = match &packet.body {
            Body::Tcp(tcp) => {
                self.plain &= tcp.flags & flag::URG == 0;
                wire::tcp(&header, &numbers.inbound(tcp, ports)?)
            }
            Body::Udp(len) => {
                wire::udp(&header, ports.1, ports.0, &calls::pattern_bytes(0, usize::from(*len)))
            }
            Body::Icmp { kind, code, mtu, quoted } => {
                let (seq, len) = quoted.unwrap_or((0, 0));
                let segment = wire::Segment {
                    source_port: ports.0,
                    destination_port: ports.1,
                    seq: seq.wrapping_add(numbers.offset.unwrap_or(0)),
                    ..wire::Segment::default()
                };
                let quoted = Header { source: self.local, destination: self.remote, tos: 0, ttl: 64 };
                wire::icmp(&header, *kind, *code, *mtu, &quoted, &segment, len)
            }
        };
        self.api.netdev_send(&bytes).map_err(|errno| format!("netdev_send failed with {errno}"))?;
        self.settle()
    }

    /// The next packet that the stack sends, if it sends one before `last`.
    fn next_packet(&mut self, last: i64) -> Result<Option<(Vec<u8>, i64)>, String> {
        loop {
            // The plug-in itself gives up after some seconds.
            let packet =
                self.api.netdev_receive().map_err(|errno| format!("netdev_receive failed with {errno}"))?;
            self.settle()?;
            if packet.is_some() || self.now() > last.saturating_add(self.tolerance) || last == i64::MAX {
                return Ok(packet);
            }
        }
    }

    /// Take the next packet and compare it. Returns the script's time at which it was sent.
    fn outbound(&mut self, packet: &Packet, first: i64, last: i64) -> Result<i64, String> {
        let (bytes, micros) = self.next_packet(last)?.ok_or("the stack sends nothing")?;
        let seen = wire::read(&bytes)?;
        let at = micros - self.begin;
        if let Some(port) = packet.ip.port {
            self.ports.1 = port;
        }
        if seen.header.source != self.local || seen.header.destination != self.remote {
            return Err(format!("a packet between others: {:?}", seen.header));
        }
        if let (Body::Tcp(expected), SeenBody::Tcp(segment)) = (&packet.body, &seen.body) {
            if self.learns_port && segment.flags & flag::SYN != 0 {
                self.ports.0 = segment.source_port;
                self.learns_port = false;
            }
            if (segment.source_port, segment.destination_port) != self.ports {
                let (from, to) = (segment.source_port, segment.destination_port);
                return Err(format!("a segment from port {from} to port {to}, not {:?}", self.ports));
            }
            let ticks = u32::try_from(self.tolerance / 1_000 + 1).unwrap_or(0);
            let numbers = self.connections.entry(self.ports.1).or_default();
            let time = format!("at {}.{:06}: ", at / 1_000_000, at % 1_000_000);
            numbers.outbound(expected, segment, ticks, self.plain).map_err(|fault| time + &fault)?;
        } else {
            compare::other(packet, &seen.body, self.ports)?;
        }
        compare::header(&packet.ip, &seen)?;
        let (earliest, latest) = (first.saturating_sub(self.tolerance), last.saturating_add(self.tolerance));
        if at < earliest || at > latest {
            return Err(format!("sent at {:.6} s, not at {:.6} s", seconds(at), seconds(first)));
        }
        Ok(at)
    }

    fn call(&mut self, call: &Call) -> Result<(), String> {
        self.before(call);
        let done = calls::perform(&self.api, call, &self.context)?;
        self.after(call, done)?;
        self.settle()
    }

    /// What a call tells before it is made.
    fn before(&mut self, call: &Call) {
        match call.name.as_str() {
            // Asked again, a connection stays what it is.
            "connect" if self.stream != descriptor(call) => {
                self.ports = (0, SERVER_PORT);
                self.learns_port = true;
                self.stream = descriptor(call);
                self.connections.entry(SERVER_PORT).or_default().renew = true;
            }
            "listen" => self.ports = (SERVER_PORT, CLIENT_PORT),
            _ => {}
        }
        self.plain &= !call
            .arguments
            .iter()
            .any(|value| matches!(value, Value::Names(names) if names.iter().any(|name| name == "MSG_OOB")));
    }

    /// What became of it.
    fn after(&mut self, call: &Call, done: Done) -> Result<(), String> {
        for (scripts, live) in done.made {
            self.context.fds.insert(scripts, live);
            self.context.written.insert(scripts, 0);
            self.received.insert(scripts, 0);
            if call.name == "accept" {
                self.stream = Some(scripts);
            }
        }
        let fd = descriptor(call).unwrap_or(-1);
        *self.context.written.entry(fd).or_default() += done.written;
        if let Some((bytes, stays)) = done.received {
            let place = self.received.entry(fd).or_default();
            let is_pattern = (*place..).zip(&bytes).all(|(place, byte)| pattern(place) == *byte);
            if self.plain && !is_pattern {
                return Err(format!("{} gave other bytes than were sent, from {place} on", call.name));
            }
            if !stays {
                *place += u64::try_from(bytes.len()).unwrap_or(0);
            }
        }
        Ok(())
    }

    /// Make a call in a thread of its own, for it blocks.
    fn block(&mut self, line: usize, call: &Call, end: i64) -> Result<(), String> {
        if let Some(blocked) = &self.blocked {
            return Err(format!("the call of line {} still blocks", blocked.line));
        }
        self.before(call);
        let thread = Arc::new(Thread::default());
        let (api, context, inner, made) =
            (Arc::clone(&self.api), self.context.clone(), Arc::clone(&thread), call.clone());
        std::thread::spawn(move || {
            inner.number.store(interface::thread_number(), Ordering::SeqCst);
            let done = calls::perform(&api, &made, &context);
            let ended = api.now();
            if let Ok(mut slot) = inner.done.lock() {
                *slot = Some((done, ended));
            }
        });
        self.blocked = Some(Blocked { line, call: call.clone(), end, thread });
        self.settle()
    }

    /// Wait until the other thread sleeps or is done, as packetdrill does: by its state in /proc. The stack's time stands
    /// still meanwhile.
    fn settle(&mut self) -> Result<(), String> {
        let Some(blocked) = &self.blocked else { return Ok(()) };
        let mut sleeps = 0;
        let done = loop {
            let done = blocked.thread.done.lock().map_err(|_| "the other thread panicked")?.take();
            if done.is_some() || sleeps == 3 {
                break done;
            }
            sleeps = if is_asleep(blocked.thread.number.load(Ordering::SeqCst)) { sleeps + 1 } else { 0 };
            std::thread::sleep(Duration::from_micros(20));
        };
        match done {
            Some((done, ended)) => {
                let blocked = self.blocked.take().ok_or("a call ended that did not block")?;
                self.unblocked(blocked, done, ended - self.begin)
            }
            None => Ok(()),
        }
    }

    fn unblocked(&mut self, blocked: Blocked, done: Result<Done, String>, at: i64) -> Result<(), String> {
        let Blocked { line, call, end, .. } = blocked;
        let told = |fault: String| format!("the call of line {line}: {fault}");
        self.after(&call, done.map_err(told)?).map_err(told)?;
        if (at - end).abs() > self.tolerance {
            return Err(told(format!("ended at {:.6} s, not at {:.6} s", seconds(at), seconds(end))));
        }
        Ok(())
    }

    /// `sysctl -w net.ipv4.tcp_sack=0` and the like: a line `tcp_sack=0` of the settings. Nothing is executed.
    fn set(&mut self, command: &str) -> Result<(), String> {
        let mut lines = fs::read_to_string(&self.settings).map_err(|error| error.to_string())?;
        for part in command.split([';', '\n']).map(str::trim).filter(|part| !part.is_empty()) {
            let Some(settings) = part.strip_prefix("sysctl ") else {
                return Err(format!("only `sysctl name=value` is understood, not `{part}`"));
            };
            let words = settings.trim_start_matches(['-', 'q', 'w', ' ']);
            let name = words.rsplit_once("net.ipv4.").map_or(words, |(_, name)| name);
            if !name.contains('=') {
                return Err(format!("not `name=value`: {name}"));
            }
            lines.push_str(&name.replace('"', ""));
            lines.push('\n');
        }
        fs::write(&self.settings, lines).map_err(|error| error.to_string())
    }

    fn check(&self, text: &str) -> Result<(), String> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let fd =
            self.stream.and_then(|fd| self.context.fds.get(&fd)).ok_or("there is no connection to ask")?;
        let mut info = vec![0; 280];
        let (answer, len) = self.api.getsockopt(*fd, libc::SOL_TCP, libc::TCP_INFO, &mut info);
        answer.map_err(|errno| format!("TCP_INFO failed with {errno}"))?;
        info.truncate(len);
        code::run(text, &code::names(&info))
    }

    /// Nothing may block or have been sent beyond what the script expects.
    fn end(&mut self) -> Result<(), String> {
        if let Some(blocked) = &self.blocked {
            let (line, end) = (blocked.line, blocked.end);
            self.wait_until(end + self.tolerance)?;
            if self.blocked.is_some() {
                return Err(format!("the call of line {line} still blocks"));
            }
        }
        let now = self.now();
        let packet =
            self.api.netdev_receive().map_err(|errno| format!("netdev_receive failed with {errno}"))?;
        match packet {
            Some((bytes, micros)) if micros - self.begin <= now => {
                let text = match wire::read(&bytes)?.body {
                    SeenBody::Tcp(segment) => {
                        let numbers = self.connections.entry(segment.destination_port).or_default();
                        numbers.text(&segment)
                    }
                    other => format!("{other:?}"),
                };
                Err(format!("the end: nobody expected, at {:.6} s: {text}", seconds(micros - self.begin)))
            }
            _ => Ok(()),
        }
    }
}

/// The descriptor that a call is about.
fn descriptor(call: &Call) -> Option<i64> {
    call.arguments.first().and_then(|value| crate::constants::number(value).ok())
}

/// Microseconds as seconds, to be printed.
#[allow(clippy::cast_precision_loss, reason = "printed with six digits")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// Whether a thread of this process sleeps.
fn is_asleep(number: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{number}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('S'))
}

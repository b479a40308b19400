//! System calls: a call of the script becomes one of the table's functions, and its answer is compared with what the
//! script expects. Knows nothing of time; that blocking calls have a thread of their own is `run`'s business.

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;

use libc::{epoll_event, pollfd};

use crate::constants::{constant, error_name, number};
use crate::interface::{Answer, Interface};
use crate::language::{Call, Value};
use crate::options::{Expected, bytes_of};

/// What a call needs to know of the script's state.
#[derive(Clone, Debug)]
pub struct Context {
    /// Live descriptors by the script's numbers.
    pub fds: BTreeMap<i64, i32>,
    /// Where `bind(3, ..., ...)` binds.
    pub local: SocketAddr,
    /// Where `connect(3, ..., ...)` connects.
    pub remote: SocketAddr,
    /// Bytes written so far, by the script's descriptors.
    pub written: BTreeMap<i64, u64>,
}

/// What became of a call.
#[derive(Debug, Default)]
pub struct Done {
    /// Descriptors that came to be: the script's numbers and the live ones.
    pub made: Vec<(i64, i32)>,
    /// Bytes that were received, and whether they are still to be received.
    pub received: Option<(Vec<u8>, bool)>,
    /// Bytes that were taken.
    pub written: u64,
}

/// The byte at a place of any stream of the scripts'.
pub fn pattern(index: u64) -> u8 {
    u8::try_from(index % 251).unwrap_or(0)
}

/// So many bytes of a stream, from a place.
pub fn pattern_bytes(index: u64, len: usize) -> Vec<u8> {
    (index..).take(len).map(pattern).collect()
}

/// Make a call. Errors: how its answer differs from the expected one.
pub fn perform(api: &Interface, call: &Call, context: &Context) -> Result<Done, String> {
    let args = Args { call, context };
    let mut done = Done::default();
    let answer = make(api, &args, &mut done)?;
    compare(call, answer)?;
    if let (Ok(live), Value::Number(scripts)) = (answer, &call.returns)
        && matches!(call.name.as_str(), "socket" | "accept" | "epoll_create")
    {
        let live = i32::try_from(live).map_err(|_| "a descriptor out of range".to_owned())?;
        done.made.push((*scripts, live));
    }
    if let (Ok(count), true) = (answer, is_write(&call.name)) {
        done.written = u64::try_from(count).unwrap_or(0);
    }
    Ok(done)
}

/// Whether a call takes bytes to send.
fn is_write(name: &str) -> bool {
    matches!(name, "write" | "writev" | "send" | "sendto" | "sendmsg")
}

fn compare(call: &Call, answer: Answer) -> Result<(), String> {
    if call.returns == Value::Any {
        return Ok(());
    }
    let expected = number(&call.returns)?;
    let makes = matches!(call.name.as_str(), "socket" | "accept" | "epoll_create");
    match answer {
        Ok(returned) if expected >= 0 && (makes || returned == expected) => Ok(()),
        Ok(returned) => Err(format!("{} returned {returned}, not {expected}", call.name)),
        Err(errno) => {
            let name = error_name(errno);
            let told = call.error.as_deref().map(|name| if name == "EWOULDBLOCK" { "EAGAIN" } else { name });
            if expected == -1 && told.is_none_or(|told| told == name) {
                return Ok(());
            }
            let expected = told.map_or_else(|| expected.to_string(), ToOwned::to_owned);
            Err(format!("{} failed with {name}, expected {expected}", call.name))
        }
    }
}

struct Args<'a> {
    call: &'a Call,
    context: &'a Context,
}

type Checked<T> = Result<T, String>;

impl Args<'_> {
    fn value(&self, index: usize) -> &Value {
        self.call.arguments.get(index).unwrap_or(&Value::Any)
    }

    fn int(&self, index: usize) -> Checked<i32> {
        let number = number(self.value(index))?;
        // Flags such as EPOLLET are unsigned.
        i32::try_from(number)
            .or_else(|_| u32::try_from(number).map(u32::cast_signed))
            .map_err(|_| format!("{number} is no int"))
    }

    fn len(&self, index: usize) -> Checked<usize> {
        usize::try_from(number(self.value(index))?).map_err(|_| "a negative length".to_owned())
    }

    fn fd(&self, index: usize) -> Checked<i32> {
        self.live(number(self.value(index))?)
    }

    /// The live descriptor of one of the script's; one that the script never opened is passed on, to be refused.
    fn live(&self, fd: i64) -> Checked<i32> {
        match self.context.fds.get(&fd) {
            Some(live) => Ok(*live),
            None if fd == -1 || fd >= 1000 => {
                i32::try_from(fd).map_err(|_| "a descriptor out of range".to_owned())
            }
            None => Err(format!("the script has not opened {fd}")),
        }
    }

    fn address(&self, index: usize, default: SocketAddr) -> Checked<Vec<u8>> {
        match self.value(index) {
            Value::Any => Ok(sockaddr(default)),
            Value::Struct(fields) => {
                let mut address = default;
                for (name, value) in fields {
                    match (name.as_str(), value) {
                        ("sa_family" | "sin6_flowinfo" | "sin6_scope_id", _) => {}
                        ("sin_port" | "sin6_port", port) => {
                            address
                                .set_port(u16::try_from(number(port)?).map_err(|error| error.to_string())?);
                        }
                        ("sin_addr" | "sin6_addr", Value::Function(_, arguments)) => {
                            address.set_ip(ip(arguments)?);
                        }
                        _ => return Err(format!("no such field of an address: {name}")),
                    }
                }
                Ok(sockaddr(address))
            }
            other => Err(format!("an address expected, not {other:?}")),
        }
    }

    /// The stretch of the stream that this call writes.
    fn bytes(&self, len: usize) -> Vec<u8> {
        let fd = number(self.value(0)).unwrap_or(-1);
        pattern_bytes(self.context.written.get(&fd).copied().unwrap_or(0), len)
    }

    /// Lengths of the parts of an `iovec` list.
    fn parts(&self, value: &Value) -> Checked<Vec<usize>> {
        let Value::List(parts) = value else { return Err(format!("a list expected, not {value:?}")) };
        let len = |part: &Value| match part {
            Value::Struct(fields) if fields.len() == 2 => {
                usize::try_from(number(&fields[1].1)?).map_err(|error| error.to_string())
            }
            other => Err(format!("`{{..., length}}` expected, not {other:?}")),
        };
        parts.iter().map(len).collect()
    }
}

fn ip(arguments: &[Value]) -> Checked<IpAddr> {
    let text =
        arguments.iter().find_map(|value| if let Value::Text(text) = value { Some(text) } else { None });
    let text = text.ok_or("an address in quotes expected")?;
    text.parse().map_err(|_| format!("no address: {text}"))
}

/// A `struct sockaddr_in` or `sockaddr_in6`.
pub fn sockaddr(address: SocketAddr) -> Vec<u8> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut bytes = u16::try_from(family).unwrap_or(0).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(v4) => {
            bytes.extend_from_slice(&v4.octets());
            bytes.extend_from_slice(&[0; 8]);
        }
        IpAddr::V6(v6) => {
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&v6.octets());
            bytes.extend_from_slice(&[0; 4]);
        }
    }
    bytes
}

fn make(api: &Interface, args: &Args, done: &mut Done) -> Checked<Answer> {
    Ok(match args.call.name.as_str() {
        "socket" => {
            let local = if args.context.local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
            let domain = if *args.value(0) == Value::Any { local } else { args.int(0)? };
            api.socket(domain, args.int(1)?, args.int(2)?)
        }
        "bind" => api.bind(args.fd(0)?, &args.address(1, args.context.local)?),
        "listen" => api.listen(args.fd(0)?, args.int(1)?),
        "accept" => api.accept(args.fd(0)?, &mut [0; 28]),
        "connect" => api.connect(args.fd(0)?, &args.address(1, args.context.remote)?),
        "close" => api.close(args.fd(0)?),
        "shutdown" => api.shutdown(args.fd(0)?, args.int(1)?),
        "fcntl" => {
            let argument = if args.call.arguments.len() > 2 { args.int(2)? } else { 0 };
            api.fcntl(args.fd(0)?, args.int(1)?, i64::from(argument))
        }
        "ioctl" => ioctl(api, args)?,
        "getsockopt" => getsockopt(api, args)?,
        "setsockopt" => api.setsockopt(args.fd(0)?, args.int(1)?, args.int(2)?, &option_value(args)?),
        "poll" => poll(api, args)?,
        "epoll_create" => api.epoll_create(args.int(0)?),
        "epoll_ctl" => {
            let mut event = epoll_event_of(args, args.value(3))?;
            api.epoll_ctl(args.fd(0)?, args.int(1)?, args.fd(2)?, &mut event)
        }
        "epoll_wait" => epoll_wait(api, args)?,
        "pipe" => pipe(api, args, done)?,
        "splice" => {
            let flags = u32::try_from(args.int(5)?).map_err(|error| error.to_string())?;
            api.splice(args.fd(0)?, args.fd(2)?, args.len(4)?, flags)
        }
        "read" | "readv" | "recv" | "recvfrom" | "recvmsg" => receive(api, args, done)?,
        name if is_write(name) => send(api, args)?,
        other => return Err(format!("no such call: {other}")),
    })
}

fn receive(api: &Interface, args: &Args, done: &mut Done) -> Checked<Answer> {
    let fd = args.fd(0)?;
    let name = args.call.name.as_str();
    let (answer, buffer, flags) = match name {
        "readv" => {
            let mut parts: Vec<Vec<u8>> =
                args.parts(args.value(1))?.into_iter().map(|len| vec![0; len]).collect();
            (api.readv(fd, &mut parts), parts.concat(), 0)
        }
        "recvmsg" => {
            let (lengths, expected) = message_parts(args)?;
            let mut parts: Vec<Vec<u8>> = lengths.into_iter().map(|len| vec![0; len]).collect();
            let flags = args.int(2)?;
            let (answer, told) = api.recvmsg(fd, &mut parts, flags, &mut [0; 28]);
            if let Some(expected) = expected
                && answer.is_ok()
                && expected != i64::from(told)
            {
                return Err(format!("recvmsg left the flags {told:#x}, not {expected:#x}"));
            }
            (answer, parts.concat(), flags)
        }
        _ => {
            let mut buffer = vec![0; args.len(2)?];
            let flags = if name == "read" { 0 } else { args.int(3)? };
            let answer = match name {
                "read" => api.read(fd, &mut buffer),
                "recv" => api.recv(fd, &mut buffer, flags),
                _ => api.recvfrom(fd, &mut buffer, flags, &mut [0; 28]),
            };
            (answer, buffer, flags)
        }
    };
    if let Ok(count) = answer
        && flags & libc::MSG_OOB == 0
    {
        let count = usize::try_from(count).unwrap_or(0).min(buffer.len());
        done.received = Some((buffer[..count].to_vec(), flags & libc::MSG_PEEK != 0));
    }
    Ok(answer)
}

/// Lengths of a message's parts, and the flags it must be left with.
fn message_parts(args: &Args) -> Checked<(Vec<usize>, Option<i64>)> {
    let Value::Struct(fields) = args.value(1) else { return Err("a message expected".to_owned()) };
    let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let parts = args.parts(field("msg_iov").ok_or("a message without msg_iov")?)?;
    let flags = field("msg_flags").map(number).transpose()?;
    Ok((parts, flags))
}

fn send(api: &Interface, args: &Args) -> Checked<Answer> {
    let fd = args.fd(0)?;
    let cut = |lengths: Vec<usize>| {
        let mut bytes = args.bytes(lengths.iter().sum());
        lengths.into_iter().map(|len| bytes.drain(..len).collect()).collect::<Vec<Vec<u8>>>()
    };
    Ok(match args.call.name.as_str() {
        "write" => api.write(fd, &args.bytes(args.len(2)?)),
        "writev" => api.writev(fd, &mut cut(args.parts(args.value(1))?)),
        "send" => api.send(fd, &args.bytes(args.len(2)?), args.int(3)?),
        "sendmsg" => {
            let (lengths, _) = message_parts(args)?;
            api.sendmsg(fd, &mut cut(lengths), args.int(2)?, &mut [])
        }
        _ => {
            let address = args.address(4, args.context.remote)?;
            api.sendto(fd, &args.bytes(args.len(2)?), args.int(3)?, &address)
        }
    })
}

fn ioctl(api: &Interface, args: &Args) -> Checked<Answer> {
    let expected = match args.value(2) {
        Value::List(list) if list.len() == 1 => number(&list[0])?,
        other => number(other)?,
    };
    let request = u64::try_from(number(args.value(1))?).map_err(|error| error.to_string())?;
    let mut value = if request == libc::FIONBIO { i32::try_from(expected).unwrap_or(0) } else { -1 };
    let answer = api.ioctl(args.fd(0)?, request, &mut value);
    if answer.is_ok() && i64::from(value) != expected {
        return Err(format!("ioctl told {value}, not {expected}"));
    }
    Ok(answer)
}

/// The value of an option that is set: as long as the script says.
fn option_value(args: &Args) -> Checked<Vec<u8>> {
    let mut bytes = bytes_of(args.value(3))?;
    if *args.value(4) != Value::Any {
        bytes.resize(args.len(4)?, 0);
    }
    Ok(bytes)
}

fn getsockopt(api: &Interface, args: &Args) -> Checked<Answer> {
    let expected = Expected::of(args.value(3), args.value(4))?;
    let mut value = vec![0; expected.room()];
    let (answer, len) = api.getsockopt(args.fd(0)?, args.int(1)?, args.int(2)?, &mut value);
    if answer.is_ok() {
        value.truncate(len);
        expected.check(&value)?;
    }
    Ok(answer)
}

fn field(fields: &[(String, Value)], name: &str) -> Checked<i64> {
    let found = fields.iter().find(|(field, _)| field == name || name == "fd" && field == "data");
    found.map_or(Ok(0), |(_, value)| number(value))
}

fn poll(api: &Interface, args: &Args) -> Checked<Answer> {
    let Value::List(list) = args.value(0) else { return Err("a list of descriptors expected".to_owned()) };
    let mut fds = Vec::new();
    let mut expected = Vec::new();
    for entry in list {
        let Value::Struct(fields) = entry else { return Err("a `struct pollfd` expected".to_owned()) };
        let bits = |name| i16::try_from(field(fields, name)?).map_err(|error| error.to_string());
        fds.push(pollfd { fd: args.live(field(fields, "fd")?)?, events: bits("events")?, revents: 0 });
        expected.push(bits("revents")?);
    }
    let answer = api.poll(&mut fds, args.int(2)?);
    let told: Vec<i16> = fds.iter().map(|entry| entry.revents).collect();
    if answer.is_ok() && told != expected {
        return Err(format!(
            "poll told {}",
            told.iter().map(|bits| bit_names(*bits)).collect::<Vec<_>>().join(", ")
        ));
    }
    Ok(answer)
}

fn bit_names(bits: i16) -> String {
    let names =
        ["POLLIN", "POLLPRI", "POLLOUT", "POLLERR", "POLLHUP", "POLLRDNORM", "POLLWRNORM", "POLLRDHUP"];
    let is_set = |name: &&str| constant(name).is_some_and(|bit| i64::from(bits) & bit != 0);
    let set: Vec<&str> = names.into_iter().filter(is_set).collect();
    if set.is_empty() { "nothing".to_owned() } else { set.join("|") }
}

fn epoll_event_of(args: &Args, value: &Value) -> Checked<epoll_event> {
    let Value::Struct(fields) = value else { return Ok(epoll_event { events: 0, u64: 0 }) };
    let events = u32::try_from(field(fields, "events")? & 0xffff_ffff).map_err(|error| error.to_string())?;
    let fd = args.live(field(fields, "fd")?)?;
    Ok(epoll_event { events, u64: u64::try_from(fd).unwrap_or(0) })
}

fn epoll_wait(api: &Interface, args: &Args) -> Checked<Answer> {
    let expected: Vec<epoll_event> = match args.value(1) {
        Value::List(list) => list.iter().map(|value| epoll_event_of(args, value)).collect::<Checked<_>>()?,
        Value::Struct(_) => vec![epoll_event_of(args, args.value(1))?],
        _ => Vec::new(),
    };
    let mut events = vec![epoll_event { events: 0, u64: 0 }; args.len(2)?];
    let answer = api.epoll_wait(args.fd(0)?, &mut events, args.int(3)?);
    let Ok(count) = answer else { return Ok(answer) };
    events.truncate(usize::try_from(count).unwrap_or(0));
    let plain = |event: &epoll_event| ({ event.u64 }, { event.events });
    let mut told: Vec<_> = events.iter().map(plain).collect();
    let mut wanted: Vec<_> = expected.iter().map(plain).collect();
    told.sort_unstable();
    wanted.sort_unstable();
    if *args.value(1) != Value::Any && told != wanted {
        return Err(format!("epoll_wait told {told:x?}, not {wanted:x?}, as (descriptor, events)"));
    }
    Ok(answer)
}

fn pipe(api: &Interface, args: &Args, done: &mut Done) -> Checked<Answer> {
    let Value::List(list) = args.value(0) else {
        return Err("a list of two descriptors expected".to_owned());
    };
    let mut ends = [0; 2];
    let answer = api.pipe(&mut ends);
    if answer.is_ok() {
        for (scripts, live) in list.iter().zip(ends) {
            done.made.push((number(scripts)?, live));
        }
    }
    Ok(answer)
}

//! The names that scripts use for numbers: flags, options, errors. Their values are the C library's.

use crate::language::Value;

macro_rules! table {
    ($($name:ident)*) => {
        &[$((stringify!($name), libc::$name as i64)),*]
    };
}

/// Names whose value the C library's binding has.
#[allow(
    clippy::cast_possible_wrap,
    clippy::unnecessary_cast,
    reason = "constants of several C types, each of which fits in 63 bits"
)]
const NAMES: &[(&str, i64)] = table! {
    AF_INET AF_INET6 AF_UNSPEC PF_INET PF_INET6 SOCK_STREAM SOCK_DGRAM SOCK_NONBLOCK SOCK_CLOEXEC IPPROTO_TCP
    IPPROTO_UDP IPPROTO_IP IPPROTO_IPV6 SOL_SOCKET SOL_TCP SOL_IP SOL_IPV6 SO_REUSEADDR SO_REUSEPORT SO_ERROR
    SO_SNDBUF SO_RCVBUF SO_LINGER SO_KEEPALIVE SO_OOBINLINE SO_TYPE SO_ACCEPTCONN SO_RCVTIMEO SO_SNDTIMEO
    SO_RCVLOWAT SO_DOMAIN SO_PROTOCOL SO_BROADCAST TCP_NODELAY TCP_MAXSEG TCP_CORK TCP_KEEPIDLE TCP_KEEPINTVL
    TCP_KEEPCNT TCP_SYNCNT TCP_LINGER2 TCP_DEFER_ACCEPT TCP_WINDOW_CLAMP TCP_INFO TCP_QUICKACK TCP_CONGESTION
    TCP_USER_TIMEOUT TCP_NOTSENT_LOWAT TCP_FASTOPEN TCP_INQ IP_TOS IP_TTL IP_MTU_DISCOVER IP_MTU IP_RECVERR
    IPV6_TCLASS IPV6_UNICAST_HOPS IPV6_V6ONLY MSG_PEEK MSG_DONTWAIT MSG_MORE MSG_OOB MSG_WAITALL MSG_NOSIGNAL
    MSG_TRUNC MSG_ERRQUEUE MSG_EOR MSG_CTRUNC SHUT_RD SHUT_WR SHUT_RDWR O_RDWR O_RDONLY O_WRONLY O_NONBLOCK
    F_GETFL F_SETFL F_GETFD F_SETFD FD_CLOEXEC FIONREAD FIONBIO POLLIN POLLOUT POLLERR POLLHUP
    POLLPRI POLLRDHUP POLLNVAL POLLRDNORM POLLWRNORM EPOLLIN EPOLLOUT EPOLLERR EPOLLHUP EPOLLPRI EPOLLRDHUP
    EPOLLET EPOLLONESHOT EPOLLEXCLUSIVE EPOLLRDNORM EPOLLWRNORM EPOLL_CTL_ADD EPOLL_CTL_MOD EPOLL_CTL_DEL
    SPLICE_F_NONBLOCK SPLICE_F_MOVE INADDR_ANY
    EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF ECONNABORTED ECONNREFUSED ECONNRESET
    EDESTADDRREQ EDOM EEXIST EFAULT EHOSTUNREACH EINPROGRESS EINTR EINVAL EISCONN EMFILE EMSGSIZE ENETUNREACH
    ENOBUFS ENOENT ENOMEM ENOPROTOOPT ENOTCONN ENOTSOCK ENOTTY EOPNOTSUPP EPERM EPIPE EPROTO EPROTONOSUPPORT
    EPROTOTYPE ESHUTDOWN ETIMEDOUT EWOULDBLOCK ENODEV ENFILE
};

/// Names that the binding does not have, by the kernel's headers.
const MORE: &[(&str, i64)] =
    &[("SIOCINQ", 0x541b), ("SIOCATMARK", 0x8905), ("SIOCOUTQ", 0x5411), ("IPV6_MTU", 24), ("NULL", 0)];

/// The number that a name stands for.
pub fn constant(name: &str) -> Option<i64> {
    NAMES.iter().chain(MORE).find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// A value as a number. Errors: it is none.
pub fn number(value: &Value) -> Result<i64, String> {
    match value {
        Value::Number(number) => Ok(*number),
        Value::Names(names) => names.iter().try_fold(0, |bits, name| {
            let number = match name.strip_prefix("0x") {
                Some(digits) => i64::from_str_radix(digits, 16).ok(),
                None => constant(name).or_else(|| name.parse().ok()),
            };
            Ok(bits | number.ok_or_else(|| format!("no such name: {name}"))?)
        }),
        Value::Function(name, arguments) if name == "htons" && arguments.len() == 1 => number(&arguments[0]),
        other => Err(format!("a number expected, not {other:?}")),
    }
}

/// The name of an error number.
pub fn error_name(errno: i32) -> String {
    let known = NAMES.iter().find(|(name, value)| {
        name.starts_with('E') && !name.starts_with("EPOLL") && *value == i64::from(errno)
    });
    known.map_or_else(|| format!("error {errno}"), |(name, _)| (*name).to_owned())
}

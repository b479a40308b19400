//! Errors as BSD sockets tell them: Linux's names and numbers. Which misuse earns which is decided where it is found.

use core::fmt;

use crate::socket::OpError;

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a call failed.
        ///
        /// Units: the numbers are those of Linux on x86-64 and ARM64.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum Errno {
            $($(#[$doc])* $name = $number,)*
        }

        impl fmt::Display for Errno {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Errno::$name => $text,)* })
            }
        }
    };
}

errnos! {
    /// EPERM.
    NotPermitted = 1, "operation not permitted";
    /// ENOENT.
    NoEntry = 2, "no such entry";
    /// EINTR.
    Interrupted = 4, "interrupted";
    /// EBADF.
    BadDescriptor = 9, "bad file descriptor";
    /// EAGAIN.
    Again = 11, "it would block";
    /// ENOMEM.
    NoMemory = 12, "out of memory";
    /// EFAULT.
    Fault = 14, "bad address";
    /// EEXIST.
    Exists = 17, "it exists already";
    /// EINVAL.
    Invalid = 22, "invalid argument";
    /// EMFILE.
    TooManyDescriptors = 24, "too many open descriptors";
    /// ENOTTY.
    NotForThis = 25, "inappropriate request for this descriptor";
    /// ESPIPE.
    NoSeek = 29, "illegal seek";
    /// EPIPE.
    BrokenPipe = 32, "broken pipe";
    /// EDOM.
    Domain = 33, "argument out of domain";
    /// EDEADLK.
    Deadlock = 35, "nothing can ever happen";
    /// ENOTSOCK.
    NotSocket = 88, "not a socket";
    /// EDESTADDRREQ.
    DestinationRequired = 89, "destination address required";
    /// EMSGSIZE.
    TooLong = 90, "message too long";
    /// EPROTOTYPE.
    WrongType = 91, "protocol of another type of socket";
    /// ENOPROTOOPT.
    NoOption = 92, "no such option";
    /// EPROTONOSUPPORT.
    NoProtocol = 93, "protocol not supported";
    /// ESOCKTNOSUPPORT.
    NoSocketType = 94, "type of socket not supported";
    /// EOPNOTSUPP.
    NotSupported = 95, "operation not supported";
    /// EAFNOSUPPORT.
    NoFamily = 97, "address family not supported";
    /// EADDRINUSE.
    AddressInUse = 98, "address already in use";
    /// EADDRNOTAVAIL.
    AddressNotAvailable = 99, "address not available";
    /// ENETUNREACH.
    NetworkUnreachable = 101, "network is unreachable";
    /// ECONNABORTED.
    Aborted = 103, "connection aborted";
    /// ECONNRESET.
    Reset = 104, "connection reset by peer";
    /// ENOBUFS.
    NoBuffers = 105, "no buffer space";
    /// EISCONN.
    Connected = 106, "already connected";
    /// ENOTCONN.
    NotConnected = 107, "not connected";
    /// ETIMEDOUT.
    TimedOut = 110, "timed out";
    /// ECONNREFUSED.
    Refused = 111, "connection refused";
    /// EHOSTUNREACH.
    HostUnreachable = 113, "no route to host";
    /// EALREADY.
    Already = 114, "connecting already";
    /// EINPROGRESS.
    InProgress = 115, "now in progress";
    /// ENOTRECOVERABLE.
    NotRecoverable = 131, "internal failure";
}

impl Errno {
    /// Linux's number.
    pub fn number(self) -> i32 {
        self as i32
    }
}

impl core::error::Error for Errno {}

impl From<OpError> for Errno {
    fn from(error: OpError) -> Errno {
        match error {
            OpError::StaleHandle | OpError::WrongLane(_) => Errno::BadDescriptor,
            OpError::WrongKind => Errno::NotSupported,
            OpError::AddressInUse => Errno::AddressInUse,
            OpError::AddressNotAvailable | OpError::NoPorts => Errno::AddressNotAvailable,
            OpError::NoRoom => Errno::NoBuffers,
            OpError::Refused => Errno::Refused,
            OpError::Reset => Errno::Reset,
            OpError::TimedOut => Errno::TimedOut,
            OpError::Unreachable => Errno::HostUnreachable,
            OpError::NetworkUnreachable => Errno::NetworkUnreachable,
            OpError::NotOpen => Errno::BrokenPipe,
            OpError::TooLong => Errno::TooLong,
            OpError::Cancelled => Errno::Aborted,
            OpError::Denied => Errno::NotPermitted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_linux() {
        // Shows a sample of the numbers, as include/uapi/asm-generic/errno*.h has them.
        let sample =
            [(Errno::Again, 11), (Errno::BrokenPipe, 32), (Errno::InProgress, 115), (Errno::Reset, 104)];
        for (errno, number) in sample {
            assert_eq!(errno.number(), number, "{errno}");
        }
        assert_eq!(Errno::from(OpError::TimedOut), Errno::TimedOut);
    }
}

//! What a lane found: latencies, errors by kind, bytes. How it is told is `report.rs`'s.

use std::fmt;
use std::time::Duration;

use corelane::OpError;
use hdrhistogram::Histogram;

/// Longest latency that is told apart from longer ones. Units: nanoseconds.
const LATENCY_MAX: u64 = 3_600_000_000_000;

/// What became of a request, or of a connection without one, that was not answered as it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// The server refused the connection.
    Refused,
    /// The server reset the connection.
    Reset,
    /// The connection, or the answer, took too long.
    TimedOut,
    /// There is no way to the server.
    Unreachable,
    /// Every source port is taken: more source addresses are needed.
    NoPorts,
    /// A bound of the lane is reached.
    NoRoom,
    /// The connection ended before its answers.
    Ended,
    /// What came is no answer, or not what was sent.
    Malformed,
    /// TLS failed.
    Tls,
    /// Answered with a status of 400 to 499.
    Status4xx,
    /// Answered with a status of 500 or above.
    Status5xx,
    /// Due, and not begun when the time was up.
    NotSent,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// Each kind, in the order of [`Results::errors`].
    pub const ALL: [ErrorKind; 13] = [
        ErrorKind::Refused,
        ErrorKind::Reset,
        ErrorKind::TimedOut,
        ErrorKind::Unreachable,
        ErrorKind::NoPorts,
        ErrorKind::NoRoom,
        ErrorKind::Ended,
        ErrorKind::Malformed,
        ErrorKind::Tls,
        ErrorKind::Status4xx,
        ErrorKind::Status5xx,
        ErrorKind::NotSent,
        ErrorKind::Other,
    ];

    /// As it is called in JSON.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::Refused => "refused",
            ErrorKind::Reset => "reset",
            ErrorKind::TimedOut => "timed_out",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::NoPorts => "no_ports",
            ErrorKind::NoRoom => "no_room",
            ErrorKind::Ended => "ended_early",
            ErrorKind::Malformed => "malformed",
            ErrorKind::Tls => "tls",
            ErrorKind::Status4xx => "status_4xx",
            ErrorKind::Status5xx => "status_5xx",
            ErrorKind::NotSent => "not_sent",
            ErrorKind::Other => "other",
        }
    }

    /// The kind of a status, if it is one.
    pub(super) fn of_status(status: u16) -> Option<ErrorKind> {
        match status {
            0..400 => None,
            400..500 => Some(ErrorKind::Status4xx),
            500.. => Some(ErrorKind::Status5xx),
        }
    }
}

impl From<OpError> for ErrorKind {
    fn from(error: OpError) -> Self {
        match error {
            OpError::Refused => ErrorKind::Refused,
            OpError::Reset => ErrorKind::Reset,
            OpError::TimedOut => ErrorKind::TimedOut,
            OpError::Unreachable | OpError::NetworkUnreachable => ErrorKind::Unreachable,
            OpError::NoPorts => ErrorKind::NoPorts,
            OpError::NoRoom => ErrorKind::NoRoom,
            _ => ErrorKind::Other,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::Refused => "refused",
            ErrorKind::Reset => "reset by the server",
            ErrorKind::TimedOut => "timed out",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::NoPorts => "without a source port (name more addresses with --source)",
            ErrorKind::NoRoom => "without room (raise --sockets)",
            ErrorKind::Ended => "ended early",
            ErrorKind::Malformed => "malformed",
            ErrorKind::Tls => "TLS",
            ErrorKind::Status4xx => "status 4xx",
            ErrorKind::Status5xx => "status 5xx",
            ErrorKind::NotSent => "due but not sent in time",
            ErrorKind::Other => "other",
        })
    }
}

/// What one lane found, or several together.
#[derive(Clone, Debug)]
pub struct Results {
    /// From the moment each request was due to the end of its answer. Units: nanoseconds.
    pub latency: Histogram<u64>,
    /// From asking for each connection to having it. Units: nanoseconds.
    pub connect: Histogram<u64>,
    /// From having a connection to having TLS on it. Units: nanoseconds.
    pub handshake: Histogram<u64>,
    /// By [`ErrorKind::ALL`].
    pub errors: [u64; ErrorKind::ALL.len()],
    /// Requests that count and were answered.
    pub answered: u64,
    /// Of them, those within the time: what rates are made of.
    pub answered_in_time: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Of them, those that had not ended when the time for that was over; the end of the lane resets them.
    pub unclosed: u64,
    /// Bytes sent within the time, TCP's and IP's own excluded.
    pub sent_bytes: u64,
    /// Bytes received within the time.
    pub received_bytes: u64,
    /// How long requests counted.
    pub span: Duration,
    /// What was said of the first TLS error.
    pub tls_error: Option<String>,
    /// It was told to end early.
    pub interrupted: bool,
}

/// Three digits, up to [`LATENCY_MAX`].
fn histogram() -> Histogram<u64> {
    // Fails for bounds that contradict each other alone.
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("one is below an hour")
}

impl Default for Results {
    fn default() -> Self {
        Results {
            latency: histogram(),
            connect: histogram(),
            handshake: histogram(),
            errors: [0; ErrorKind::ALL.len()],
            answered: 0,
            answered_in_time: 0,
            opened: 0,
            unclosed: 0,
            sent_bytes: 0,
            received_bytes: 0,
            span: Duration::ZERO,
            tls_error: None,
            interrupted: false,
        }
    }
}

impl Results {
    /// Count errors.
    pub fn fail(&mut self, kind: ErrorKind, count: u64) {
        self.errors[kind as usize] += count;
    }

    /// Errors of a kind.
    pub fn errors_of(&self, kind: ErrorKind) -> u64 {
        self.errors[kind as usize]
    }

    /// Errors of every kind.
    pub fn errors_all(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// So many of something a second.
    pub fn rate(&self, count: u64) -> f64 {
        let seconds = self.span.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate has no use for so many digits")]
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }

    /// Add what another lane found in the same time.
    pub fn merge(&mut self, other: &Results) {
        let Results {
            latency,
            connect,
            handshake,
            errors,
            answered,
            answered_in_time,
            opened,
            unclosed,
            sent_bytes,
            received_bytes,
            span,
            tls_error,
            interrupted,
        } = other;
        for (mine, theirs) in
            [(&mut self.latency, latency), (&mut self.connect, connect), (&mut self.handshake, handshake)]
        {
            // All have the same bounds.
            let added = mine.add(theirs);
            debug_assert!(added.is_ok(), "histograms differ");
        }
        for (mine, theirs) in self.errors.iter_mut().zip(errors) {
            *mine += theirs;
        }
        self.answered += answered;
        self.answered_in_time += answered_in_time;
        self.opened += opened;
        self.unclosed += unclosed;
        self.sent_bytes += sent_bytes;
        self.received_bytes += received_bytes;
        self.span = self.span.max(*span);
        self.tls_error = self.tls_error.take().or_else(|| tls_error.clone());
        self.interrupted |= interrupted;
    }
}

/// Record a time.
pub(super) fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_add_up() {
        // Shows that percentiles come of all lanes' samples, that counts add, and that the longest span is the span.
        let (mut one, mut other) = (Results::default(), Results::default());
        for millis in 1..=50 {
            record(&mut one.latency, Duration::from_millis(millis));
            record(&mut other.latency, Duration::from_millis(50 + millis));
        }
        (one.answered_in_time, other.answered_in_time) = (50, 50);
        (one.span, other.span) = (Duration::from_secs(1), Duration::from_secs(2));
        other.fail(ErrorKind::Reset, 3);
        (one.unclosed, other.unclosed) = (1, 2);
        one.merge(&other);
        let median = one.latency.value_at_quantile(0.5);
        assert!((49_900_000..50_100_000).contains(&median), "{median}");
        assert_eq!((one.latency.len(), one.errors_all(), one.errors_of(ErrorKind::Reset)), (100, 3, 3));
        assert!((one.rate(one.answered_in_time) - 50.0).abs() < 1e-9);
        assert_eq!(one.unclosed, 3);
    }

    #[test]
    fn errors_are_found_under_their_own_name() {
        // Shows that the order of the kinds is that of the counters, and that no two are called the same.
        for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(ErrorKind::ALL.iter().filter(|other| other.name() == kind.name()).count(), 1);
        }
        assert_eq!(ErrorKind::of_status(304), None);
        assert_eq!(ErrorKind::of_status(404), Some(ErrorKind::Status4xx));
        assert_eq!(ErrorKind::of_status(503), Some(ErrorKind::Status5xx));
    }

    #[test]
    fn absurd_times_do_no_harm() {
        // Shows that nothing and more than the longest are recorded at the edges.
        let mut results = Results::default();
        record(&mut results.latency, Duration::ZERO);
        record(&mut results.latency, Duration::MAX);
        assert_eq!((results.latency.len(), results.latency.min()), (2, 1));
        assert!(results.latency.max() >= LATENCY_MAX);
    }
}

//! What the client found: named as `loadgen` names it.

use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

/// Counts of one run.
pub struct Found {
    /// From sending each ping to its last byte, or to the last byte from asking for its connection. Units: nanoseconds.
    pub latency: Histogram<u64>,
    /// Connections that were opened, within the time and before it.
    pub opened: u64,
    /// Connections that could not be opened, ended early, or brought other bytes than were sent.
    pub errors: u64,
    /// Bytes within the time.
    pub sent_bytes: u64,
    /// Bytes within the time.
    pub received_bytes: u64,
}

impl Found {
    pub fn new() -> Found {
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("a minute in three digits");
        Found { latency, opened: 0, errors: 0, sent_bytes: 0, received_bytes: 0 }
    }

    pub fn record(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.latency.saturating_record(nanoseconds.max(1));
    }

    /// One object on one line: what took `span`, and the process's time in it.
    pub fn json(&self, span: Duration, processor: Duration) -> String {
        let seconds = span.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "counts of one run have fewer than 2^53")]
        let rate = |count: u64| count as f64 / seconds;
        let at = |quantile| self.latency.value_at_quantile(quantile);
        serde_json::json!({
            "requests": self.latency.len(),
            "requests_per_second": rate(self.latency.len()),
            "seconds": seconds,
            "processor_seconds": processor.as_secs_f64(),
            "latency_ns": {
                "p10": at(0.1), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": self.latency.max(),
            },
            "connections_opened": self.opened,
            "received_bytes": self.received_bytes,
            "received_bytes_per_second": rate(self.received_bytes),
            "sent_bytes": self.sent_bytes,
            "sent_bytes_per_second": rate(self.sent_bytes),
            "errors": self.errors,
        })
        .to_string()
    }
}

/// Processor time that this process has used so far.
pub fn processor_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let nanoseconds = u32::try_from(used.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), nanoseconds)
}

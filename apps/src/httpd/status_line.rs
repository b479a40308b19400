//! A line on the terminal that says how the server is, drawn by a thread that is no lane. The figures are the board's.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::board::{Board, Snapshot};

/// How often the line is drawn.
const EVERY: Duration = Duration::from_secs(1);

/// How often it is seen whether lanes are stopping, whose reports must not be drawn over.
const LOOK: Duration = Duration::from_millis(100);

/// The line; it goes when this is dropped.
#[derive(Debug)]
pub struct StatusLine {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StatusLine {
    /// Draw on standard error, if that is a terminal.
    ///
    /// Errors: there is no thread to be had.
    pub fn start(board: Arc<Board>) -> io::Result<Option<StatusLine>> {
        if !io::stderr().is_terminal() {
            return Ok(None);
        }
        let (stop, stopped) = channel::<()>();
        let draw = move || {
            let (mut before, mut now) = (Vec::new(), Vec::new());
            let mut drawn = Instant::now();
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                board.look(&mut now);
                if now.iter().any(|lane| lane.server.stopping) {
                    break;
                }
                if drawn.elapsed() >= EVERY {
                    show(&line(&before, &now, drawn.elapsed()));
                    (before, drawn) = (now.clone(), Instant::now());
                }
            }
            show("");
        };
        let thread = thread::Builder::new().name("status".into()).spawn(draw)?;
        Ok(Some(StatusLine { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

/// Draw over the line that is there.
fn show(text: &str) {
    let mut out = io::stderr().lock();
    // Whoever closed the terminal does not want to know.
    let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
}

/// What there is to say, all lanes together.
pub fn line(before: &[Snapshot], now: &[Snapshot], time: Duration) -> String {
    let sum = |lanes: &[Snapshot], of: fn(&Snapshot) -> u64| lanes.iter().map(of).sum::<u64>();
    let rate = |of: fn(&Snapshot) -> u64| {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let more = sum(now, of).saturating_sub(sum(before, of));
        u64::try_from(u128::from(more) * 1_000_000 / u128::from(micros)).unwrap_or(u64::MAX)
    };
    let connections: usize = now.iter().map(|lane| lane.server.connections).sum();
    let bits = rate(|lane| 8 * (lane.report.attached_bytes + lane.report.copied_bytes)) / 100_000;
    let drops = sum(now, |lane| lane.report.counters.dropped() + lane.server.log_dropped);
    let requests = rate(|lane| lane.server.requests);
    format!(
        "{connections} connections, {requests} requests/s, {}.{} Mb/s, {drops} drops",
        bits / 10,
        bits % 10
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::httpd::board::tests::snapshots;

    #[test]
    fn the_line_sums_lanes_and_divides_by_the_time() {
        // Shows two lanes over two seconds, and that a first look without an earlier one is no panic.
        let before = snapshots(2);
        let mut now = before.clone();
        for lane in &mut now {
            lane.server.requests += 300;
            lane.server.connections = 7;
            lane.report.attached_bytes += 1_000_000;
            lane.server.log_dropped = 1;
        }
        let two = Duration::from_secs(2);
        assert_eq!(line(&before, &now, two), "14 connections, 300 requests/s, 8.0 Mb/s, 2 drops");
        assert_eq!(line(&[], &[], Duration::ZERO), "0 connections, 0 requests/s, 0.0 Mb/s, 0 drops");
    }
}

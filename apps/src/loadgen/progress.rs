//! How far the lanes are, on a terminal. Lanes write numbers; a thread beside them reads and draws.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often the line is drawn anew.
const DRAW: Duration = Duration::from_millis(200);

/// One lane's numbers, written by it alone.
#[derive(Debug, Default)]
pub struct Progress {
    answered: AtomicU64,
    errors: AtomicU64,
    opened: AtomicU64,
}

impl Progress {
    /// Numbers now.
    pub(super) fn set(&self, answered: u64, errors: u64, opened: u64) {
        self.answered.store(answered, Ordering::Relaxed);
        self.errors.store(errors, Ordering::Relaxed);
        self.opened.store(opened, Ordering::Relaxed);
    }
}

/// The thread that draws; it ends when told.
#[derive(Debug)]
pub struct Drawing {
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Drawing {
    /// Wipe the line away.
    pub fn end(self) {
        self.over.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // A panic there was printed there.
        let _ = self.thread.join();
    }
}

/// Draw a line on standard error, if that is a terminal. `goal`: requests, else the duration is.
pub fn show(lanes: Vec<Arc<Progress>>, goal: Option<u64>, duration: Option<Duration>) -> Option<Drawing> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let draw = move || {
        let length =
            goal.or_else(|| duration.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
        let bar = ProgressBar::new(length.unwrap_or(0));
        // Only a template that is wrong fails.
        if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        let sum = |of: fn(&Progress) -> &AtomicU64| -> u64 {
            lanes.iter().map(|lane| of(lane).load(Ordering::Relaxed)).sum()
        };
        let (mut before, mut then, mut begun) = (0, Instant::now(), None);
        while !told.load(Ordering::Acquire) {
            let (answered, errors, opened) =
                (sum(|lane| &lane.answered), sum(|lane| &lane.errors), sum(|lane| &lane.opened));
            let now = Instant::now();
            let begun = *begun.get_or_insert(now);
            #[expect(clippy::cast_precision_loss, reason = "a rate for the eye")]
            let rate = (answered - before) as f64 / (now - then).as_secs_f64().max(1e-3);
            (before, then) = (answered, now);
            let passed = u64::try_from((now - begun).as_millis()).unwrap_or(u64::MAX);
            bar.set_position(if goal.is_some() { answered } else { passed });
            bar.set_message(format!(
                "{answered} answers, {rate:.0}/s, {opened} connections, {errors} errors"
            ));
            thread::park_timeout(DRAW);
        }
        bar.finish_and_clear();
    };
    let thread = thread::Builder::new().name("progress".into()).spawn(draw).ok()?;
    Some(Drawing { over, thread })
}

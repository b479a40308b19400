//! What lanes count, printed and written by a thread of its own, so that no lane waits for a terminal or a disk.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use corelane::Report;

/// What lanes tell the reporter.
pub enum Note {
    /// A lane listens, here, and its counts are these.
    Start(SocketAddr, Box<Report>),
    /// A lane's counts, since somebody asked: for the how-manieth time.
    Asked(u64, Box<Report>),
    /// A lane's counts at its end.
    End(Box<Report>),
}

/// The thread that prints.
pub struct Reporter {
    thread: JoinHandle<io::Result<()>>,
}

struct Reporting<R> {
    lanes: usize,
    file: Option<PathBuf>,
    ready: R,
    start: Vec<Report>,
    asked: Vec<Report>,
    asked_for: u64,
    end: Vec<Report>,
    written: io::Result<()>,
}

impl Reporter {
    /// A reporter for so many lanes, and where to send it notes. Once all lanes listen it prints what `ready` makes of
    /// the first one's address on standard output, unless that is empty.
    pub fn start(
        lanes: usize,
        file: Option<PathBuf>,
        ready: impl Fn(SocketAddr) -> String + Send + 'static,
    ) -> io::Result<(Reporter, Sender<Note>)> {
        let (sender, inbox) = channel();
        let (start, asked, end) = (Vec::new(), Vec::new(), Vec::new());
        let reporting = Reporting { lanes, file, ready, start, asked, asked_for: 0, end, written: Ok(()) };
        let thread = thread::Builder::new().name("report".into()).spawn(|| reporting.run(inbox))?;
        Ok((Reporter { thread }, sender))
    }

    /// Wait until all notes have been dealt with; their senders must have gone.
    ///
    /// Errors: the file could not be written.
    pub fn join(self) -> io::Result<()> {
        // A panic there was printed there.
        self.thread.join().unwrap_or(Ok(()))
    }
}

impl<R: Fn(SocketAddr) -> String> Reporting<R> {
    fn run(mut self, inbox: Receiver<Note>) -> io::Result<()> {
        for note in inbox {
            self.take(note);
        }
        // A lane that failed tells no end: the others' is told all the same.
        if !self.end.is_empty() {
            let reports = core::mem::take(&mut self.end);
            self.tell(&reports);
        }
        self.written
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Start(local, report) => {
                self.start.push(*report);
                if self.start.len() == self.lanes {
                    let line = (self.ready)(local);
                    let mut out = io::stdout().lock();
                    if !line.is_empty() {
                        // Whoever closed our output does not want to know.
                        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
                    }
                }
            }
            Note::Asked(number, report) => {
                if number != self.asked_for {
                    self.asked_for = number;
                    self.asked.clear();
                }
                self.asked.push(*report);
                if self.asked.len() == self.lanes {
                    let reports = core::mem::take(&mut self.asked);
                    self.tell(&reports);
                }
            }
            Note::End(report) => {
                self.end.push(*report);
                if self.end.len() == self.lanes {
                    let reports = core::mem::take(&mut self.end);
                    self.tell(&reports);
                }
            }
        }
    }

    fn tell(&mut self, reports: &[Report]) {
        if let [report] = reports {
            eprint!("{report}");
        } else if let Some(total) = total(reports) {
            eprint!("{}", total.to_string().replacen(&total.lane.to_string(), "all lanes", 1));
            reports.iter().for_each(|report| eprint!("{report}"));
        }
        let Some(file) = &self.file else { return };
        let json = object(reports, &self.start);
        self.written = if file == Path::new("-") {
            let mut out = io::stdout().lock();
            writeln!(out, "{json}").and_then(|()| out.flush())
        } else {
            write_whole(file, &json)
        };
    }
}

fn total(reports: &[Report]) -> Option<Report> {
    let mut sum = reports.first()?.clone();
    reports.iter().skip(1).for_each(|report| sum.add(report));
    Some(sum)
}

/// One object: the lanes together, under `lanes` each by itself if there are several, under `start` what all had then.
fn object(reports: &[Report], start: &[Report]) -> String {
    let Some(mut json) = total(reports).map(|total| total.to_json()) else { return "{}".to_owned() };
    let mut put = |key: &str, value: &str| {
        json.pop();
        json += &format!(",\"{key}\":{value}}}");
    };
    if reports.len() > 1 {
        let mut lanes: Vec<&Report> = reports.iter().collect();
        lanes.sort_by_key(|report| report.lane);
        let lanes: Vec<String> = lanes.into_iter().map(Report::to_json).collect();
        put("lanes_each", &format!("[{}]", lanes.join(",")));
    }
    if let Some(start) = total(start) {
        put("start", &start.to_json());
    }
    json
}

/// Write a file in one step: whoever reads it sees the old one or the new one.
fn write_whole(file: &Path, json: &str) -> io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let explain = |error: io::Error| {
        let text = format!("cannot write the report to `{}` ({error}); name another file", file.display());
        io::Error::new(error.kind(), text)
    };
    fs::write(&name, format!("{json}\n")).and_then(|()| fs::rename(&name, file)).map_err(explain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_and_each_lane_go_into_the_report() {
        // Shows the one object that comes of several: sums, each lane, and the sums after start.
        let report = |lane, flows| Report { lane: corelane::LaneId(lane), flows, ..Report::default() };
        let json: serde_json::Value =
            serde_json::from_str(&object(&[report(1, 3), report(0, 4)], &[report(0, 1)])).unwrap();
        assert_eq!((&json["flows"], &json["start"]["flows"]), (&7.into(), &1.into()));
        assert_eq!((&json["lanes_each"][0]["flows"], &json["lanes_each"][1]["lane"]), (&4.into(), &1.into()));
        let single: serde_json::Value = serde_json::from_str(&object(&[report(0, 2)], &[])).unwrap();
        assert!(single["lanes_each"].is_null() && single["start"].is_null() && single["flows"] == 2);
    }

    #[test]
    fn a_report_that_cannot_be_written_says_where() {
        // Shows the one line an operator gets for a folder that is not there.
        let error = write_whole(Path::new("/nonexistent/report.json"), "{}").unwrap_err().to_string();
        assert!(
            error.contains("`/nonexistent/report.json`") && error.contains("name another file"),
            "{error}"
        );
    }
}

//! What DPDK says. It goes into a pipe, from which errors quote the last line; nothing of it reaches the user
//! unless verbose logs are asked for. Which arguments set the log level is `eal.rs`'s.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use dpdk_sys as ffi;

/// The reading end. A full pipe drops further lines (it does not block), so this is bounded by its 64 KiB.
static READER: Mutex<Option<File>> = Mutex::new(None);

/// The writing end, for [`Muffled`]. Empty with verbose logs.
static WRITER: OnceLock<OwnedFd> = OnceLock::new();

/// Directs DPDK's log into the pipe, from now to the end of the process. Without a pipe it stays where it was.
///
/// Call it once, before the EAL starts.
pub(super) fn capture() {
    // Fails if descriptors are used up; the log then goes where it went.
    let _ = try_capture();
}

fn try_capture() -> Option<()> {
    let (reader, writer) = pipe()?;
    let for_log = writer.try_clone().ok()?;
    // SAFETY: the mode is a C string; the descriptor is open and, being given up here, the stream's alone.
    let stream = unsafe { libc::fdopen(for_log.into_raw_fd(), c"w".as_ptr()) };
    if stream.is_null() {
        return None;
    }
    // Unbuffered, so that a line is in the pipe when the call that wrote it returns.
    // SAFETY: the stream is open, and no buffer is handed over.
    unsafe { libc::setvbuf(stream, std::ptr::null_mut(), libc::_IONBF, 0) };
    // SAFETY: the stream is open and is never closed.
    let status = unsafe { ffi::rte_openlog_stream(stream.cast()) };
    if status != 0 {
        return None;
    }
    *READER.lock().unwrap_or_else(PoisonError::into_inner) = Some(File::from(reader));
    WRITER.set(writer).ok()
}

fn pipe() -> Option<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    let status = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) };
    if status != 0 {
        return None;
    }
    // SAFETY: pipe2 has just opened it, and nobody else has it.
    let reader = unsafe { OwnedFd::from_raw_fd(ends[0]) };
    // SAFETY: as above.
    let writer = unsafe { OwnedFd::from_raw_fd(ends[1]) };
    Some((reader, writer))
}

/// Takes what DPDK has said since the last call.
pub(super) fn take() -> String {
    let mut reader = READER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut said = Vec::new();
    if let Some(reader) = reader.as_mut() {
        // Ends with an error once the pipe is empty; what came before is in `said`.
        let _ = reader.read_to_end(&mut said);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// The line of `said` that tells most: the first that was not about trying something else.
///
/// DPDK logs the cause first, then each level of callers that fails because of it.
pub(super) fn cause(said: &str) -> Option<String> {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    // Lines of libraries below a driver, of things that do not matter here, and headings of lists.
    let aside = |line: &str| {
        line.starts_with("libbpf:")
            || line.starts_with("libxdp:")
            || line.starts_with("TELEMETRY:")
            || line.contains("No free")
            || line.ends_with(':')
    };
    let telling = lines().find(|line| !aside(line));
    let line = telling.or_else(|| lines().next_back())?;
    // `EAL: `, `ETHDEV: ` or a function's name in front says nothing to the reader.
    let line = line.split_once(": ").map_or(line, |(_, rest)| rest);
    let line = line.trim_end_matches(['!', '.']);
    Some(line.to_owned())
}

/// While it lives, some of this process's standard streams go to the pipe too: the EAL and the libraries below
/// drivers print errors past DPDK's log.
///
/// What other threads print there meanwhile is lost with it, so it lives for one call only.
pub(super) struct Muffled {
    saved: Vec<(i32, OwnedFd)>,
}

impl Muffled {
    /// Muffles these descriptors, unless logs are verbose.
    pub(super) fn new(streams: &[i32]) -> Muffled {
        let Some(pipe) = WRITER.get() else { return Muffled { saved: Vec::new() } };
        let save = |fd: &i32| {
            // SAFETY: duplicating a descriptor touches no memory; a closed one is answered with an error.
            let copy = unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, 3) };
            // SAFETY: fcntl has just opened it, and nobody else has it.
            (copy >= 0).then(|| (*fd, unsafe { OwnedFd::from_raw_fd(copy) }))
        };
        let saved: Vec<(i32, OwnedFd)> = streams.iter().filter_map(save).collect();
        for (fd, _) in &saved {
            // SAFETY: both descriptors are open.
            unsafe { libc::dup2(pipe.as_raw_fd(), *fd) };
        }
        Muffled { saved }
    }
}

impl Drop for Muffled {
    fn drop(&mut self) {
        // C's standard output may still hold lines for the pipe.
        // SAFETY: a null stream means all of them.
        unsafe { libc::fflush(std::ptr::null_mut()) };
        for (fd, saved) in &self.saved {
            // SAFETY: both descriptors are open.
            unsafe { libc::dup2(saved.as_raw_fd(), *fd) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_quoted_without_its_module() {
        // Shows which of DPDK's lines an error carries.
        let said = "EAL: failed to parse device \"net_tab0\"\nEAL: Cannot probe devices.\n";
        assert_eq!(cause(said).as_deref(), Some("failed to parse device \"net_tab0\""));
        let said = "libxdp: No bpffs found\nxsk_configure(): Failed to create xsk socket.\n";
        assert_eq!(cause(said).as_deref(), Some("Failed to create xsk socket"));
        assert_eq!(cause("\n"), None);
    }
}

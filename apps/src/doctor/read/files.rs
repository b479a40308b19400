//! Reading files and links under a root folder. What they mean is for the files beside this one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Process;
use super::process::Capability;

/// Most of a file that is read, in bytes: what the kernel tells is short, but for tables of connections.
const FILE_MAX: usize = 1 << 20;

/// Most cores that a list of them names.
const CORES_MAX: u32 = 8192;

/// The folder that `/sys`, `/proc`, `/dev` and `/usr` are looked for in.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

/// Whether a file can be opened to read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is not there.
    Missing,
    /// Its owner, group and mode say no.
    Denied,
    /// They say yes.
    Granted,
}

impl Root {
    /// The root of the host itself is `/`.
    pub fn new(folder: impl Into<PathBuf>) -> Root {
        Root(folder.into())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// A file's text without white space at its ends; `None` if it cannot be read.
    pub fn text(&self, path: &str) -> Option<String> {
        let mut bytes = fs::read(self.at(path)).ok()?;
        bytes.truncate(FILE_MAX);
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file that holds a decimal number. One that is too large for a count of anything is none.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse::<u32>().ok().map(u64::from)
    }

    /// A file that holds a hexadecimal number with `0x` in front.
    pub fn hex(&self, path: &str) -> Option<u32> {
        u32::from_str_radix(self.text(path)?.trim_start_matches("0x"), 16).ok()
    }

    /// What is in a folder, sorted; nothing if there is none.
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The last part of what a symbolic link points at: a driver's name, a group's number.
    pub fn link(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.at(path)).ok()?;
        Some(Path::file_name(&target)?.to_string_lossy().into_owned())
    }

    /// Whether there is such a file or folder.
    pub fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// Whether the process may read and write a file, by its mode alone: opening a VFIO group would take it from a
    /// program that is about to start.
    pub fn access(&self, path: &str, process: &Process) -> Access {
        let Ok(file) = fs::metadata(self.at(path)) else { return Access::Missing };
        let shift = if file.uid() == process.user {
            6
        } else if process.groups.contains(&file.gid()) {
            3
        } else {
            0
        };
        let both = (file.mode() >> shift) & 0o6 == 0o6;
        if both || process.has(Capability::DacOverride) { Access::Granted } else { Access::Denied }
    }
}

/// Cores in the kernel's notation, such as `0-3,8`. What is no list, `(null)` say, names none.
pub fn cpu_list(text: &str) -> Vec<u32> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
            cores.extend(first..=last.min(CORES_MAX));
        }
    }
    cores
}

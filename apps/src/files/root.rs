//! Opening files below the root and nowhere else. What a target means as a path is `http::file_path`'s.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::listing::listing;
use super::{Identity, OpenError};
use crate::http::{FilePath, media_type};

/// The folder that is served.
#[derive(Debug)]
pub(super) struct Root {
    /// Without symbolic links.
    path: PathBuf,
    /// Folders without an index are listed.
    listing: bool,
}

/// A regular file below the root, open for reading.
#[derive(Debug)]
pub(super) struct Found {
    pub file: File,
    pub identity: Identity,
    pub media_type: &'static str,
}

/// What a target names.
#[derive(Debug)]
pub(super) enum Place {
    File(Found),
    /// A folder without an index: the page that lists it.
    Listing(String),
}

impl Root {
    /// Errors: it is no folder that can be read.
    pub fn new(path: &Path, listing: bool) -> io::Result<Root> {
        let path = path.canonicalize()?;
        fs::read_dir(&path)?;
        Ok(Root { path, listing })
    }

    /// Open a file, or a folder's `index.html`; without that, list the folder if that is wished.
    pub fn open(&self, target: &FilePath) -> Result<Place, OpenError> {
        let path = self.path.join(OsStr::from_bytes(&target.relative));
        let (file, metadata) = self.open_inside(&path)?;
        if metadata.is_dir() {
            if !target.folder {
                return Err(OpenError::Folder);
            }
            return match self.open_inside(&path.join("index.html")) {
                Ok((index, metadata)) => found(index, &metadata, b"index.html").map(Place::File),
                // Read through the descriptor that was found to lie inside.
                Err(OpenError::NotFound) if self.listing => {
                    listing(&descriptor(&file), &self.path, &target.relative)
                        .map(Place::Listing)
                        .map_err(|error| open_error(&error))
                }
                Err(error) => Err(error),
            };
        }
        if target.folder {
            return Err(OpenError::NotFound);
        }
        found(file, &metadata, &target.relative).map(Place::File)
    }

    /// Open whatever is there, and let it count only if it truly lies below the root.
    ///
    /// Asked of the descriptor and not of the path, so that no symbolic link can change between check and use.
    fn open_inside(&self, path: &Path) -> Result<(File, Metadata), OpenError> {
        // A FIFO must not stop the file thread, nor a terminal become its own.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file =
            OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|e| open_error(&e))?;
        let place = fs::read_link(descriptor(&file)).map_err(|_| OpenError::Failed)?;
        if !place.starts_with(&self.path) {
            return Err(OpenError::NotFound);
        }
        let metadata = file.metadata().map_err(|_| OpenError::Failed)?;
        Ok((file, metadata))
    }
}

/// The name under which the kernel shows what is open.
fn descriptor(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn found(file: File, metadata: &Metadata, name: &[u8]) -> Result<Found, OpenError> {
    if !metadata.is_file() {
        return Err(OpenError::NotFound);
    }
    Ok(Found { file, identity: identity(metadata), media_type: media_type(name) })
}

/// Which version of which file the metadata are of.
pub(super) fn identity(metadata: &Metadata) -> Identity {
    Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
        length: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    }
}

fn open_error(error: &io::Error) -> OpenError {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => OpenError::Forbidden,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EINTR) => OpenError::Busy,
        // A socket or an absent device says ENXIO; a strange name EINVAL.
        Some(
            libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG | libc::ELOOP | libc::ENXIO | libc::EINVAL,
        ) => OpenError::NotFound,
        _ => OpenError::Failed,
    }
}

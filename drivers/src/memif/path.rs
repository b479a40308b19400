//! What a memif link's socket lacks, looked at first so that it is told in one line with its remedy.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::{fs, io};

use crate::device::MemifRole;
use crate::setup::SetupError;

/// A client's socket is there. A server's folder is, and no dead server's socket is in the way of a new one.
pub(crate) fn check(role: MemifRole, socket: &Path) -> Result<(), SetupError> {
    let failed =
        |error: io::Error| SetupError::File { path: socket.display().to_string(), reason: error.to_string() };
    let found = fs::symlink_metadata(socket);
    if role == MemifRole::Client {
        return match found {
            Ok(_) => Ok(()),
            Err(_) => Err(SetupError::MemifServer { socket: socket.display().to_string() }),
        };
    }
    let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::metadata(folder.unwrap_or(Path::new("."))).map_err(failed)?;
    match found {
        Ok(found) if !found.file_type().is_socket() => {
            Err(failed(io::Error::other("it is there and no socket")))
        }
        Ok(_) if is_deserted(socket) => fs::remove_file(socket).map_err(failed),
        _ => Ok(()),
    }
}

/// Nobody listens on a socket. Its server was killed: one that ends removes it.
///
/// Coming to the socket to see would be an answer too, but a memif server of DPDK's dies of a client that goes at once.
fn is_deserted(socket: &Path) -> bool {
    let Ok(sockets) = fs::read_to_string("/proc/net/unix") else { return false };
    let path = socket.as_os_str().as_encoded_bytes();
    !sockets.lines().any(|line| line.as_bytes().ends_with(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memif_ends_are_told_what_their_socket_lacks() {
        // Shows a client without a server, a server without a folder, and what lies in a server's way.
        let folder = std::env::temp_dir().join(format!("corelane-memif-path-{}", std::process::id()));
        let socket = folder.join("s");
        let said = |role| check(role, &socket).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said(MemifRole::Server).contains("No such file"));
        fs::create_dir_all(&folder).expect("a folder");
        assert_eq!(said(MemifRole::Server), "");
        assert!(said(MemifRole::Client).contains("start the server first"));
        fs::write(&socket, "").expect("a file");
        assert!(said(MemifRole::Server).contains("no socket"));
        fs::remove_file(&socket).expect("the file");
        // Dropping it leaves its file, as a killed server does.
        let living = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        assert_eq!((said(MemifRole::Server), socket.exists()), (String::new(), true));
        drop(living);
        assert_eq!((said(MemifRole::Server), socket.exists()), (String::new(), false));
        fs::remove_dir_all(&folder).expect("the folder");
    }
}

//! What a server is given: where it listens, and what it works with. What it is told to keep to is `ServerOptions`.

use std::net::SocketAddr;
use std::sync::Arc;

use super::board::Board;
use super::log::LaneLog;
use super::secure::Secure;
use crate::files::LaneFiles;

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Doors {
    /// For the site.
    pub site: Vec<SocketAddr>,
    /// For the metrics alone; `None`: they are on the site's addresses.
    pub metrics: Option<SocketAddr>,
}

impl From<SocketAddr> for Doors {
    fn from(address: SocketAddr) -> Self {
        Doors { site: vec![address], metrics: None }
    }
}

/// What a lane's server works with.
#[derive(Debug)]
pub struct Equipment {
    /// Where its files come from.
    pub files: LaneFiles,
    /// Where it notes what it answered.
    pub log: Option<LaneLog>,
    /// Where it says how it is.
    pub board: Option<Arc<Board>>,
    /// The path under which it shows what is on the board.
    pub metrics: Option<String>,
    /// Where it speaks TLS, and as whom.
    pub secure: Option<Secure>,
}

impl From<LaneFiles> for Equipment {
    fn from(files: LaneFiles) -> Self {
        Equipment { files, log: None, board: None, metrics: None, secure: None }
    }
}

//! Files that have to be opened first: who waits, and what the file thread's answer becomes.
//! Its chunks, where there are several, are `download.rs`'s.

use corelane::{Instant, Lane, SocketId};

use super::Server;
use super::connection::{Phase, Wanted};
use super::hot::Entry;
use super::site::LookUp;
use crate::files::{OpenError, OpenedFile};
use crate::http::{Page, Status};

/// The site's own page for what is not there.
const ABSENT_PAGE: &str = "/404.html";

impl Server {
    /// Answer when the file of `ticket` is open.
    pub(super) fn wait(&mut self, socket: SocketId, wanted: Wanted, ticket: u64, now: Instant) {
        let Some(connection) = self.connections.get_mut(socket) else { return };
        connection.phase = Phase::Opening { ticket, wanted };
        self.site.wait(ticket, socket);
        self.set_deadline(socket, now, self.timeouts.send);
    }

    /// The file thread has opened a file, or has found none.
    pub(super) fn opened(&mut self, lane: &mut Lane, ticket: u64, result: Result<OpenedFile, OpenError>) {
        let now = lane.now();
        let Some(opening) = self.site.finish(ticket) else { return };
        let handle = result.as_ref().ok().and_then(|file| self.site.handle(file));
        let entry = match &result {
            Ok(file) if handle.is_none() => Some(Entry::new(file, now)),
            _ => None,
        };
        match &entry {
            Some(entry) if result.as_ref().is_ok_and(|file| file.settled) => {
                self.site.hot.insert(&opening.target, entry.clone());
            }
            _ => self.site.hot.remove(&opening.target),
        }
        for &socket in &opening.waiters {
            let Some(connection) = self.connections.get_mut(socket) else { continue };
            let Phase::Opening { ticket: waits_for, wanted } = connection.phase else { continue };
            if waits_for != ticket {
                continue;
            }
            connection.phase = Phase::Reading;
            match (&result, &entry, &handle) {
                (_, Some(entry), _) => self.answer_entry(lane, socket, wanted, entry),
                (Ok(file), _, Some(handle)) => self.start_download(lane, socket, wanted, file, handle),
                (Err(error), ..) => self.answer_error(lane, socket, wanted, *error, &opening.target),
                (Ok(_), None, None) => {}
            }
            self.resume(socket);
        }
    }

    fn answer_error(
        &mut self,
        lane: &mut Lane,
        socket: SocketId,
        wanted: Wanted,
        error: OpenError,
        target: &str,
    ) {
        let status = match error {
            OpenError::Folder => {
                let location = with_slash(target);
                let about = Page { location: Some(&location), length: None };
                return self.answer_page(lane, socket, wanted, Status::MovedPermanently, about);
            }
            _ if wanted.status == Status::NotFound => Status::NotFound,
            OpenError::NotFound => {
                let wanted = Wanted { status: Status::NotFound, ..wanted };
                match self.site.look_up(ABSENT_PAGE, lane.now()) {
                    LookUp::Hot(entry) => return self.answer_entry(lane, socket, wanted, &entry),
                    LookUp::Asked(ticket) if target != ABSENT_PAGE => {
                        return self.wait(socket, wanted, ticket, lane.now());
                    }
                    _ => Status::NotFound,
                }
            }
            OpenError::Forbidden => Status::Forbidden,
            OpenError::Busy => Status::ServiceUnavailable,
            OpenError::Failed => Status::InternalServerError,
        };
        self.answer_page(lane, socket, wanted, status, Page::default());
    }
}

/// A folder's address with the slash it lacks, before the query.
fn with_slash(target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    // In absolute form the path follows the authority; a path alone is as good.
    let path = path.split_once("://").map_or(path, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
    match query {
        Some(query) => format!("{path}/?{query}"),
        None => format!("{path}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_redirected_to_its_address_with_a_slash() {
        // Shows both forms of target and that the query stays.
        assert_eq!(with_slash("/a/b"), "/a/b/");
        assert_eq!(with_slash("/a?x=/y"), "/a/?x=/y");
        assert_eq!(with_slash("http://host/a"), "/a/");
    }
}

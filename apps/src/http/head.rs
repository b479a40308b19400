//! Heads of answers, written field by field into memory the port reads. Which answer it is, `httpd` decides.

use std::rc::Rc;
use std::time::SystemTime;

use corelane::Block;

use super::{EntityTag, HttpClock, Span, Status, date_text};

/// Somewhere a head can be written.
pub trait Sink {
    /// Append `bytes`, whole or not at all.
    fn append(&mut self, bytes: &[u8]) -> bool;
}

impl Sink for Block {
    fn append(&mut self, bytes: &[u8]) -> bool {
        self.extend(bytes)
    }
}

impl Sink for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) -> bool {
        self.extend_from_slice(bytes);
        true
    }
}

/// The head of one answer.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The status.
    pub status: Status,
    /// Whole field lines: type, length, date of change, place.
    pub fields: &'a [u8],
    /// The connection goes on after this.
    pub keep_alive: bool,
    /// The client is of HTTP/1.0 and must be told so.
    pub old: bool,
}

impl Head<'_> {
    /// Write the head and its empty line. False if it does not fit.
    pub fn write(&self, clock: &HttpClock, sink: &mut impl Sink) -> bool {
        let connection: &[u8] = match (self.keep_alive, self.old) {
            (true, false) => b"\r\n\r\n",
            (true, true) => b"\r\nConnection: keep-alive\r\n\r\n",
            (false, _) => b"\r\nConnection: close\r\n\r\n",
        };
        //= https://www.rfc-editor.org/rfc/rfc9110#section-6.6.1
        //# An origin server with a clock (as defined in Section 5.6.7) MUST
        //# generate a Date header field in all 2xx (Successful), 3xx
        //# (Redirection), and 4xx (Client Error) responses
        [
            b"HTTP/1.1 ",
            self.status.text().as_bytes(),
            b"\r\nServer: corelane\r\n",
            self.fields,
            b"Date: ",
            clock.text(),
            connection,
        ]
        .into_iter()
        .all(|part| sink.append(part))
    }
}

/// Fields of the answers whose content is a file, or a part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileFields {
    text: Rc<[u8]>,
    /// Where the validators and what goes with every part lie in it.
    common: usize,
    validators: usize,
}

impl FileFields {
    /// The fields of a file with this type, length, date of change and tag.
    pub fn new(media_type: &str, length: u64, modified: SystemTime, tag: EntityTag) -> FileFields {
        let mut fields = FileFields::made(media_type, length);
        let mut text = fields.text.to_vec();
        text.extend_from_slice(b"Accept-Ranges: bytes\r\n");
        fields.validators = text.len();
        text.extend_from_slice(b"Last-Modified: ");
        text.extend_from_slice(&date_text(modified));
        text.extend_from_slice(format!("\r\nETag: {}\r\n", tag.text()).as_bytes());
        FileFields { text: text.into(), ..fields }
    }

    /// The fields of a page that was made for this answer, and has no version.
    pub fn made(media_type: &str, length: u64) -> FileFields {
        let length = format!("Content-Length: {length}\r\n");
        let text = format!("{length}Content-Type: {media_type}\r\nX-Content-Type-Options: nosniff\r\n");
        FileFields { common: length.len(), validators: text.len(), text: text.into_bytes().into() }
    }

    /// For the whole file.
    pub fn whole(&self) -> &[u8] {
        &self.text
    }

    /// For a part of a file of `length` bytes.
    //= https://www.rfc-editor.org/rfc/rfc9110#section-15.3.7.1
    //# If a single part is being transferred, the server generating the 206
    //# response MUST generate a Content-Range header field,
    pub fn part(&self, (start, end): Span, length: u64) -> Vec<u8> {
        let range = format!("Content-Range: bytes {start}-{}/{length}\r\n", end.saturating_sub(1));
        let mut fields = format!("{range}Content-Length: {}\r\n", end - start).into_bytes();
        fields.extend_from_slice(&self.text[self.common..]);
        fields
    }

    /// For a client that has the file.
    //= https://www.rfc-editor.org/rfc/rfc9110#section-15.4.5
    //# The server generating a 304 response MUST generate any of the following
    //# header fields that would have been sent in a 200 (OK) response
    pub fn unchanged(&self) -> &[u8] {
        &self.text[self.validators..]
    }
}

/// What an error's page is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Page<'a> {
    /// Where a redirection leads.
    pub location: Option<&'a str>,
    /// How long the file is of which no part could be taken.
    pub length: Option<u64>,
}

/// An error's fields and page.
pub fn page(status: Status, about: Page<'_>) -> (Vec<u8>, String) {
    let (text, sentence) = (status.text(), status.sentence());
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{text}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32rem;padding:0 1rem;\
         color:#1d2b3a}}h1{{font-size:1.4rem}}</style><h1>{text}</h1><p>{sentence}</p></html>\n"
    );
    let mut fields =
        format!("Content-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n", page.len()).into_bytes();
    if let Some(length) = about.length {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-15.5.17
        //# A server that generates a 416 response to a byte-range request SHOULD
        //# generate a Content-Range header field
        fields.extend_from_slice(format!("Content-Range: bytes */{length}\r\n").as_bytes());
    }
    if let Some(location) = about.location {
        fields.extend_from_slice(format!("Location: {location}\r\n").as_bytes());
    }
    if matches!(status, Status::MethodNotAllowed) {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-15.5.6
        //# The origin server MUST generate an Allow header field in a 405
        //# response
        fields.extend_from_slice(b"Allow: GET, HEAD\r\n");
    }
    if matches!(status, Status::ServiceUnavailable) {
        fields.extend_from_slice(b"Retry-After: 1\r\n");
    }
    (fields, page)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn written(head: Head<'_>) -> String {
        let mut text = Vec::new();
        assert!(head.write(&HttpClock::new(SystemTime::UNIX_EPOCH), &mut text));
        String::from_utf8(text).expect("heads are text")
    }

    #[test]
    fn a_head_says_what_becomes_of_the_connection() {
        // Shows the whole text of a head and its three endings.
        let head = Head { status: Status::Ok, fields: b"A: b\r\n", keep_alive: true, old: false };
        let date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
        assert_eq!(written(head), format!("HTTP/1.1 200 OK\r\nServer: corelane\r\nA: b\r\n{date}\r\n"));
        assert!(written(Head { old: true, ..head }).ends_with("\r\nConnection: keep-alive\r\n\r\n"));
        assert!(written(Head { keep_alive: false, ..head }).ends_with("\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn every_head_is_a_response_another_parser_reads() {
        // Shows for each kind of page that its declared length is the page's and the parser takes every field.
        for status in
            [Status::NotFound, Status::MethodNotAllowed, Status::ServiceUnavailable, Status::MovedPermanently]
        {
            let (fields, page) = page(status, Page { location: Some("/a/"), length: None });
            let text = written(Head { status, fields: &fields, keep_alive: true, old: false });
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut response = httparse::Response::new(&mut headers);
            assert_eq!(response.parse(text.as_bytes()), Ok(httparse::Status::Complete(text.len())));
            let length = response.headers.iter().find(|header| header.name == "Content-Length");
            assert_eq!(length.map(|header| header.value), Some(page.len().to_string().as_bytes()));
            let allow = response.headers.iter().any(|header| header.name == "Allow");
            assert_eq!(allow, status == Status::MethodNotAllowed);
        }
    }

    #[test]
    fn a_files_fields_are_cut_for_each_kind_of_answer() {
        // Shows the whole text for the file, for a part, and for a client that has it.
        let fields = FileFields::new("text/css", 10, SystemTime::UNIX_EPOCH, EntityTag::default());
        let validators =
            "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nETag: \"0000000000000000\"\r\n".to_owned();
        let common = format!(
            "Content-Type: text/css\r\nX-Content-Type-Options: nosniff\r\nAccept-Ranges: bytes\r\n{validators}"
        );
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("fields are text");
        assert_eq!(text(fields.whole()), format!("Content-Length: 10\r\n{common}"));
        assert_eq!(text(fields.unchanged()), validators);
        let part = format!("Content-Range: bytes 2-4/10\r\nContent-Length: 3\r\n{common}");
        assert_eq!(text(&fields.part((2, 5), 10)), part);
    }

    #[test]
    fn a_head_that_does_not_fit_says_so() {
        // Shows that a block too small for the head refuses instead of sending half of it.
        let mut block = corelane::Region::new(1, 64).take().expect("a fresh region has a block");
        let head = Head { status: Status::Ok, fields: b"", keep_alive: true, old: false };
        assert!(!head.write(&HttpClock::new(SystemTime::UNIX_EPOCH), &mut block));
    }
}

//! One request head, parsed where it lies. Gathering what straddles frames is in `input.rs`.
//!
//! The verdict is a function of the byte stream alone, however it was split: a head is judged by its first
//! [`HEAD_MAX`] bytes or as many as the server is told, its request line by the first [`LINE_MAX`].

use core::mem::MaybeUninit;

use httparse::{Error, Header};

use super::input::HEAD_MAX;
use super::{ByteRange, Conditions, Status};

/// Longest request line. Source: RFC 9112 section 3 recommends at least 8,000 octets.
pub const LINE_MAX: usize = 8192;

/// Most header fields of a request: browsers send about 20.
const FIELDS_MAX: usize = 64;

/// Methods this server answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// The whole file.
    Get,
    /// Its head alone.
    Head,
}

/// A request that can be answered: well-formed, without content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<'a> {
    /// What to do.
    pub method: Method,
    /// With what, as it was sent.
    pub target: &'a str,
    /// The connection may go on after the answer.
    pub keep_alive: bool,
    /// The client speaks HTTP/1.0, where going on must be said.
    pub old: bool,
    /// What the answer depends on.
    pub conditions: Conditions,
    /// The part of the file that is asked for.
    pub range: Option<ByteRange>,
    /// Where the client says it found the address.
    pub referer: &'a [u8],
    /// What the client says it is.
    pub user_agent: &'a [u8],
}

/// What the bytes so far are.
#[allow(clippy::large_enum_variant, reason = "a box would be an allocation for each request")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed<'a> {
    /// A request, and how many bytes it took.
    Request(Request<'a>, usize),
    /// The beginning of a request.
    Partial,
    /// No request that can be answered with anything but this. Where the next would begin is not known.
    Refused(Status),
}

/// Parse the request head that `bytes` begin with; it may have [`HEAD_MAX`] bytes.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    parse_within(bytes, HEAD_MAX)
}

/// Parse the request head that `bytes` begin with; it may have `head_max` bytes.
pub fn parse_within(bytes: &[u8], head_max: usize) -> Parsed<'_> {
    let line_start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let line_end_max = line_start.saturating_add(LINE_MAX);
    let line_bytes = &bytes[..bytes.len().min(line_end_max)];
    let line_is_whole = line_bytes[line_start..].contains(&b'\n');
    let limit = if line_is_whole { head_max } else { head_max.min(line_end_max) };
    let head = &bytes[..bytes.len().min(limit)];

    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(length)) => match judge(&request) {
            Ok(request) => Parsed::Request(request, length),
            Err(status) => Parsed::Refused(status),
        },
        Ok(httparse::Status::Partial) if head.len() < limit => Parsed::Partial,
        Ok(httparse::Status::Partial) if line_is_whole || limit == head_max => {
            Parsed::Refused(Status::HeaderFieldsTooLarge)
        }
        Ok(httparse::Status::Partial) => Parsed::Refused(Status::UriTooLong),
        Err(Error::TooManyHeaders) => Parsed::Refused(Status::HeaderFieldsTooLarge),
        Err(Error::Version) if names_a_version(&head[line_start..]) => {
            Parsed::Refused(Status::VersionNotSupported)
        }
        Err(_) => Parsed::Refused(Status::BadRequest),
    }
}

/// The third word of the line is a version of HTTP, known or not.
fn names_a_version(line: &[u8]) -> bool {
    line.splitn(3, |&byte| byte == b' ').nth(2).is_some_and(|word| word.starts_with(b"HTTP/"))
}

/// What the header fields of a request say about its framing and its connection.
#[derive(Default)]
struct Fields<'a> {
    hosts: usize,
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    conditions: Conditions,
    ranges: usize,
    range: Option<ByteRange>,
    referer: &'a [u8],
    user_agent: &'a [u8],
    bad: Option<Status>,
}

impl<'a> Fields<'a> {
    fn read(headers: &[Header<'a>]) -> Fields<'a> {
        let mut fields = Fields::default();
        for header in headers {
            fields.add(header.name, header.value.trim_ascii());
        }
        fields
    }

    fn add(&mut self, name: &str, value: &'a [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("host") {
            self.hosts += 1;
            let strange = |byte: &u8| matches!(byte, 0..=b' ' | b'/' | b'@' | b',' | b'\\' | 0x7f..);
            if value.iter().any(strange) {
                self.bad = Some(Status::BadRequest);
            }
        } else if is("content-length") {
            let again = self.content_length.is_some();
            self.content_length = decimal(value);
            if again || self.content_length.is_none() {
                self.bad = Some(Status::BadRequest);
            }
        } else if is("transfer-encoding") {
            self.chunked = true;
        } else if is("connection") {
            for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("expect") {
            //= https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1
            //# A server that receives an Expect field value containing a member other
            //# than 100-continue MAY respond with a 417 (Expectation Failed) status
            if !value.eq_ignore_ascii_case(b"100-continue") {
                self.bad.get_or_insert(Status::ExpectationFailed);
            }
        } else if is("user-agent") {
            self.user_agent = value;
        } else if is("referer") {
            self.referer = value;
        } else if is("range") {
            self.ranges += 1;
            self.range = ByteRange::parse(value).filter(|_| self.ranges == 1);
        } else {
            self.conditions.add(name, value);
        }
    }
}

/// A length in plain digits: no sign, no list, no space inside. `None` also if it is beyond 64 bits.
fn decimal(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    digits.then(|| core::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

fn judge<'a>(parsed: &httparse::Request<'_, 'a>) -> Result<Request<'a>, Status> {
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Status::BadRequest);
    };
    let fields = Fields::read(parsed.headers);
    let old = minor == 0;
    //= https://www.rfc-editor.org/rfc/rfc9112#section-3.2
    //# A server MUST respond with a 400 (Bad Request) status code to any
    //# HTTP/1.1 request message that lacks a Host header field
    if fields.hosts > 1 || (fields.hosts == 0 && !old) {
        return Err(Status::BadRequest);
    }
    // Two opinions on where a request ends are how requests get smuggled: neither is believed.
    //= https://www.rfc-editor.org/rfc/rfc9112#section-6.1
    //# A server MAY reject a request that contains both Content-Length and
    //# Transfer-Encoding
    if fields.chunked && (old || fields.content_length.is_some()) {
        return Err(Status::BadRequest);
    }
    if let Some(status) = fields.bad {
        return Err(status);
    }
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH" | "TRACE" | "CONNECT" => {
            return Err(Status::MethodNotAllowed);
        }
        _ => return Err(Status::NotImplemented),
    };
    if fields.chunked || fields.content_length.is_some_and(|length| length > 0) {
        return Err(Status::ContentTooLarge);
    }
    //= https://www.rfc-editor.org/rfc/rfc9112#section-9.3
    //# If the "close" connection option is present (Section 9.6), the
    //# connection will not persist after the current response;
    let keep_alive = !fields.close && (!old || fields.keep_alive);
    //= https://www.rfc-editor.org/rfc/rfc9110#section-14.2
    //# A server MUST ignore a Range header field received with a request method
    //# that is unrecognized or for which range handling is not defined.
    let range = fields.range.filter(|_| method == Method::Get);
    let Fields { conditions, referer, user_agent, .. } = fields;
    Ok(Request { method, target, keep_alive, old, conditions, range, referer, user_agent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(head: &str) -> Option<Status> {
        match parse(head.as_bytes()) {
            Parsed::Refused(status) => Some(status),
            _ => None,
        }
    }

    fn keep_alive(head: &str) -> bool {
        match parse(head.as_bytes()) {
            Parsed::Request(request, _) => request.keep_alive,
            other => panic!("{head:?} gave {other:?}"),
        }
    }

    #[test]
    fn a_request_is_taken_with_its_exact_length() {
        // Shows target, method and length, with another request behind and empty lines in front.
        let Parsed::Request(request, length) = parse(b"\r\nHEAD /a?b HTTP/1.1\r\nHost: h\r\n\r\nGET /")
        else {
            panic!("a whole request");
        };
        assert_eq!((request.method, request.target, length), (Method::Head, "/a?b", 33));
        assert!(request.keep_alive && !request.old);
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: h\r\n"), Parsed::Partial);
        assert_eq!(parse(b""), Parsed::Partial);
    }

    #[test]
    fn persistence_goes_by_version_and_connection() {
        // Shows the defaults of both versions and that `close` wins, in any case and place.
        assert!(keep_alive("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(!keep_alive("GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n"));
        assert!(!keep_alive("GET / HTTP/1.0\r\n\r\n"));
        assert!(keep_alive("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        assert!(!keep_alive("GET / HTTP/1.1\r\nHost: h\r\nConnection: x, keep-alive , close\r\n\r\n"));
    }

    #[test]
    fn one_host_is_required() {
        // Shows that HTTP/1.1 needs exactly one plausible Host, and HTTP/1.0 at most one.
        //= https://www.rfc-editor.org/rfc/rfc9112#section-3.2
        //= type=test
        //# A server MUST respond with a 400 (Bad Request) status code to any
        //# HTTP/1.1 request message that lacks a Host header field
        let bad = Some(Status::BadRequest);
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), bad);
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"), bad);
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), bad);
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), bad);
        assert_eq!(refused("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), bad);
        assert_eq!(refused("GET / HTTP/1.1\r\nHost:\r\n\r\n"), None);
    }

    #[test]
    fn a_request_whose_end_is_in_doubt_is_refused() {
        // Shows every pair of opinions on the length that request smuggling lives from.
        let with = |fields: &str| refused(&format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n"));
        let bad = Some(Status::BadRequest);
        assert_eq!(with("Content-Length: 0"), None);
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
            "Content-Length: 3\r\nContent-Length: 4",
            "Content-Length: 0\r\nContent-Length: 0",
            "Content-Length: 0, 0",
            "Content-Length: +0",
            "Content-Length: -1",
            "Content-Length: 0x0",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            "Content-Length : 0",
            " Content-Length: 0",
            "Content-Length: 0\r\n folded",
        ] {
            assert_eq!(with(fields), bad, "{fields:?}");
        }
        assert_eq!(with("Content-Length: 5"), Some(Status::ContentTooLarge));
        assert_eq!(with("Transfer-Encoding: chunked"), Some(Status::ContentTooLarge));
        assert_eq!(with("Transfer-Encoding: identity"), Some(Status::ContentTooLarge));
        assert_eq!(refused("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), bad);
    }

    #[test]
    fn other_methods_versions_and_expectations_are_refused_by_name() {
        // Shows 405 for methods there are, 501 for others, 505, 417, and 400 for what is no HTTP at all.
        assert_eq!(refused("POST / HTTP/1.1\r\nHost: h\r\n\r\n"), Some(Status::MethodNotAllowed));
        assert_eq!(refused("BREW / HTTP/1.1\r\nHost: h\r\n\r\n"), Some(Status::NotImplemented));
        assert_eq!(refused("get / HTTP/1.1\r\nHost: h\r\n\r\n"), Some(Status::NotImplemented));
        assert_eq!(refused("GET / HTTP/2.0\r\nHost: h\r\n\r\n"), Some(Status::VersionNotSupported));
        assert_eq!(
            refused("GET / HTTP/1.1\r\nHost: h\r\nExpect: x\r\n\r\n"),
            Some(Status::ExpectationFailed)
        );
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n"), None);
        assert_eq!(refused("\u{16}\u{3}\u{1}\u{2}\u{0}"), Some(Status::BadRequest));
        assert_eq!(refused("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n"), Some(Status::BadRequest));
    }

    #[test]
    fn size_limits_have_their_own_statuses() {
        // Shows 414 for the line, 431 for the whole and for the number of fields, and that just below is well.
        let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(bytes));
        assert_eq!(refused(&line(LINE_MAX - 20)), None);
        assert_eq!(refused(&line(LINE_MAX)), Some(Status::UriTooLong));
        let head = |bytes: usize| format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(bytes));
        assert_eq!(refused(&head(HEAD_MAX - 50)), None);
        assert_eq!(refused(&head(HEAD_MAX)), Some(Status::HeaderFieldsTooLarge));
        let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX));
        assert_eq!(refused(&many), Some(Status::HeaderFieldsTooLarge));
        assert_eq!(refused(&"\r\n".repeat(HEAD_MAX)), Some(Status::HeaderFieldsTooLarge));
    }
}

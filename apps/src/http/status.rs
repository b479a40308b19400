//! Status codes and what an error's page says. Who answers with which is decided in `request.rs` and `httpd`.

/// Statuses this server answers with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// 200
    Ok,
    /// 206
    PartialContent,
    /// 301
    MovedPermanently,
    /// 304
    NotModified,
    /// 400
    BadRequest,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 408
    RequestTimeout,
    /// 412
    PreconditionFailed,
    /// 413
    ContentTooLarge,
    /// 414
    UriTooLong,
    /// 416
    RangeNotSatisfiable,
    /// 417
    ExpectationFailed,
    /// 431
    HeaderFieldsTooLarge,
    /// 500
    InternalServerError,
    /// 501
    NotImplemented,
    /// 503
    ServiceUnavailable,
    /// 505
    VersionNotSupported,
}

impl Status {
    /// The number and reason, as the status line has them.
    pub fn text(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::PartialContent => "206 Partial Content",
            Status::MovedPermanently => "301 Moved Permanently",
            Status::NotModified => "304 Not Modified",
            Status::BadRequest => "400 Bad Request",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::PreconditionFailed => "412 Precondition Failed",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::UriTooLong => "414 URI Too Long",
            Status::RangeNotSatisfiable => "416 Range Not Satisfiable",
            Status::ExpectationFailed => "417 Expectation Failed",
            Status::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Status::InternalServerError => "500 Internal Server Error",
            Status::NotImplemented => "501 Not Implemented",
            Status::ServiceUnavailable => "503 Service Unavailable",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// One sentence for the person who reads the page.
    pub fn sentence(self) -> &'static str {
        match self {
            Status::Ok | Status::PartialContent | Status::NotModified => "All is well.",
            Status::MovedPermanently => "What you asked for has another address.",
            Status::BadRequest => "The server could not make sense of the request.",
            Status::Forbidden => "The server may not read what you asked for.",
            Status::NotFound => "There is nothing at this address.",
            Status::MethodNotAllowed => "This server answers GET and HEAD.",
            Status::RequestTimeout => "The request took too long to arrive.",
            Status::PreconditionFailed => "What is here is not what the request expects.",
            Status::ContentTooLarge => "This server takes no content with a request.",
            Status::UriTooLong => "The address is too long.",
            Status::RangeNotSatisfiable => "What is here is not as long as that.",
            Status::ExpectationFailed => "The server cannot meet what the request expects.",
            Status::HeaderFieldsTooLarge => "The request's header is too large.",
            Status::InternalServerError => "The server failed to read what you asked for.",
            Status::NotImplemented => "The server does not know this method.",
            Status::ServiceUnavailable => "The server is short of something; try again soon.",
            Status::VersionNotSupported => "This server speaks HTTP/1.0 and HTTP/1.1.",
        }
    }
}

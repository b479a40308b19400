//! HTTP/1.x as values: requests parsed in place, conditions and ranges, heads of answers. No I/O, no clock; connections live in `httpd`.

mod clock;
mod conditions;
mod head;
mod input;
mod mime;
mod range;
mod request;
mod status;
mod target;

pub use clock::HttpClock;
pub use clock::{DATE_BYTES, date_text};
pub use conditions::{Conditions, EntityTag, Verdict};
pub use head::{FileFields, Head, Page, Sink, page};
pub use input::{Chunk, HEAD_MAX, Input, Taken};
pub use mime::media_type;
pub use range::{ByteRange, Span};
pub use request::{Method, Parsed, Request, parse};
pub use status::Status;
pub use target::{FilePath, file_path};

//! HTTP answers as they arrive, in whatever pieces: where each ends, and what it says. Heads are parsed by httparse;
//! contents are counted, not kept.

/// Longest head of an answer. Units: bytes.
pub const HEAD_MAX: usize = 64 * 1024;

/// Most fields of a head.
const FIELDS_MAX: usize = 128;

/// Longest line between chunks. Units: bytes.
const LINE_MAX: usize = 4096;

/// A whole answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The server takes further requests on this connection.
    pub keep_alive: bool,
}

impl Answer {
    /// Of what is no HTTP: all of it has come, and more can be asked for.
    pub const DONE: Answer = Answer { status: 200, keep_alive: true };
}

/// What came is no HTTP answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Head,
    /// Content of known length, of which so much is missing.
    Content(u64),
    /// Content that ends with the connection.
    UntilClose,
    /// The line that says how long a chunk is.
    ChunkSize,
    Chunk(u64),
    /// The line break behind a chunk.
    ChunkEnd,
    /// Fields behind the last chunk, up to an empty line.
    Trailer,
}

/// Finds answers in what a connection receives.
#[derive(Clone, Debug)]
pub struct AnswerReader {
    state: State,
    /// The answer whose content is being read.
    answer: Answer,
    /// A head or a line that is not whole yet. Shape: bounded by `HEAD_MAX` or `LINE_MAX`.
    gathered: Vec<u8>,
}

impl Default for AnswerReader {
    fn default() -> Self {
        let answer = Answer { status: 0, keep_alive: false };
        AnswerReader { state: State::Head, answer, gathered: Vec::new() }
    }
}

impl AnswerReader {
    /// Read on. Steps over what was read in `bytes`, and returns after each whole answer; `None` if all was read.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Answer>, Malformed> {
        while !bytes.is_empty() {
            let over = match self.state {
                State::Head => self.head(bytes)?,
                State::Content(left) => {
                    let left = skip(bytes, left);
                    self.state = State::Content(left);
                    left == 0
                }
                State::UntilClose => {
                    *bytes = &[];
                    false
                }
                State::Chunk(left) => {
                    let left = skip(bytes, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    false
                }
                State::ChunkSize | State::ChunkEnd | State::Trailer => {
                    if self.line(bytes)? {
                        self.between_chunks()?
                    } else {
                        false
                    }
                }
            };
            if over {
                self.state = State::Head;
                return Ok(Some(self.answer));
            }
        }
        Ok(None)
    }

    /// The connection has ended: the answer that ended with it, if one did.
    ///
    /// Errors: an answer was cut short.
    pub fn end(&mut self) -> Result<Option<Answer>, Malformed> {
        match self.state {
            State::Head if self.gathered.is_empty() => Ok(None),
            State::UntilClose => {
                self.state = State::Head;
                Ok(Some(self.answer))
            }
            _ => Err(Malformed),
        }
    }

    /// Read a head. True if nothing follows it.
    fn head(&mut self, bytes: &mut &[u8]) -> Result<bool, Malformed> {
        let before = self.gathered.len();
        if before > 0 {
            let room = HEAD_MAX - before;
            self.gathered.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        let whole: &[u8] = if before > 0 { &self.gathered } else { bytes };
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let Ok(parsed) = response.parse(whole) else { return Err(Malformed) };
        let httparse::Status::Complete(length) = parsed else {
            if before == 0 {
                self.gathered.extend_from_slice(&bytes[..bytes.len().min(HEAD_MAX)]);
            }
            *bytes = &[];
            return if self.gathered.len() < HEAD_MAX { Ok(false) } else { Err(Malformed) };
        };
        let (answer, framing) = understand(&response)?;
        // What was gathered beyond the head is still in `bytes`.
        *bytes = &bytes[length - before..];
        self.gathered.clear();
        let Some(state) = framing else { return Ok(false) };
        (self.answer, self.state) = (answer, state);
        Ok(state == State::Content(0))
    }

    /// Gather a line without its end. True once it is whole.
    fn line(&mut self, bytes: &mut &[u8]) -> Result<bool, Malformed> {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        if self.gathered.len() + line.len() > LINE_MAX {
            return Err(Malformed);
        }
        self.gathered.extend_from_slice(line);
        *bytes = rest;
        Ok(end.is_some())
    }

    /// A line between chunks is whole. True if it was the last one of its answer.
    fn between_chunks(&mut self) -> Result<bool, Malformed> {
        let gathered = core::mem::take(&mut self.gathered);
        let line = gathered.trim_ascii_end();
        match self.state {
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkSize => {
                let digits = line.split(|&byte| byte == b';').next().unwrap_or(&[]).trim_ascii();
                let digits = core::str::from_utf8(digits).map_err(|_| Malformed)?;
                if digits.starts_with('+') {
                    return Err(Malformed);
                }
                let size = u64::from_str_radix(digits, 16).map_err(|_| Malformed)?;
                self.state = if size == 0 { State::Trailer } else { State::Chunk(size) };
            }
            State::Trailer => return Ok(line.is_empty()),
            _ => return Err(Malformed),
        }
        Ok(false)
    }
}

/// Step over up to `left` bytes. Returns how many are still missing.
fn skip(bytes: &mut &[u8], left: u64) -> u64 {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    *bytes = &bytes[length..];
    left - u64::try_from(length).unwrap_or(left)
}

/// What a head says of its answer and of where it ends; `None` if another head follows.
//= https://www.rfc-editor.org/rfc/rfc9112#section-6.3
//# If a Transfer-Encoding header field is present and the chunked
//# transfer coding (Section 7.1) is the final encoding, the message
fn understand(response: &httparse::Response<'_, '_>) -> Result<(Answer, Option<State>), Malformed> {
    let status = response.code.ok_or(Malformed)?;
    let mut keep_alive = response.version == Some(1);
    let (mut length, mut coding) = (None, None);
    for field in response.headers.iter() {
        let value = core::str::from_utf8(field.value).unwrap_or("").trim();
        if field.name.eq_ignore_ascii_case("content-length") {
            let number =
                value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten();
            let number: u64 = number.ok_or(Malformed)?;
            if length.is_some_and(|length| length != number) {
                return Err(Malformed);
            }
            length = Some(number);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            let last = value.rsplit(',').next().unwrap_or("").trim();
            coding = Some(last.eq_ignore_ascii_case("chunked"));
        } else if field.name.eq_ignore_ascii_case("connection") {
            for word in value.split(',').map(str::trim) {
                if word.eq_ignore_ascii_case("close") {
                    keep_alive = false;
                } else if word.eq_ignore_ascii_case("keep-alive") && response.version == Some(0) {
                    keep_alive = true;
                }
            }
        }
    }
    let state = match (status, coding, length) {
        (101, ..) => return Err(Malformed),
        (100..=199, ..) => None,
        (204 | 304, ..) => Some(State::Content(0)),
        (_, Some(true), _) => Some(State::ChunkSize),
        (_, None, Some(length)) => Some(State::Content(length)),
        (_, Some(false), _) | (_, None, None) => Some(State::UntilClose),
    };
    keep_alive &= state != Some(State::UntilClose);
    Ok((Answer { status, keep_alive }, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = (Vec<(u16, bool)>, Result<Option<u16>, Malformed>);

    /// Every answer of `stream` when it arrives in pieces of so many bytes, and how it ends.
    fn read(stream: &[u8], piece: usize) -> Seen {
        let (mut reader, mut answers) = (AnswerReader::default(), Vec::new());
        for mut piece in stream.chunks(piece) {
            loop {
                match reader.read(&mut piece) {
                    Ok(Some(answer)) => answers.push((answer.status, answer.keep_alive)),
                    Ok(None) => break,
                    Err(error) => return (answers, Err(error)),
                }
            }
        }
        (answers, reader.end().map(|last| last.map(|answer| answer.status)))
    }

    const PIPELINE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
        HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n\
        HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n\
        HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n\
        a;name=value\r\n0123456789\r\n3 \r\nabc\r\n0\r\nTrailer: x\r\n\r\n\
        HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx\
        HTTP/1.1 503 Busy\r\nConnection: foo, Close\r\nContent-Length: 1\r\n\r\nx\
        HTTP/1.1 200 OK\r\n\r\nuntil the end";

    #[test]
    fn answers_are_the_same_in_pieces_of_any_size() {
        // Shows each framing, and that answers, their keep-alive and the end do not depend on how the bytes are cut.
        let expected = (
            vec![(200, true), (304, true), (404, true), (200, true), (200, true), (503, false)],
            Ok(Some(200)),
        );
        for piece in 1..=PIPELINE.len() {
            assert_eq!(read(PIPELINE, piece), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_short_is_told_from_a_whole_one() {
        // Shows for each place to cut the first answers at that only their ends are ends.
        let ends = [0, 43, 43 + 49];
        for cut in 0..=92 {
            let whole = read(&PIPELINE[..cut], usize::MAX).1;
            assert_eq!(whole.is_ok(), ends.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        // Shows noise, contradictory and absurd lengths, bad chunks, and heads and lines without end.
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(HEAD_MAX));
        let line = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;{}", "y".repeat(LINE_MAX));
        for stream in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
            &endless,
            &line,
        ] {
            for piece in [1460, usize::MAX] {
                assert_eq!(read(stream.as_bytes(), piece).1, Err(Malformed), "{stream:.60}");
            }
        }
    }
}

//! Everything that people and peers write: requests and answers of HTTP, ranges, dates, configuration files, names of
//! devices, faults and targets, captures.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use apps::http::{self, Input as Requests, Parsed, Taken};
use apps::httpd::settings::Options;
use apps::loadgen::{AnswerReader, SourceRange, Target};
use apps::{configuration, devices, options};
use bytes::Bytes;
use drivers::soft::{FaultSpec, Pace, PcapQueue};
use drivers::{Device, Frame, PciAddress, Pool, Queue as _};

use crate::input::Input;

/// Give `bytes` to the reader that their first byte names.
pub fn run(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    match which % 8 {
        0 => request(bytes),
        1 => requests(bytes),
        2 => ranges(bytes),
        3 => answers(bytes),
        4 => words(bytes),
        5 => settings(bytes),
        6 => capture(bytes),
        _ => paths(bytes),
    }
}

/// One head, and what an answer makes of it.
fn request(bytes: &[u8]) {
    match http::parse(bytes) {
        Parsed::Request(request, length) => {
            assert!(length <= bytes.len() && length <= http::HEAD_MAX);
            assert_eq!(http::parse(&bytes[..length]), http::parse(bytes), "what follows a head changes it");
            let (tag, modified) = (http::EntityTag::of(&[1, 2]), SystemTime::UNIX_EPOCH);
            let _ = request.conditions.judge(request.method, tag, modified);
            let now = modified + Duration::from_secs(1_000_000_000);
            let _ = request.conditions.allow_range(tag, modified, now);
            let _ = http::file_path(request.target);
            if let Some((start, end)) = request.range.and_then(|range| range.within(1_000)) {
                assert!(start < end && end <= 1_000);
            }
        }
        Parsed::Partial => assert!(bytes.len() < http::HEAD_MAX, "a whole head's worth is no part of one"),
        Parsed::Refused(_) => {}
    }
}

/// The same bytes whole and in pieces say the same.
fn requests(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let step = 1 + input.below(64);
    let text = input.rest();
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut requests, mut seen) = (Requests::default(), Vec::new());
        for piece in pieces {
            requests.push(Bytes::copy_from_slice(piece));
            loop {
                match requests.take(|request| format!("{request:?}")) {
                    Taken::Request(request) => seen.push(request),
                    Taken::Refused(status) => {
                        seen.push(format!("{status:?}"));
                        return seen;
                    }
                    Taken::Partial | Taken::Empty => break,
                }
            }
        }
        seen
    };
    let whole = read(&mut core::iter::once(text));
    assert_eq!(whole, read(&mut text.chunks(step)), "in pieces of {step}");
}

fn ranges(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let length = u64::from(input.long());
    let value = input.rest();
    if let Some((start, end)) = http::ByteRange::parse(value).and_then(|range| range.within(length)) {
        assert!(start < end && end <= length);
    }
}

/// Answers whole and byte by byte say the same.
fn answers(bytes: &[u8]) {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut reader, mut seen) = (AnswerReader::default(), Vec::new());
        for mut piece in pieces {
            loop {
                match reader.read(&mut piece) {
                    Ok(Some(answer)) => seen.push(Ok(answer)),
                    Ok(None) => break,
                    Err(malformed) => {
                        seen.push(Err(malformed));
                        return seen;
                    }
                }
            }
        }
        seen.extend(reader.end().transpose());
        seen
    };
    let whole = read(&mut core::iter::once(bytes));
    assert_eq!(whole, read(&mut bytes.chunks(1)), "byte by byte");
}

/// Reading what was written out gives the same.
fn again<T: FromStr + ToString + PartialEq + core::fmt::Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let written = value.to_string();
    let again = written.parse::<T>().ok();
    assert_eq!(again.as_ref(), Some(&value), "{text:?} was written as {written:?}");
}

fn words(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let which = input.below(8);
    let Ok(text) = core::str::from_utf8(input.rest()) else { return };
    match which {
        0 => again::<FaultSpec>(text),
        1 => again::<Device>(text),
        2 => again::<PciAddress>(text),
        3 => drop(text.parse::<Target>()),
        4 => drop(text.parse::<SourceRange>()),
        5 => drop(options::duration(text)),
        6 => drop(text.parse::<devices::AddressArgument>()),
        _ => drop(text.parse::<devices::MtuArgument>()),
    }
}

fn paths(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let Ok(path) = http::file_path(text) else { return };
    let whole = path.relative.is_empty();
    for part in path.relative.split(|&byte| byte == b'/') {
        assert!(whole || !part.is_empty(), "{text:?}: an empty segment");
        assert!(part != b"." && part != b"..", "{text:?}: a way out");
        assert!(!part.contains(&0), "{text:?}: a path cannot hold this");
    }
}

/// A file with these bytes, the only one of this process. Fuzzing and tests run a target at a time in a process, but tests
/// of several may be threads of one.
fn file(bytes: &[u8], kind: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("corelane-fuzz.{}.{kind}", std::process::id()));
    fs::write(&path, bytes).expect("temporary files can be written");
    path
}

/// A configuration file of httpd's: read whole, and every mistake told in a line.
fn settings(bytes: &[u8]) {
    let path = file(bytes, "toml");
    let words = ["--config".to_owned(), path.display().to_string()];
    let read = configuration::read::<Options>(&words, &[]);
    fs::remove_file(&path).expect("the file is there");
    match read {
        Ok((options, origins)) => {
            if let Err(mistakes) = options.check(&origins) {
                assert!(!mistakes.0.is_empty() && mistakes.0.iter().all(|line| !line.contains('\n')));
            }
        }
        Err(configuration::Refusal::Mistakes(mistakes)) => {
            let lines = &mistakes.0;
            assert!(!lines.is_empty() && lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
        }
        Err(configuration::Refusal::Text(_)) => {}
    }
}

/// A capture, played.
fn capture(bytes: &[u8]) {
    let path = file(bytes, "pcap");
    let queue = PcapQueue::open(Some(&path), None, Pace::AtOnce, Pool::heap(8, 2048 + 128));
    fs::remove_file(&path).expect("the file is there");
    let Ok(mut queue) = queue else { return };
    let mut frames: Vec<Frame> = Vec::new();
    // Each turn takes a frame or finds that there is none to be had: more turns than bytes end it.
    for now in 0..=bytes.len() as u64 {
        queue.receive(now * 1_000_000, &mut frames, 4);
        frames.clear();
        if queue.is_finished() {
            return;
        }
    }
    panic!("{} bytes of capture never end", bytes.len());
}

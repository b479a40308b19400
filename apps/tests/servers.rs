//! The servers as a whole: two runtimes on a wire inside the process, real files, raw requests.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use apps::echo::echo;
use apps::files::{CacheOptions, Files, FilesOptions};
use apps::httpd::{AccessLog, Board, Doors, Equipment, Limits, ServerOptions, Timeouts, serve};
use apps::watch::Watch;
use corelane::Lane;
use support::{Client, Folder, Ready, against, allocations, behind, pattern, split};

const CHUNK: usize = apps::files::CHUNK_BYTES;

/// Serve `folder` and let `client` ask.
fn with_site(folder: &Folder, client: impl Fn(&mut Lane, SocketAddr) + Sync) {
    let cache = CacheOptions { large_blocks: 16, small_blocks: 64 };
    let files = Files::start(folder.path(), cache).expect("the folder is there");
    against(
        |lane, address, ready| {
            let files = files.lane(lane.waker());
            serve(lane, address, files, ServerOptions::default(), ready)
        },
        client,
    );
    files.join();
}

fn site() -> Folder {
    let folder = Folder::new();
    folder.write("index.html", b"<h1>index</h1>");
    folder.write("empty.txt", b"");
    folder.write("dir/index.html", b"inner");
    folder.write("a file.css", b"p{}");
    folder
}

#[test]
fn files_folders_and_errors_are_answered_on_one_connection() {
    // Shows status, type, length and content of each kind of answer, all with keep-alive.
    with_site(&site(), |lane, address| {
        let mut client = Client::connect(lane, address);
        for _ in 0..2 {
            // The first round opens the files, the second finds them hot.
            let index = client.get("/");
            assert_eq!((index.status, &index.content[..]), (200, &b"<h1>index</h1>"[..]));
            assert_eq!(index.field("content-type"), Some("text/html; charset=utf-8"));
            assert!(index.field("date").is_some() && index.field("last-modified").is_some());
            let css = client.get("/a%20file.css?query");
            assert_eq!((css.status, css.field("content-type")), (200, Some("text/css; charset=utf-8")));
            assert_eq!(client.get("/empty.txt").field("content-length"), Some("0"));
            assert_eq!(client.get("/dir/").content, b"inner");
            let moved = client.get("/dir?q");
            assert_eq!((moved.status, moved.field("location")), (301, Some("/dir/?q")));
            assert_eq!(client.get("/none").status, 404);
            assert_eq!(client.get("/../etc/passwd").status, 400);
            assert_eq!(client.get("/%2e%2e/etc/passwd").status, 400);
            assert_eq!(client.get("http://host/").content, b"<h1>index</h1>");
        }
        client.close();
    });
}

#[test]
fn the_site_has_a_page_of_its_own_for_what_is_absent() {
    // Shows that 404.html is sent with status 404, cold and hot, and is not mistaken for unchanged.
    let folder = site();
    folder.write("404.html", b"lost");
    with_site(&folder, |lane, address| {
        let mut client = Client::connect(lane, address);
        for target in ["/x", "/y", "/z/"] {
            let date = "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT";
            let lost = client.ask(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n{date}\r\n\r\n"));
            assert_eq!((lost.status, &lost.content[..]), (404, &b"lost"[..]));
        }
        client.close();
    });
}

#[test]
fn heads_and_unchanged_files_have_no_content() {
    // Shows HEAD with GET's length, 304 for a date at or after the change, 200 for one before.
    with_site(&site(), |lane, address| {
        let mut client = Client::connect(lane, address);
        let head = client.ask("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!((head.status, head.field("content-length")), (200, Some("14")));
        let modified = head.field("last-modified").expect("a date").to_owned();
        let since = |date: &str| format!("GET / HTTP/1.1\r\nHost: h\r\nIf-Modified-Since: {date}\r\n\r\n");
        assert_eq!(client.ask(&since(&modified)).status, 304);
        assert_eq!(client.ask(&since("Sun, 06 Nov 1994 08:49:37 GMT")).status, 200);
        assert_eq!(client.ask(&since("nonsense")).status, 200);
        client.close();
    });
}

#[test]
fn validators_and_conditions_are_answered_in_order() {
    // Shows both validators on every kind of answer, 304 by tag and by date, 412, and the same for a large file.
    let folder = site();
    folder.write("large.bin", &pattern(2 * CHUNK));
    with_site(&folder, |lane, address| {
        let mut client = Client::connect(lane, address);
        let mut tags = Vec::new();
        for target in ["/", "/large.bin"] {
            let head = client.ask(&format!("HEAD {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
            let tag = head.field("etag").expect("a tag").to_owned();
            let date = head.field("last-modified").expect("a date").to_owned();
            assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() == 18, "a strong tag: {tag}");
            assert_eq!(head.field("accept-ranges"), Some("bytes"));
            let mut with = |method: &str, fields: &str| {
                client.ask(&format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n"))
            };
            for method in ["GET", "HEAD"] {
                for fields in [
                    format!("If-None-Match: \"x\", W/{tag}"),
                    format!("If-Modified-Since: {date}"),
                    format!("If-None-Match: {tag}\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"),
                    format!("If-None-Match: {tag}\r\nRange: bytes=0-1"),
                ] {
                    let same = with(method, &fields);
                    assert_eq!((same.status, same.content.len()), (304, 0), "{fields}");
                    assert_eq!(
                        (same.field("etag"), same.field("last-modified")),
                        (Some(&tag[..]), Some(&date[..]))
                    );
                    assert!(same.field("date").is_some() && same.field("content-length").is_none());
                }
                assert_eq!(with(method, "If-Match: \"x\"").status, 412);
                assert_eq!(with(method, &format!("If-Match: {tag}")).status, 200);
                let differs = format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}");
                assert_eq!(with(method, &differs).status, 200);
            }
            tags.push(tag);
        }
        assert_ne!(tags[0], tags[1]);
        client.close();
    });
}

#[test]
fn ranges_are_cut_out_of_small_and_large_files() {
    // Shows parts around every edge of chunks, byte for byte, each followed by another request; then 416 and If-Range.
    let folder = site();
    let sizes = [100, CHUNK, 3 * CHUNK + 9, 24 * CHUNK + 7];
    let files: Vec<Vec<u8>> = sizes.iter().map(|&size| pattern(size)).collect();
    for (index, bytes) in files.iter().enumerate() {
        folder.write(&format!("{index}.bin"), bytes);
    }
    with_site(&folder, |lane, address| {
        let mut client = Client::connect(lane, address);
        for (index, bytes) in files.iter().enumerate() {
            let length = bytes.len();
            let mut ask = |method: &str, fields: &str| {
                client.ask(&format!("{method} /{index}.bin HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n"))
            };
            let edges = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK, length / 2, length - 1];
            for first in edges.into_iter().filter(|&first| first < length) {
                for last in [first, first + 10, first + CHUNK, length - 1, 2 * length] {
                    let end = (last + 1).min(length);
                    let part = ask("GET", &format!("Range: bytes={first}-{last}"));
                    assert_eq!(part.status, 206);
                    assert!(part.content == bytes[first..end], "{first}-{last} of {length}");
                    let range = format!("bytes {first}-{}/{length}", end - 1);
                    assert_eq!(part.field("content-range"), Some(&range[..]));
                }
                assert!(ask("GET", &format!("Range: bytes={first}-")).content == bytes[first..]);
                assert!(ask("GET", &format!("Range: bytes=-{}", length - first)).content == bytes[first..]);
            }
            let whole = ask("HEAD", "Range: bytes=0-1");
            let (tag, date) =
                (whole.field("etag").expect("a tag"), whole.field("last-modified").expect("a date"));
            assert_eq!((whole.status, whole.field("content-length")), (200, Some(&length.to_string()[..])));
            for range in [format!("bytes={length}-"), "bytes=-0".to_owned()] {
                let refused = ask("GET", &format!("Range: {range}"));
                let length = format!("bytes */{length}");
                assert_eq!((refused.status, refused.field("content-range")), (416, Some(&length[..])));
            }
            for ignored in [
                "Range: bytes=1-2,4-5".to_owned(),
                "Range: items=1-2".to_owned(),
                format!("Range: bytes=1-2\r\nIf-Range: W/{tag}"),
                "Range: bytes=1-2\r\nIf-Range: \"0123456789abcdef\"".to_owned(),
                "Range: bytes=1-2\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT".to_owned(),
            ] {
                let answer = ask("GET", &ignored);
                assert!(answer.status == 200 && answer.content == *bytes, "{ignored}");
            }
            for held in [tag, date] {
                let part = ask("GET", &format!("Range: bytes=1-2\r\nIf-Range: {held}"));
                assert!(part.status == 206 && part.content == bytes[1..3]);
            }
        }
        client.close();
    });
}

#[test]
fn a_part_at_the_end_of_a_large_file_ends_its_connection() {
    // Shows `close` behind a part of the first, of a middle and of the last chunk: whole, and then the server's end.
    let folder = site();
    let bytes = pattern(5 * CHUNK);
    folder.write("large.bin", &bytes);
    with_site(&folder, |lane, address| {
        for (first, end) in [(5, 9), (0, CHUNK), (2 * CHUNK + 1, 2 * CHUNK + 3), (5 * CHUNK - 1, 5 * CHUNK)] {
            let mut client = Client::connect(lane, address);
            let range = format!("Range: bytes={first}-{}", end - 1);
            let part = client
                .ask(&format!("GET /large.bin HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{range}\r\n\r\n"));
            assert!(part.status == 206 && part.content == bytes[first..end]);
            client.until("the server's end", |client| client.ended);
            client.close();
        }
    });
}

#[test]
fn folders_without_an_index_are_listed_if_that_is_wished() {
    // Shows the page with sorted, escaped links that lead where they say, its absence without the option, and no
    // way to a folder outside.
    let folder = site();
    folder.write("list/b & c.txt", b"12345");
    folder.write("list/a/inner.txt", b"1");
    folder.write("list/.hidden", b"1");
    std::os::unix::fs::symlink("/etc", folder.path().join("list/etc")).expect("links can be made");
    with_site(&folder, |lane, address| {
        let mut client = Client::connect(lane, address);
        assert_eq!(client.get("/list/").status, 404);
        client.close();
    });
    let options = FilesOptions { listing: true, ..FilesOptions::default() };
    let files = Files::start(folder.path(), options).expect("the folder is there");
    against(
        |lane, address, ready| {
            let files = files.lane(lane.waker());
            serve(lane, address, files, ServerOptions::default(), ready)
        },
        |lane, address| {
            let mut client = Client::connect(lane, address);
            assert_eq!(client.get("/list").field("location"), Some("/list/"));
            for _ in 0..2 {
                let page = client.get("/list/");
                assert_eq!(
                    (page.status, page.field("content-type")),
                    (200, Some("text/html; charset=utf-8"))
                );
                assert_eq!((page.field("etag"), page.field("last-modified")), (None, None));
                let text = String::from_utf8(page.content).expect("text");
                let links: Vec<&str> =
                    text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
                assert_eq!(links, ["../", "./a/", "./b%20%26%20c.txt"], "{text}");
                assert!(text.contains("b &amp; c.txt</a><td>5 B<td>"), "{text}");
                assert_eq!(client.get("/list/b%20%26%20c.txt").content, b"12345");
            }
            assert_eq!(client.get("/list/etc/").status, 404);
            assert_eq!(client.get("/").content, b"<h1>index</h1>");
            client.close();
        },
    );
    files.join();
}

#[test]
fn large_files_come_whole_and_the_connection_goes_on() {
    // Shows files of several chunks, one that is larger than the whole cache, and a request behind each.
    let folder = site();
    let sizes = [CHUNK + 1, 3 * CHUNK, 24 * CHUNK + 7];
    let files: Vec<Vec<u8>> = sizes.iter().map(|&size| pattern(size)).collect();
    for (index, bytes) in files.iter().enumerate() {
        folder.write(&format!("{index}.bin"), bytes);
    }
    with_site(&folder, |lane, address| {
        let mut client = Client::connect(lane, address);
        for (index, bytes) in files.iter().enumerate() {
            let answer = client.get(&format!("/{index}.bin"));
            assert!(answer.status == 200 && answer.content == *bytes, "file {index}");
            assert_eq!(client.get("/empty.txt").status, 200);
        }
        let head = client.ask("HEAD /2.bin HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(head.field("content-length"), Some(&sizes[2].to_string()[..]));
        client.close();
    });
}

#[test]
fn files_come_whole_through_a_bad_network() {
    // Shows a file of several chunks, byte for byte, with loss, reordering, duplicates and flipped bits each way.
    let folder = site();
    let bytes = pattern(3 * CHUNK + 9);
    folder.write("large.bin", &bytes);
    let files = Files::start(folder.path(), CacheOptions::default()).expect("the folder is there");
    let faults = "loss=1,reorder=5,duplicate=1,corrupt=1,seed=7".parse().expect("a good specification");
    behind(
        Some(faults),
        |lane, address, ready| {
            let files = files.lane(lane.waker());
            serve(lane, address, files, ServerOptions::default(), ready)
        },
        |lane, address| {
            let mut client = Client::connect(lane, address);
            assert!(client.get("/large.bin").content == bytes);
            client.close();
        },
    );
    files.join();
}

#[test]
fn a_pipeline_is_answered_in_order_however_it_arrives() {
    // Shows a pipeline of mixed requests at once, cut in two at every byte, and byte by byte; then a half-close.
    let folder = site();
    folder.write("large.bin", &pattern(CHUNK + 99));
    let pipeline = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /none HTTP/1.1\r\nHost: h\r\n\r\n\
        GET /large.bin HTTP/1.1\r\nHost: h\r\n\r\nGET /dir/ HTTP/1.1\r\nHost: h\r\n\r\n";
    let expected = [(200, 14), (404, 0), (200, CHUNK + 99), (200, 5)];
    with_site(&folder, |lane, address| {
        let check = |client: &mut Client<'_>| {
            for (answer, (status, length)) in client.answers(4, false).iter().zip(expected) {
                assert_eq!(answer.status, status);
                assert!(length == 0 || answer.content.len() == length);
            }
        };
        let mut client = Client::connect(lane, address);
        client.send(pipeline);
        check(&mut client);
        for cut in 1..pipeline.len() {
            client.dribble(&[&pipeline[..cut], &pipeline[cut..]]);
            check(&mut client);
        }
        let bytes: Vec<&[u8]> = pipeline.chunks(1).collect();
        client.dribble(&bytes);
        check(&mut client);
        client.send(pipeline);
        client.shutdown();
        check(&mut client);
        client.until("the server's end", |client| client.ended);
    });
}

#[test]
fn a_long_pipeline_is_answered_whole() {
    // Shows back-pressure: far more requests at once than may be under way, all answered, in order.
    with_site(&site(), |lane, address| {
        let mut client = Client::connect(lane, address);
        let some =
            ["/", "/dir/", "/empty.txt"].map(|target| format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        for round in 0..100 {
            for request in &some {
                client.send(request.as_bytes());
            }
            if round % 20 == 19 {
                let answers = client.answers(60, false);
                let lengths: Vec<usize> = answers.iter().map(|answer| answer.content.len()).collect();
                assert!(lengths.chunks(3).all(|three| three == [14, 5, 0]), "{lengths:?}");
            }
        }
        client.close();
    });
}

#[test]
fn connections_end_as_the_client_asked() {
    // Shows `close` and HTTP/1.0: the answer is whole, says so, and the server ends the connection, for large files too.
    let folder = site();
    folder.write("large.bin", &pattern(5 * CHUNK));
    with_site(&folder, |lane, address| {
        for request in [
            "GET /large.bin HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET /none HTTP/1.0\r\n\r\n",
            "HEAD / HTTP/1.0\r\n\r\n",
        ] {
            let mut client = Client::connect(lane, address);
            let answer = client.ask(request);
            assert_eq!(answer.field("connection"), Some("close"), "{request}");
            client.until("the server's end", |client| client.ended);
            client.close();
        }
        let mut client = Client::connect(lane, address);
        let answer = client.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(answer.field("connection"), Some("keep-alive"));
        assert_eq!(client.get("/").status, 200);
        client.close();
    });
}

#[test]
fn hostile_requests_are_refused_and_the_connection_ends() {
    // Shows that each gets its status, that what follows is not taken for a request, and that the server lives on.
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(20_000));
    let fields = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(40_000));
    let cases: [(&str, u16); 9] = [
        ("\u{16}\u{3}\u{1}\u{0}\u{0}", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\nHost: h\r\n\r\n", 505),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 413),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n", 501),
        (&long, 414),
        (&fields, 431),
    ];
    with_site(&site(), |lane, address| {
        for (request, status) in cases {
            let mut client = Client::connect(lane, address);
            let answer = client.ask(request);
            assert_eq!((answer.status, answer.field("connection")), (status, Some("close")), "{request:.60}");
            client.until("the server's end", |client| client.ended);
            assert_eq!(split(&client.received, false).0.len(), 0, "nothing follows a refusal");
            client.close();
        }
        let mut client = Client::connect(lane, address);
        assert_eq!(client.get("/").status, 200);
        client.close();
    });
}

#[test]
fn slow_heads_and_idle_connections_are_ended() {
    // Shows with short time-outs: 408 for a head that stays a part, a plain end for silence, before and between requests.
    let folder = site();
    let files = Files::start(folder.path(), CacheOptions::default()).expect("the folder is there");
    let short = Duration::from_millis(1500);
    let timeouts = Timeouts { idle: short, head: short, ..Timeouts::default() };
    let options = ServerOptions { timeouts, ..ServerOptions::default() };
    against(
        |lane, address, ready| {
            let files = files.lane(lane.waker());
            serve(lane, address, files, options, ready)
        },
        |lane, address| {
            let mut slow = Client::connect(lane, address);
            let answer = slow.ask("GET / HTTP/1.1\r\nHost:");
            assert_eq!((answer.status, answer.field("connection")), (408, Some("close")));
            slow.until("the server's end", |client| client.ended);
            slow.close();
            for requests in 0..2 {
                let mut idle = Client::connect(lane, address);
                for _ in 0..requests {
                    assert_eq!(idle.get("/").status, 200);
                }
                idle.until("the server's end", |client| client.ended);
                assert!(idle.received.is_empty());
                idle.close();
            }
        },
    );
    files.join();
}

#[test]
fn a_file_truncated_in_mid_download_aborts_it() {
    // Shows that the client gets a prefix of the old bytes and then a reset: never a whole answer, never new bytes.
    let folder = site();
    let old = pattern(200 * CHUNK);
    let path = folder.write("large.bin", &old);
    with_site(&folder, |lane, address| {
        let mut client = Client::connect(lane, address);
        client.send(b"GET /large.bin HTTP/1.1\r\nHost: h\r\n\r\n");
        client.until("the beginning", |client| client.received.len() > CHUNK);
        fs::File::options().write(true).open(&path).and_then(|file| file.set_len(10)).expect("ours");
        client.until("the end", |client| client.closed.is_some());
        let head = client.received.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let content = &client.received[head..];
        assert!(content.len() < old.len() && *content == old[..content.len()]);
    });
}

/// Serve `folder` with these options and let `client` ask.
fn with_options(folder: &Folder, options: ServerOptions, client: impl Fn(&mut Lane, SocketAddr) + Sync) {
    let files = Files::start(folder.path(), CacheOptions::default()).expect("the folder is there");
    against(
        |lane, address, ready| {
            let files = files.lane(lane.waker());
            serve(lane, address, files, options, ready)
        },
        client,
    );
    files.join();
}

#[test]
fn connections_requests_and_heads_have_limits() {
    // Shows 503 for the connection that is one too many and room again once one has gone, `close` with the last
    // request of a connection, and 431 just above the bytes that a head may have.
    let limits = Limits { connections: 1, requests: 3, header_bytes: 1024 };
    with_options(&site(), ServerOptions { limits, ..ServerOptions::default() }, |lane, address| {
        for _ in 0..2 {
            let mut client = Client::connect(lane, address);
            for (request, connection) in [(1, None), (2, None), (3, Some("close"))] {
                let answer = client.get("/");
                assert_eq!(
                    (answer.status, answer.field("connection")),
                    (200, connection),
                    "request {request}"
                );
            }
            client.until("the server's end", |client| client.ended);
            client.close();
        }
        let head =
            |bytes: usize| format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(bytes - 32));
        for (bytes, status) in [(1023, 200), (1025, 431)] {
            let mut client = Client::connect(lane, address);
            assert_eq!(client.ask(&head(bytes)).status, status);
            client.close();
        }
        // The first stays open while others come.
        let first = Client::connect(lane, address).into_stream();
        for _ in 0..2 {
            let mut other = Client::connect(lane, address);
            let refusal = other.answers(1, false).remove(0);
            assert_eq!((refusal.status, refusal.field("connection")), (503, Some("close")));
            assert_eq!(refusal.field("retry-after"), Some("1"));
            other.until("the server's end", |client| client.ended);
            other.close();
        }
        let mut first = Client::again(lane, first);
        assert_eq!(first.get("/").status, 200);
        first.close();
        let mut next = Client::connect(lane, address);
        assert_eq!(next.get("/").status, 200);
        next.close();
    });
}

#[test]
fn a_client_that_stops_reading_is_dropped() {
    // Shows that a client whose window stays closed costs its connection after the time for a chunk, and that others
    // are served meanwhile and afterwards.
    let folder = site();
    folder.write("large.bin", &pattern(40 * CHUNK));
    let timeouts = Timeouts { send: Duration::from_millis(1200), ..Timeouts::default() };
    let options = ServerOptions { timeouts, ..ServerOptions::default() };
    let files = Files::start(folder.path(), CacheOptions::default()).expect("the folder is there");
    let board = Arc::new(Board::default());
    let server = || {
        let mut seen = Vec::new();
        board.look(&mut seen);
        seen.first().map_or((0, 0), |seen| (seen.server.timed_out, seen.server.connections))
    };
    against(
        |lane, address, ready| {
            let files = files.lane(lane.waker());
            let equipment = Equipment { board: Some(Arc::clone(&board)), ..files.into() };
            serve(lane, address, equipment, options, ready)
        },
        |lane, address| {
            let mut stalled = Client::connect(lane, address);
            stalled.stalled = true;
            stalled.send(b"GET /large.bin HTTP/1.1\r\nHost: h\r\n\r\n");
            stalled.until("the beginning", |client| !client.received.is_empty());
            assert_eq!(server().0, 0);
            stalled.until("the server's patience to end", |_| server() == (1, 0));
            assert!(stalled.received.len() < 40 * CHUNK);
            stalled.until("the server's reset", |client| client.closed.is_some());
            drop(stalled);
            let mut other = Client::connect(lane, address);
            assert_eq!(other.get("/").status, 200);
            other.close();
        },
    );
    files.join();
}

#[test]
fn answers_are_noted_in_the_access_log() {
    // Shows a record for a small file, an error, a large file, a part, what could not be read, and a download that
    // its client gave up, with the bytes that arrived.
    let folder = site();
    folder.write("large.bin", &pattern(40 * CHUNK));
    let path = folder.path().join("access.log");
    let log = AccessLog::open(&path).expect("a writable folder");
    let files = Files::start(folder.path(), CacheOptions::default()).expect("the folder is there");
    against(
        |lane, address, ready| {
            let files = files.lane(lane.waker());
            let equipment = Equipment { log: Some(log.lane()), ..files.into() };
            serve(lane, address, equipment, ServerOptions::default(), ready)
        },
        |lane, address| {
            let mut client = Client::connect(lane, address);
            client.ask("GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: test\r\n\r\n");
            client.get("/none");
            client.get("/large.bin");
            client.ask("GET /large.bin HTTP/1.1\r\nHost: h\r\nRange: bytes=5-9\r\n\r\n");
            client.ask("nonsense\r\n\r\n");
            client.close();
            let mut client = Client::connect(lane, address);
            client.stalled = true;
            client.send(b"GET /large.bin HTTP/1.1\r\nHost: h\r\n\r\n");
            client.until("the beginning", |client| client.received.len() > CHUNK / 2);
            client.abort();
        },
    );
    files.join();
    log.close();
    let text = fs::read_to_string(&path).expect("the log is there");
    let records: Vec<&str> = text.lines().map(|line| line.split_once("+0000] ").expect("a date").1).collect();
    assert!(text.lines().all(|line| line.starts_with("10.0.0.2 - - [")), "{text}");
    let large = format!("\"GET /large.bin HTTP/1.1\" 200 {} \"-\" \"-\"", 40 * CHUNK);
    assert_eq!(records[0], "\"GET / HTTP/1.1\" 200 14 \"-\" \"test\"");
    assert!(records[1].starts_with("\"GET /none HTTP/1.1\" 404 "), "{text}");
    assert_eq!((records[2], records[3]), (&large[..], "\"GET /large.bin HTTP/1.1\" 206 5 \"-\" \"-\""));
    assert!(records[4].starts_with("\"-\" 400 "), "{text}");
    let given_up = records[5].strip_prefix("\"GET /large.bin HTTP/1.1\" 200 ").expect("the last download");
    let bytes: usize = given_up.split(' ').next().and_then(|bytes| bytes.parse().ok()).expect("a number");
    assert!(bytes < 40 * CHUNK, "{text}");
    assert_eq!(records.len(), 6);
}

#[test]
fn metrics_count_what_was_served() {
    // Shows the figures by name after known requests, on the site's address and on one of their own, where nothing
    // else is; and that every address that is listened on is served.
    let folder = site();
    let figure = |page: &str, name: &str| -> Option<u64> {
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    };
    for own in [false, true] {
        let files = Files::start(folder.path(), CacheOptions::default()).expect("the folder is there");
        let board = Arc::new(Board::default());
        against(
            |lane, address, ready| {
                let equipment = Equipment {
                    board: Some(Arc::clone(&board)),
                    metrics: Some("/metrics".to_owned()),
                    ..files.lane(lane.waker()).into()
                };
                let any = SocketAddr::from(([0, 0, 0, 0], 8080));
                let metrics = own.then(|| SocketAddr::new(address.ip(), 9100));
                serve(
                    lane,
                    Doors { site: vec![address, any], metrics },
                    equipment,
                    ServerOptions::default(),
                    ready,
                )
            },
            |lane, address| {
                for port in [80, 8080] {
                    let mut client = Client::connect(lane, SocketAddr::new(address.ip(), port));
                    assert_eq!((client.get("/").status, client.get("/none").status), (200, 404));
                    client.close();
                }
                let mut client =
                    Client::connect(lane, SocketAddr::new(address.ip(), if own { 9100 } else { 80 }));
                let page = client.get("/metrics?x");
                let media_type = page.field("content-type").expect("a type");
                assert!(media_type.starts_with("application/openmetrics-text"), "{media_type}");
                let text = String::from_utf8(page.content).expect("text");
                assert!(text.ends_with("# EOF\n"), "{text}");
                let expected = [
                    ("http_requests_total{lane=\"0\"}", 5),
                    ("http_answers_total{lane=\"0\",class=\"2xx\"}", 2),
                    ("http_answers_total{lane=\"0\",class=\"4xx\"}", 2),
                    ("http_connections{lane=\"0\"}", 1),
                    ("tcp_total{lane=\"0\",event=\"accepted\"}", 3),
                ];
                for (name, value) in expected {
                    assert_eq!(figure(&text, &format!("corelane_{name}")), Some(value), "{name} in {text}");
                }
                assert!(figure(&text, "corelane_frames_total{lane=\"0\",kind=\"received\"}") > Some(10));
                assert_eq!(client.get("/").status, if own { 404 } else { 200 });
                client.close();
                if own {
                    let mut client = Client::connect(lane, address);
                    assert_eq!(client.get("/metrics").status, 404);
                    client.close();
                }
            },
        );
        files.join();
    }
}

#[test]
fn what_goes_out_comes_back_and_then_the_end() {
    // Shows a few megabytes there and back, byte for byte, with the client's half-close behind them.
    let bytes = pattern(4 << 20);
    against(echo, |lane, address| {
        let mut client = Client::connect(lane, address);
        for (sent, piece) in bytes.chunks(64 << 10).enumerate() {
            client.send(piece);
            // No more under way than a few pieces, so that the test holds no more than they need.
            let enough = (sent << 16).saturating_sub(1 << 20);
            client.until("the echo", |client| client.received.len() >= enough);
        }
        client.shutdown();
        client.until("the end", |client| client.ended);
        assert!(client.received == bytes);
    });
}

/// Counts what the server's thread allocates, and looks at what the lane copied.
struct Counting<'a> {
    ready: &'a mut Ready,
    allocations: &'a AtomicU64,
}

impl Watch for Counting<'_> {
    fn ready(&mut self, lane: &Lane, local: SocketAddr) {
        self.ready.ready(lane, local);
    }
    fn turn(&mut self, _lane: &Lane) {
        self.allocations.store(allocations(), Ordering::Relaxed);
    }
    fn end(&mut self, lane: &Lane) {
        let report = lane.report();
        assert_eq!(report.copied_bytes, 0, "this port takes attached segments");
        assert!(report.attached_bytes > 0);
        self.ready.end(lane);
    }
}

#[test]
fn a_hot_request_allocates_and_copies_nothing() {
    // Shows by counting on the server's own thread: 2,000 requests allocate no more than asking the file thread once
    // a second does, with an access log, a board and conditions too.
    const REQUESTS: u64 = 2000;
    let folder = site();
    let files = Files::start(folder.path(), CacheOptions::default()).expect("the folder is there");
    let log = AccessLog::open(&folder.path().join("access.log")).expect("a writable folder");
    let count = AtomicU64::new(0);
    against(
        |lane, address, ready| {
            let files = files.lane(lane.waker());
            let equipment = Equipment {
                log: Some(log.lane()),
                board: Some(Arc::default()),
                metrics: Some("/metrics".to_owned()),
                ..files.into()
            };
            let mut counting = Counting { ready, allocations: &count };
            serve(lane, address, equipment, ServerOptions::default(), &mut counting)
        },
        |lane, address| {
            let mut client = Client::connect(lane, address);
            let tag = client.get("/").field("etag").expect("a tag").to_owned();
            let same = format!("GET / HTTP/1.1\r\nHost: h\r\nIf-None-Match: {tag}\r\n\r\n");
            for _ in 0..REQUESTS {
                assert_eq!(client.get("/").status, 200);
            }
            let (before, started) = (count.load(Ordering::Relaxed), Instant::now());
            for _ in 0..REQUESTS / 2 {
                assert_eq!(client.get("/").status, 200);
                assert_eq!(client.ask(&same).status, 304);
            }
            let allocated = count.load(Ordering::Relaxed) - before;
            let allowed = 100 + 50 * started.elapsed().as_secs();
            assert!(allocated < allowed.min(REQUESTS), "{allocated} allocations for {REQUESTS} requests");
            client.close();
        },
    );
    files.join();
    log.close();
}

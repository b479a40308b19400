//! The load generator against the servers: two runtimes on a wire inside the process, and its counts against theirs.

#[allow(dead_code, unused_imports, reason = "other tests use the rest")]
mod support;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apps::echo::{Manner, echo, serve_all};
use apps::files::{CacheOptions, Files, FilesOptions};
use apps::httpd::{Equipment, Secure, ServerOptions, serve};
use apps::loadgen::{Client, ErrorKind, Exchange, Pace, Plan, Progress, Results, Spread, Tls};
use apps::tls;
use corelane::{Event, FaultSpec, Lane, LaneError, Op, QueueId};
use support::{Folder, PATIENCE, Ready, against, behind, pattern};

/// Turn a client on `lane` until it is done, as a thread with several lanes would: without waiting.
fn load(lane: &mut Lane, plan: &Plan) -> Results {
    let began = std::time::Instant::now();
    let mut client = Client::new(plan, (0, 1), Arc::new(Progress::default()));
    client.start(lane);
    while !client.is_done() {
        assert!(began.elapsed() < PATIENCE, "still at it: {client:?}; {}", lane.report());
        assert!(lane.turn());
        client.turn(lane);
        if !lane.is_busy() {
            std::thread::yield_now();
        }
    }
    client.finish()
}

/// Load `server` by a plan made for its address, and look at the results.
fn loaded<S>(faults: Option<FaultSpec>, server: S, plan: impl Fn(SocketAddr) -> Plan + Sync) -> Results
where
    S: Fn(Lane, SocketAddr, &mut Ready) -> Result<(), LaneError> + Sync,
{
    let found = Mutex::new(None);
    behind(faults, server, |lane, address| {
        *found.lock().expect("one client") = Some(load(lane, &plan(address)));
    });
    found.into_inner().expect("one client").expect("the client has run")
}

fn echoed(plan: impl Fn(SocketAddr) -> Plan + Sync) -> Results {
    loaded(None, echo, plan)
}

/// Load httpd with a folder of a page and a file of several chunks.
fn served(plan: impl Fn(SocketAddr) -> Plan + Sync) -> Results {
    let folder = Folder::new();
    folder.write("index.html", &pattern(3000));
    folder.write("large.bin", &pattern(1_000_000));
    let cache = FilesOptions { cache: CacheOptions { large_blocks: 16, small_blocks: 64 }, listing: false };
    let files = Files::start(folder.path(), cache).expect("the folder is there");
    let server = |lane: Lane, address, ready: &mut Ready| {
        let files = files.lane(lane.waker());
        serve(lane, address, files, ServerOptions::default(), ready)
    };
    let results = loaded(None, server, plan);
    files.join();
    results
}

/// Load httpd over TLS, with a certificate of `localhost` made here.
fn secured(name: &str, plan: impl Fn(SocketAddr) -> Plan + Sync) -> Results {
    let folder = Folder::new();
    folder.write("index.html", &pattern(3000));
    folder.write("large.bin", &pattern(1_000_000));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let certificate = folder.write("cert.pem", made.cert.pem().as_bytes());
    let key = folder.write("key.pem", made.signing_key.serialize_pem().as_bytes());
    let config = tls::server_config(&certificate, &key).expect("both were made together");
    let believed = tls::client_config(&tls::Trust::File(certificate)).expect("an authority");
    let tls = Tls { config: believed, name: name.to_owned().try_into().expect("a name") };
    let cache = FilesOptions { cache: CacheOptions { large_blocks: 16, small_blocks: 64 }, listing: false };
    let files = Files::start(folder.path(), cache).expect("the folder is there");
    let server = |lane: Lane, address, ready: &mut Ready| {
        let secure = Some(Secure { doors: vec![address], config: Arc::clone(&config) });
        let equipment = Equipment { secure, ..files.lane(lane.waker()).into() };
        serve(lane, address, equipment, ServerOptions::default(), ready)
    };
    let results = loaded(None, server, |to| Plan { tls: Some(tls.clone()), ..plan(to) });
    files.join();
    results
}

/// A server that answers each connection's first bytes with `answer`, and then closes, or leaves it open.
fn canned(
    answer: &'static [u8],
    close: bool,
) -> impl Fn(Lane, SocketAddr, &mut Ready) -> Result<(), LaneError> {
    move |mut lane, address, ready| {
        use apps::watch::Watch as _;
        lane.submit(Op::listen_eager(address))?;
        while lane.wait(&[QueueId::MAIN], None) {
            while let Some(done) = lane.take(QueueId::MAIN) {
                match done.event {
                    Event::Listening { local, .. } => ready.ready(&lane, local),
                    Event::Received { stream, data } => {
                        drop(data);
                        if !answer.is_empty() {
                            lane.submit(Op::send(stream, answer))?;
                        }
                        if close {
                            lane.submit(Op::close(stream))?;
                        }
                    }
                    Event::End { stream } => lane.submit(Op::close(stream))?,
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn plan(to: SocketAddr, exchange: Exchange, connections: usize, requests: u64) -> Plan {
    Plan { connections, requests: Some(requests), ..Plan::new(to, exchange) }
}

fn get(path: &str) -> Exchange {
    Exchange::get("h", path, false)
}

#[test]
fn pings_of_any_size_come_back() {
    // Shows one byte, a segment and a bit, and a megabyte, alone and pipelined; each counted once, and no error.
    for (bytes, pipeline) in [(1, 1), (1, 64), (1500, 3), (1_000_000, 1), (1_000_000, 2)] {
        let results = echoed(|to| Plan { pipeline, ..plan(to, Exchange::ping(bytes), 4, 21) });
        assert_eq!((results.answered, results.errors_all(), results.opened), (21, 0, 4), "{bytes} bytes");
        assert_eq!(results.sent_bytes, 21 * bytes as u64);
        assert_eq!(results.received_bytes, results.sent_bytes);
        assert_eq!((results.latency.len(), results.connect.len()), (21, 4));
        assert!(results.span > Duration::ZERO && results.rate(results.answered_in_time) > 0.0);
    }
}

/// Load an echo server that does not echo.
fn one_way(manner: Manner, plan: impl Fn(SocketAddr) -> Plan + Sync) -> Results {
    let server = move |lane, address, ready: &mut Ready| {
        serve_all(corelane::LaneSet::new(vec![lane]), address, manner, ready)
    };
    loaded(None, server, plan)
}

#[test]
fn uploads_are_acknowledged_and_downloads_come() {
    // Shows pieces of a byte, of a segment and more than a send may have at once; every one is counted once, and nothing
    // comes back. Then bytes that nobody asked for, in pieces small and large, up to the time and no error at the end.
    for (bytes, pipeline) in [(1, 64), (1448, 16), (70_000, 4)] {
        let up =
            one_way(Manner::Discard, |to| Plan { pipeline, ..plan(to, Exchange::upload(bytes), 2, 150) });
        assert_eq!((up.answered, up.errors_all(), up.opened), (150, 0, 2), "{bytes} bytes");
        assert_eq!((up.sent_bytes, up.received_bytes), (150 * bytes as u64, 0));
    }
    for bytes in [100, 1448, 70_000] {
        let down = one_way(Manner::Generate(bytes), |to| plan(to, Exchange::Download, 2, 8));
        assert_eq!((down.answered, down.errors_all(), down.opened), (8, 0, 2), "{bytes} bytes");
        assert!(down.received_bytes > 6 * 65_536 && down.sent_bytes == 0, "{}", down.received_bytes);
    }
}

#[test]
fn pages_come_kept_alive_pipelined_and_a_connection_each() {
    // Shows that answers are found whatever lies between them, and how many connections each manner opens.
    let kept = served(|to| plan(to, get("/"), 8, 400));
    assert_eq!((kept.answered, kept.errors_all(), kept.opened), (400, 0, 8));
    let piped = served(|to| Plan { pipeline: 16, ..plan(to, get("/"), 3, 400) });
    assert_eq!((piped.answered, piped.errors_all(), piped.opened), (400, 0, 3));
    assert!(piped.received_bytes > 400 * 3000);
    let close = served(|to| Plan { close: true, ..plan(to, Exchange::get("h", "/", true), 8, 400) });
    assert_eq!((close.answered, close.errors_all(), close.opened), (400, 0, 400));
    let large = served(|to| plan(to, get("/large.bin"), 2, 6));
    assert_eq!((large.answered, large.errors_all()), (6, 0));
    assert!(large.received_bytes > 6_000_000);
}

#[test]
fn pages_come_inside_tls() {
    // Shows kept-alive, pipelined and single requests, a file of several chunks, and that a wrong name is refused by
    // the client and costs the server nothing that it does not give back.
    let get_securely = |connections, requests, path: &'static str| {
        move |to| Plan { pipeline: 4, ..plan(to, get(path), connections, requests) }
    };
    let piped = secured("localhost", get_securely(4, 200, "/"));
    assert_eq!(
        (piped.answered, piped.errors_all(), piped.handshake.len()),
        (200, 0, 4),
        "{:?}",
        piped.tls_error
    );
    let large = secured("localhost", get_securely(2, 6, "/large.bin"));
    assert_eq!((large.answered, large.errors_all()), (6, 0), "{:?}", large.errors);
    let close =
        secured("localhost", |to| Plan { close: true, ..plan(to, Exchange::get("h", "/", true), 4, 40) });
    assert_eq!((close.answered, close.errors_all(), close.opened), (40, 0, 40));
    let wrong = secured("elsewhere", get_securely(2, 6, "/"));
    assert_eq!((wrong.answered, wrong.errors_of(ErrorKind::Tls), wrong.errors_all()), (0, 2, 2));
}

#[test]
fn connections_come_from_every_source_address() {
    // Shows that two further addresses are used in turn, by an address that is not ours: it alone fails.
    let sources = [IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 99])];
    let results =
        echoed(|to| Plan { close: true, sources: sources.into(), ..plan(to, Exchange::ping(5), 1, 8) });
    assert_eq!((results.answered, results.errors_of(ErrorKind::Other)), (4, 4));
}

#[test]
fn answers_that_are_none_are_errors_of_their_kind() {
    // Shows a missing page, noise, an answer cut short, a connection that ends unanswered, one refused, and one that
    // stays unanswered: each request is one error, and the client comes to an end.
    let missing = served(|to| plan(to, get("/none"), 1, 5));
    assert_eq!((missing.answered, missing.errors_of(ErrorKind::Status4xx)), (5, 5));
    let canned_with = |answer, close| {
        let results = loaded(None, canned(answer, close), |to| Plan {
            timeout: Duration::from_millis(300),
            ..plan(to, get("/"), 1, 2)
        });
        assert_eq!(results.answered, 0);
        results
    };
    assert_eq!(canned_with(b"SSH-2.0-x\r\n", false).errors_of(ErrorKind::Malformed), 2);
    let short = canned_with(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", true);
    assert_eq!((short.errors_of(ErrorKind::Ended), short.errors_all()), (2, 2));
    assert_eq!(canned_with(b"", true).errors_of(ErrorKind::Ended), 2);
    assert_eq!(canned_with(b"", false).errors_of(ErrorKind::TimedOut), 2);
    let wrong = loaded(None, canned(b"pong?", false), |to| plan(to, Exchange::ping(5), 1, 2));
    assert_eq!((wrong.errors_of(ErrorKind::Malformed), wrong.answered), (2, 0));
    let refused = echoed(|mut to| {
        to.set_port(81);
        plan(to, Exchange::ping(5), 3, 9)
    });
    assert_eq!((refused.errors_of(ErrorKind::Refused), refused.errors_all()), (3, 3));
}

#[test]
fn an_answer_may_end_with_its_connection() {
    // Shows that such an answer is whole, and that the next request finds a connection of its own.
    let answer = b"HTTP/1.0 200 OK\r\n\r\nuntil the end";
    let results = loaded(None, canned(answer, true), |to| plan(to, get("/"), 2, 10));
    assert_eq!((results.answered, results.errors_all()), (10, 0));
    assert!(results.opened >= 10);
}

#[test]
fn what_a_closing_server_did_not_take_is_asked_again() {
    // Shows that requests behind an answer that announced the end are no errors.
    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let results = loaded(None, canned(answer, true), |to| Plan { pipeline: 4, ..plan(to, get("/"), 1, 9) });
    assert_eq!((results.answered, results.errors_all()), (9, 0));
}

#[test]
fn an_open_loop_keeps_its_rate_and_counts_from_when_requests_were_due() {
    // Shows that all due requests are sent, and that with one connection to a server 20 ms away, at ten times the
    // rate it can have, latencies grow to what a client that waits would see, or the requests are told as not sent.
    let open = |rate| Pace::Open { rate, spread: Spread::Fixed, seed: 1 };
    let duration = Some(Duration::from_millis(500));
    // As many connections as requests, so that all that became due in a pause of this thread go out after it.
    let light = echoed(|to| Plan {
        connections: 200,
        pace: open(400.0),
        duration,
        ..Plan::new(to, Exchange::ping(64))
    });
    assert_eq!((light.answered, light.errors_all()), (200, 0), "{:?}", light.errors);
    let far = "delay=10ms".parse().expect("good faults");
    let heavy = loaded(Some(far), echo, |to| Plan {
        pace: open(500.0),
        duration,
        ..Plan::new(to, Exchange::ping(64))
    });
    assert_eq!(heavy.answered + heavy.errors_of(ErrorKind::NotSent), 250);
    assert!(heavy.answered <= 26, "{} answers in 500 ms at 20 ms each", heavy.answered);
    let worst = Duration::from_nanos(heavy.latency.max());
    // The last one that was sent was due when ten times fewer had been answered.
    assert!(worst > Duration::from_millis(300), "worst {worst:?}");
}

#[test]
fn warm_up_does_not_count() {
    // Shows that requests due before its end are neither answers, nor latencies, nor errors: of 300 in 300 ms, those
    // of the last 100 ms are counted, each once, though a pause of this thread may keep some from being sent.
    let (warmup, duration) = (Duration::from_millis(200), Some(Duration::from_millis(300)));
    let pace = Pace::Open { rate: 1000.0, spread: Spread::Fixed, seed: 1 };
    let results =
        echoed(|to| Plan { warmup, duration, pace, connections: 8, ..Plan::new(to, Exchange::ping(8)) });
    assert_eq!(results.span, Duration::from_millis(100));
    assert_eq!(results.answered + results.errors_of(ErrorKind::NotSent), 100);
    assert_eq!(
        (results.latency.len(), results.errors_all()),
        (results.answered, results.errors_of(ErrorKind::NotSent))
    );
}

#[test]
fn a_bad_network_costs_time_but_no_answer() {
    // Shows that loss, reordering and duplicates lead to no error.
    let faults = "loss=2,reorder=5,duplicate=2,seed=5".parse().expect("good faults");
    let results = loaded(Some(faults), echo, |to| plan(to, Exchange::ping(3000), 8, 200));
    assert_eq!((results.answered, results.errors_all()), (200, 0));
}

#[test]
fn more_connections_than_ops_in_a_batch_are_opened_and_ended() {
    // Shows 1,500 held connections, each asked twice, and that the server is left with none.
    let results = echoed(|to| plan(to, Exchange::ping(10), 1500, 3000));
    assert_eq!((results.answered, results.errors_all(), results.opened), (3000, 0, 1500));
}

/// A server that answers one byte of what it hears now and then, whatever more is asked.
fn slow(mut lane: Lane, address: SocketAddr, ready: &mut Ready) -> Result<(), LaneError> {
    use apps::watch::Watch as _;
    const PAUSE: Duration = Duration::from_millis(20);
    let mut asking = None;
    lane.submit(Op::listen_eager(address))?;
    lane.submit(Op::timer(lane.now().saturating_add(PAUSE)))?;
    while lane.wait(&[QueueId::MAIN], None) {
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Listening { local, .. } => ready.ready(&lane, local),
                Event::Received { stream, .. } => asking = Some(stream),
                Event::Timer => {
                    if let Some(stream) = asking {
                        lane.submit(Op::send(stream, &b"\0"[..]))?;
                    }
                    lane.submit(Op::timer(lane.now().saturating_add(PAUSE)))?;
                }
                Event::End { stream } => lane.submit(Op::close(stream))?,
                Event::Closed { .. } => asking = None,
                _ => {}
            }
        }
    }
    Ok(())
}

#[test]
fn answers_that_come_one_by_one_are_not_awaited_for_ever() {
    // Shows that the end is in sight though each answer is in time: after twice the patience the rest are errors. All of them
    // would take 200 seconds.
    let timeout = Duration::from_millis(200);
    let results =
        loaded(None, slow, |to| Plan { timeout, pipeline: 10_000, ..plan(to, Exchange::ping(1), 1, 10_000) });
    assert!((1..1_000).contains(&results.answered), "{} answers", results.answered);
    assert_eq!(results.errors_of(ErrorKind::TimedOut), 10_000 - results.answered);
    assert_eq!((results.errors_all() + results.answered, results.unclosed), (10_000, 0));
}

#[test]
fn an_unreachable_server_is_waited_for_and_told() {
    // Shows that waiting ends when the server answers, which it does at once here, and that a server that is not
    // there is an error for each connection, not one for each attempt.
    let waited = echoed(|to| Plan { wait: PATIENCE, ..plan(to, Exchange::ping(10), 2, 4) });
    assert_eq!((waited.answered, waited.errors_all(), waited.opened), (4, 0, 2));
    against(echo, |lane, _| {
        let nobody = SocketAddr::from(([10, 0, 0, 77], 7));
        let timeout = Duration::from_millis(300);
        let results = load(lane, &Plan { timeout, ..plan(nobody, Exchange::ping(1), 2, 4) });
        assert_eq!((results.answered, results.errors_all()), (0, 2));
    });
}

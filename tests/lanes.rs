//! Runtimes of several lanes and threads on the network inside the process, with real threads and the real clock.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use corelane::soft::Net;
use corelane::{Config, Event, LaneError, LaneSet, Op, OpError, PerSocket, QueueId, Report, Runtime};

/// Lanes, threads and queues of a runtime.
#[derive(Clone, Copy, Debug)]
struct Shape(u16, u16, u16);

const SERVER: [u8; 4] = [10, 0, 0, 1];
const CLIENT: [u8; 4] = [10, 0, 0, 2];

/// Connections that each lane of the client opens, one after the other.
const CONNECTIONS: usize = 40;

/// Bytes of each exchange: several segments.
const MESSAGE: usize = 5_000;

fn runtime(net: &Net, ip: [u8; 4], Shape(lanes, threads, queues): Shape) -> Runtime {
    let config = Config::new(net.clone(), IpAddr::from(ip));
    let (lanes, threads, queues) = (Some(lanes), Some(threads), Some(queues));
    let small = Config { receive_frames: 512, control_frames: 512, blocks: 64, ..config };
    Runtime::new(Config { lanes, threads, queues, ..small }).expect("the wire has two ends")
}

fn echo(mut set: LaneSet, address: SocketAddr, listening: &Sender<()>) -> Result<Vec<Report>, LaneError> {
    for lane in set.lanes() {
        lane.submit(Op::listen_eager(address))?;
    }
    let mut reports = Vec::new();
    while set.wait(None) {
        for lane in set.lanes() {
            while let Some(done) = lane.take(QueueId::MAIN) {
                match done.event {
                    Event::Listening { .. } => listening.send(()).expect("somebody waits"),
                    Event::Received { stream, data } => lane.submit(Op::send(stream, data))?,
                    Event::End { stream } => lane.submit(Op::close(stream))?,
                    _ => {}
                }
            }
        }
    }
    reports.extend(set.lanes().iter().map(|lane| lane.report()));
    Ok(reports)
}

/// Open connections on every lane, and see each echo come back to the lane that asked. Returns how many did.
fn ask(mut set: LaneSet, address: SocketAddr) -> Result<usize, LaneError> {
    let mut left: Vec<usize> = Vec::new();
    let mut received: Vec<PerSocket<usize>> = Vec::new();
    for lane in set.lanes() {
        lane.submit(Op::connect(address))?;
        left.push(CONNECTIONS);
        received.push(PerSocket::new());
    }
    let mut echoed = 0;
    while left.iter().any(|left| *left > 0) && set.wait(None) {
        for ((lane, left), received) in set.lanes().iter_mut().zip(&mut left).zip(&mut received) {
            while let Some(done) = lane.take(QueueId::MAIN) {
                match done.event {
                    Event::Connected { stream, .. } => {
                        received.insert(stream, 0);
                        lane.submit(Op::receive(stream))?;
                        lane.submit(Op::send(stream, vec![lane.id().0 + 1; MESSAGE]))?;
                    }
                    Event::Received { stream, data } => {
                        assert!(data.iter().all(|byte| *byte == lane.id().0 + 1), "another lane's bytes");
                        let count = received.get_mut(stream).expect("it was connected");
                        *count += data.len();
                        if *count == MESSAGE {
                            lane.submit(Op::close(stream))?;
                        }
                    }
                    Event::Closed { socket, .. } => {
                        echoed += usize::from(received.remove(socket) == Some(MESSAGE));
                        *left -= 1;
                        if *left > 0 {
                            lane.submit(Op::connect(address))?;
                        }
                    }
                    Event::Failed { error, .. } => return Err(error.into()),
                    _ => {}
                }
            }
        }
    }
    Ok(echoed)
}

/// Let a client talk to a server. Returns the reports of the server's lanes.
fn talk(server: Shape, client: Shape) -> Vec<Report> {
    let net = Net::default();
    let (server_runtime, client_runtime) = (runtime(&net, SERVER, server), runtime(&net, CLIENT, client));
    let address = SocketAddr::from((SERVER, 7));
    let ((listening, heard), stopper) = (channel(), server_runtime.stopper());
    let (reports, echoed) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    thread::scope(|scope| {
        let served = scope.spawn(|| {
            let listening = Mutex::new(listening);
            server_runtime.run_sets(|set| {
                let listening = listening.lock().expect("no lane panicked").clone();
                let own = echo(set, address, &listening)?;
                reports.lock().expect("no lane panicked").extend(own);
                Ok(())
            })
        });
        (0..server.0).for_each(|_| heard.recv().expect("every lane listens"));
        let asked = client_runtime.run_sets(|set| {
            echoed.fetch_add(ask(set, address)?, Ordering::Relaxed);
            Ok(())
        });
        stopper.stop();
        assert!(matches!((&asked, served.join()), (Ok(()), Ok(Ok(())))), "{asked:?}");
    });
    assert_eq!(echoed.into_inner(), CONNECTIONS * usize::from(client.0), "{server:?} {client:?}");
    reports.into_inner().expect("no lane panicked")
}

#[test]
fn lanes_on_threads_of_their_own() {
    // Shows two lanes on two threads at either end: every connection echoed, each lane accepted its share, and with
    // RSS no frame changed lanes.
    let reports = talk(Shape(2, 2, 2), Shape(2, 2, 2));
    assert_eq!(reports.len(), 2);
    for report in &reports {
        assert!(report.counters.accepted >= 20, "{report}");
        assert_eq!((report.counters.steered_in, report.counters.rss_differed), (0, 0), "{report}");
        assert_eq!((report.sockets, report.flows, report.claims), (0, 0, 0), "{report}");
    }
}

#[test]
fn two_lanes_in_turn_on_one_thread() {
    // Shows that one thread serves both lanes, each with its queue.
    let reports = talk(Shape(2, 1, 2), Shape(2, 1, 2));
    assert!(reports.iter().all(|report| report.counters.accepted >= 20), "{reports:?}");
}

#[test]
fn more_lanes_than_queues() {
    // Shows lanes without a queue: what they receive and send goes by way of the one that has it.
    let reports = talk(Shape(2, 2, 1), Shape(3, 2, 1));
    let steered: u64 = reports.iter().map(|report| report.counters.steered_in).sum();
    assert!(steered > 100, "{reports:?}");
    assert!(reports.iter().all(|report| report.counters.accepted >= 30), "{reports:?}");
}

#[test]
fn an_application_of_one_lane_a_thread_says_so() {
    // Shows that `run` refuses lanes that share a thread, with the setting to change.
    let shared = runtime(&Net::default(), SERVER, Shape(2, 1, 2));
    assert_eq!(shared.lanes(), 2);
    let error = shared.run(|_lane| Err(OpError::NoPorts.into())).expect_err("they share it").to_string();
    assert!(error.contains("set `threads` to 2"), "{error}");
}

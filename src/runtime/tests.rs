use std::net::{IpAddr, SocketAddr};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use drivers::{Frame, Queue};
use stack::config::Address;
use stack::socket::{Event, Op, OpError, QueueId, Reason};

use super::*;
use crate::soft::Net;

fn config(net: &Net) -> Config {
    let small = Config::new(net.clone(), IpAddr::from([10, 0, 0, 1]));
    Config { receive_frames: 256, control_frames: 256, blocks: 16, ..small }
}

fn refusal(change: impl FnOnce(&mut Config)) -> String {
    let mut config = config(&Net::default());
    change(&mut config);
    Runtime::new(config).err().map_or_else(String::new, |error| error.to_string())
}

#[test]
fn bad_settings_are_refused_with_their_remedy() {
    // Shows one line for each kind, which names the setting to change.
    let one = Address { ip: [224, 0, 0, 1].into(), prefix: 24 };
    assert!(refusal(|config| config.lanes = Some(65)).contains("1 to 64"));
    assert!(refusal(|config| (config.lanes, config.threads) = (Some(1), Some(2))).contains("`threads`"));
    assert!(refusal(|config| (config.threads, config.cores) = (Some(1), vec![0, 1])).contains("`cores`"));
    assert!(refusal(|config| config.queues = Some(2)).contains("`queues`"));
    assert!(refusal(|config| config.ops = 1).contains("raise `ops`"));
    assert!(refusal(|config| config.sends_per_stream = 10).contains("4096 frames"));
    assert!(refusal(|config| config.sockets = 0).contains("`sockets` cannot be 0"));
    assert!(refusal(|config| config.devices[0].addresses.clear()).contains("`addresses`"));
    assert!(refusal(|config| config.devices[0].addresses = vec![one]).contains("unicast"));
    assert!(refusal(|config| config.devices[0].mtu = Some(100)).contains("at least 576"));
    for (ip, mac, remedy) in [
        ([10, 0, 0, 2], [1, 0, 0x5e, 0, 0, 1], "one station"),
        ([10, 0, 0, 2], [0; 6], "one station"),
        ([10, 0, 0, 1], [2; 6], "another host's"),
        ([10, 0, 1, 2], [2; 6], "in the subnet of one of `addresses`"),
        ([224, 0, 0, 1], [2; 6], "in the subnet of one of `addresses`"),
        ([10, 0, 0, 9], [2; 6], "named twice"),
    ] {
        let known = (IpAddr::from([10, 0, 0, 9]), [2; 6]);
        let text = refusal(|config| config.devices[0].neighbours = vec![known, (ip.into(), mac)]);
        assert!(text.contains("cannot be a neighbour at") && text.contains(remedy), "{text}");
    }
    assert_eq!(refusal(|_| ()), "");
}

/// Connects to an echo server, sends a byte and takes it back.
fn greet(mut lane: Lane, to: SocketAddr) -> Result<(), LaneError> {
    lane.submit(Op::connect(to))?;
    while lane.wait(&[QueueId::MAIN], None) {
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Connected { stream, .. } => {
                    lane.submit(Op::receive(stream))?;
                    lane.submit(Op::send(stream, &b"!"[..]))?;
                }
                Event::Received { stream, .. } => lane.submit(Op::close(stream))?,
                Event::Closed { reason: Reason::Done, .. } => return Ok(()),
                Event::Failed { error, .. } => return Err(error.into()),
                _ => {}
            }
        }
    }
    Err(OpError::Cancelled.into())
}

fn echo(mut lane: Lane, address: SocketAddr, listening: &Barrier) -> Result<(), LaneError> {
    lane.submit(Op::listen_eager(address))?;
    while lane.wait(&[QueueId::MAIN], None) {
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Listening { .. } => drop(listening.wait()),
                Event::Received { stream, data } => lane.submit(Op::send(stream, data))?,
                Event::End { stream } => lane.submit(Op::close(stream))?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// A device whose frames are looked at on their way out: counts ARP requests.
struct Watched {
    queue: Box<dyn Queue>,
    requests: Arc<AtomicUsize>,
    others: Arc<AtomicUsize>,
}

impl Queue for Watched {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        self.queue.receive(now, frames, max)
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        for frame in frames.iter() {
            let bytes: Vec<u8> = frame.segments().flatten().copied().collect();
            // EtherType ARP, and a target that is not the sender: no announcement of the host's own address.
            let asks = bytes[12..14] == [8, 6] && bytes[28..32] != bytes[38..42];
            let count = if asks { &self.requests } else { &self.others };
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.queue.transmit(now, frames)
    }
}

/// Let two runtimes talk that know each other's stations if `known`. Returns ARP requests and other frames sent.
fn talk(known: bool) -> (usize, usize) {
    let (net, counts) = (Net::default(), [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))]);
    let stations =
        [(IpAddr::from([10, 0, 0, 1]), [2, 0, 0, 0, 0, 1]), ([10, 0, 0, 2].into(), [2, 0, 0, 0, 0, 2])];
    let [server, client] = [0, 1].map(|host: usize| {
        let mut config = config(&net);
        config.devices[0].addresses = vec![Address { ip: stations[host].0, prefix: 24 }];
        config.devices[0].neighbours = if known { vec![stations[1 - host]] } else { Vec::new() };
        let mut runtime = Runtime::new(config).expect("a wire has two ends");
        assert_eq!(runtime.devices()[0].mac(), stations[host].1);
        let lane = &mut runtime.threads[0].lanes[0];
        let [requests, others] = counts.each_ref().map(Arc::clone);
        let queue = lane.ports[0].queue.take().expect("a lane of its own has a queue");
        lane.ports[0].queue = Some(Box::new(Watched { queue, requests, others }));
        runtime
    });
    let (address, listening) = (SocketAddr::new(stations[0].0, 7), Barrier::new(2));
    let stopper = server.stopper();
    thread::scope(|scope| {
        let served = scope.spawn(|| server.run(|lane| echo(lane, address, &listening)));
        listening.wait();
        let greeted = client.run(|lane| greet(lane, address));
        stopper.stop();
        assert!(matches!((greeted, served.join()), (Ok(()), Ok(Ok(())))));
    });
    let [requests, others] = counts.map(|count| count.load(Ordering::Relaxed));
    (requests, others)
}

#[test]
fn known_neighbours_are_never_asked_for() {
    // Shows that two runtimes which know each other talk without an ARP request, and that else there is one.
    let (requests, others) = talk(true);
    assert!(requests == 0 && others > 4, "{requests} requests, {others} other frames");
    assert!(talk(false).0 > 0);
}

#[test]
fn a_wire_has_two_ends() {
    // Shows that a third runtime is told, and that the first two are not hurt.
    let net = Net::default();
    let first_two = [Runtime::new(config(&net)), Runtime::new(config(&net))];
    assert!(matches!(Runtime::new(config(&net)), Err(SetupError::NetTaken)));
    assert!(first_two.iter().all(Result::is_ok));
}

#[test]
fn an_error_of_the_application_ends_the_runtime() {
    // Shows that `run` returns what the application returned, with the lane's name.
    let runtime = Runtime::new(config(&Net::default())).ok();
    let result = runtime.map(|runtime| runtime.run(|_lane| Err(OpError::NoPorts.into())));
    let text = result.and_then(Result::err).map(|error| error.to_string());
    assert_eq!(text, Some(format!("lane 0: {}", OpError::NoPorts)));
}

#[test]
fn stopping_closes_the_listener_and_ends_the_loop() {
    // Shows that a loop which knows nothing of stopping ends once another thread says so.
    let runtime = Runtime::new(config(&Net::default())).ok().filter(|runtime| runtime.devices()[0].link().up);
    let stopper = runtime.as_ref().map(Runtime::stopper);
    let result = runtime.map(|runtime| {
        runtime.run(|mut lane| {
            lane.submit(Op::listen(([10, 0, 0, 1], 80).into()))?;
            while lane.wait(&[QueueId::MAIN], None) {
                while let Some(done) = lane.take(QueueId::MAIN) {
                    if let (Event::Listening { .. }, Some(stopper)) = (done.event, &stopper) {
                        stopper.stop();
                    }
                }
            }
            Ok(())
        })
    });
    assert!(matches!(result, Some(Ok(()))));
}

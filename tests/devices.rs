//! Runtimes on two devices each, on networks inside the process, with real threads and the real clock.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;

use corelane::soft::Net;
use corelane::{
    Address, Config, Device, DeviceConfig, Event, Lane, LaneError, Op, PerSocket, QueueId, Runtime,
    SetupError,
};

/// Bytes of each exchange: several segments.
const MESSAGE: usize = 5_000;

fn config(nets: &[Net; 2], host: u8) -> Config {
    let device = |net: usize| DeviceConfig::new(nets[net].clone(), IpAddr::from([10, 0, [0, 1][net], host]));
    let small = Config {
        receive_frames: 512,
        control_frames: 512,
        blocks: 64,
        ..Config::on(vec![device(0), device(1)])
    };
    Config { lanes: Some(2), ..small }
}

/// Connect to both addresses of the server, and see each answer from where it was asked.
fn ask(mut lane: Lane) -> Result<(), LaneError> {
    let mut peers = vec![SocketAddr::from(([10, 0, 0, 1], 7)), SocketAddr::from(([10, 0, 1, 1], 7))];
    let (mut left, mut asked) = (peers.len(), PerSocket::<(u8, usize)>::new());
    lane.submit(Op::connect(peers.remove(0)))?;
    lane.submit(Op::connect(peers.remove(0)))?;
    while left > 0 && lane.wait(&[QueueId::MAIN], None) {
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Connected { stream, local } => {
                    let IpAddr::V4(ip) = local.ip() else { continue };
                    lane.submit(Op::receive(stream))?;
                    lane.submit(Op::send(stream, vec![ip.octets()[2]; MESSAGE]))?;
                    lane.submit(Op::shutdown(stream))?;
                    asked.insert(stream, (ip.octets()[2], 0));
                }
                Event::Received { stream, data } => {
                    let (net, received) = asked.get_mut(stream).expect("it was connected");
                    assert!(data.iter().all(|byte| byte == net), "another connection's bytes");
                    *received += data.len();
                }
                Event::End { stream } => {
                    assert_eq!(asked.get_mut(stream).map(|(_, received)| *received), Some(MESSAGE));
                    lane.submit(Op::close(stream))?;
                }
                Event::Closed { .. } => left -= 1,
                Event::Failed { error, .. } => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}

fn echo(mut lane: Lane, listening: impl Fn()) -> Result<(), LaneError> {
    lane.submit(Op::listen_eager(([0, 0, 0, 0], 7).into()))?;
    while lane.wait(&[QueueId::MAIN], None) {
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Listening { .. } => listening(),
                Event::Received { stream, data } => lane.submit(Op::send(stream, data))?,
                Event::End { stream } => lane.submit(Op::close(stream))?,
                _ => {}
            }
        }
    }
    Ok(())
}

#[test]
fn two_lanes_serve_two_devices() {
    // Shows a server of two lanes on two devices, each with an Ethernet address of its own, and a client that talks to
    // it over both from both of its lanes.
    let nets = [Net::default(), Net::default()];
    let server = Runtime::new(config(&nets, 1)).expect("the wires have two ends");
    let client = Runtime::new(config(&nets, 2)).expect("the wires have two ends");
    let names: Vec<&str> = client.devices().iter().map(|device| device.name()).collect();
    assert_eq!((names, client.devices()[1].mac()), (vec!["net:2", "net:2"], [2, 0, 0, 0, 0, 2]));
    assert!(client.devices().iter().all(|device| device.link().up));
    let ((listening, heard), stopper) = (channel(), server.stopper());
    let listening = Mutex::new(listening);
    thread::scope(|scope| {
        let served = scope.spawn(|| {
            server.run(|lane| {
                let listening = listening.lock().expect("no lane panicked").clone();
                echo(lane, || listening.send(()).expect("somebody waits"))
            })
        });
        (0..2).for_each(|_| heard.recv().expect("every lane listens"));
        let asked = client.run(ask);
        stopper.stop();
        assert!(matches!((&asked, served.join()), (Ok(()), Ok(Ok(())))), "{asked:?}");
    });
}

#[test]
fn devices_that_do_not_fit_together_are_refused() {
    // Shows one line for no device, one twice, one without an address, and an address on two.
    let refusal = |change: fn(&mut Vec<DeviceConfig>)| {
        let mut config = config(&[Net::default(), Net::default()], 1);
        change(&mut config.devices);
        match Runtime::new(config) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    };
    let null = || "null".parse::<Device>().expect("a device");
    assert!(refusal(Vec::clear).contains("1 to 16"));
    assert!(refusal(|devices| devices[1].addresses.clear()).contains("no address is given for `net`"));
    assert!(refusal(|devices| devices[1].addresses = devices[0].addresses.clone()).contains("given twice"));
    let mut twice = config(&[Net::default(), Net::default()], 1);
    twice.devices.iter_mut().for_each(|of| of.device = null());
    assert!(matches!(Runtime::new(twice), Err(SetupError::DeviceTwice { device }) if device == "null"));
    let far = Address { ip: [10, 9, 0, 1].into(), prefix: 24 };
    assert_eq!(
        refusal(|devices| devices[1].addresses.push(Address { ip: [10, 9, 0, 1].into(), prefix: 24 })),
        ""
    );
    let mut neighbour = config(&[Net::default(), Net::default()], 1);
    neighbour.devices[0].addresses.push(far);
    neighbour.devices[1].neighbours.push(([10, 9, 0, 2].into(), [2; 6]));
    assert!(matches!(Runtime::new(neighbour), Err(SetupError::Neighbour { .. })));
}

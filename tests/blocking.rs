//! The example whose calls wait, and a client whose calls do, each on a lane of its own, on a network inside the
//! process, with real threads and the real clock.

#[allow(dead_code, reason = "its `main` waits for standard input")]
#[path = "../examples/blocking.rs"]
mod example;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;

use corelane::poll::{Blocking, Errno, Family, Flags, Kind, Poller};
use corelane::soft::Net;
use corelane::{Config, Lane, LaneError, Runtime};

/// Bytes of each exchange: several segments.
const MESSAGE: usize = 50_000;

fn config(net: &Net, host: u8) -> Config {
    let config = Config::new(net.clone(), [10, 0, 0, host].into());
    Config { receive_frames: 512, control_frames: 512, blocks: 64, ..config }
}

/// Three conversations, one after the other. The server may not listen yet: then it is asked again.
fn ask(mut lane: Lane, server: SocketAddr, heard: &Mutex<usize>) -> Result<(), LaneError> {
    let mut poller = Poller::new(&mut lane, 64, 256)?;
    let mut calls = Blocking::new(&mut poller, &mut lane);
    let mut talk = || -> Result<usize, Errno> {
        let socket = calls.parts().0.open(Kind::Stream, Family::V4)?;
        while let Err(error) = calls.connect(socket, server) {
            if error != Errno::Refused {
                return Err(error);
            }
        }
        let mut bytes = vec![7; MESSAGE];
        let written = calls.write(socket, &bytes, Flags::NONE)?;
        bytes.fill(0);
        let read = calls.read(socket, &mut bytes, Flags::WAIT_ALL)?;
        calls.close(socket)?;
        assert!(written == MESSAGE && bytes.iter().all(|byte| *byte == 7));
        Ok(read)
    };
    for _ in 0..3 {
        *heard.lock().expect("nobody panics") += talk().expect("the server answers");
    }
    Ok(())
}

#[test]
fn a_client_and_a_server_wait_for_each_other() {
    // Shows whole conversations by nothing but waiting calls, and that stopping ends the server's wait.
    let (net, server) = (Net::default(), SocketAddr::from(([10, 0, 0, 1], 7)));
    let runtime = Runtime::new(config(&net, 1)).expect("a server");
    let (stopper, heard) = (runtime.stopper(), Mutex::new(0));
    thread::scope(|scope| {
        let serving = scope.spawn(|| runtime.run(|lane| example::serve(lane, server)));
        let client = Runtime::new(config(&net, 2)).expect("a client");
        client.run(|lane| ask(lane, server, &heard)).expect("it is answered");
        stopper.stop();
        serving.join().expect("no panic").expect("it ends in order");
    });
    assert_eq!(heard.into_inner().expect("nobody panics"), 3 * MESSAGE);
}

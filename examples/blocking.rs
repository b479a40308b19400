//! Echo by calls that wait, one peer after the other: BSD's manners on a lane of one's own.
use corelane::poll::{Blocking, Errno, Family, Flags, Kind, Poller};
use corelane::{Config, Lane, LaneError, Runtime, soft::Net};
use std::{error::Error, net::SocketAddr};

/// One lane's server, until the lane stops.
pub fn serve(mut lane: Lane, address: SocketAddr) -> Result<(), LaneError> {
    let mut poller = Poller::new(&mut lane, 64, 256)?;
    let mut calls = Blocking::new(&mut poller, &mut lane);
    match serve_with(&mut calls, address) {
        // The lane was told to stop.
        Ok(()) | Err(Errno::Interrupted) => Ok(()),
        Err(error) => {
            eprintln!("{error}");
            Ok(())
        }
    }
}

fn serve_with(calls: &mut Blocking<'_, Lane>, address: SocketAddr) -> Result<(), Errno> {
    let (poller, lane) = calls.parts();
    let listener = poller.open(Kind::Stream, Family::V4)?;
    poller.bind(lane, listener, address)?;
    poller.listen(lane, listener, 16)?;
    let mut bytes = vec![0; 64 << 10];
    loop {
        let (peer, _) = calls.accept(listener)?;
        while let Ok(len @ 1..) = calls.read(peer, &mut bytes, Flags::NONE) {
            if calls.write(peer, &bytes[..len], Flags::NONE) != Ok(len) {
                break;
            }
        }
        calls.close(peer)?;
    }
}

/// Until the end of standard input.
pub fn main() -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = "10.0.0.1:7".parse()?;
    let runtime = Runtime::new(Config::new(Net::default(), address.ip()))?;
    let stopper = runtime.stopper();
    std::thread::spawn(move || {
        std::io::stdin().lines().for_each(drop);
        stopper.stop()
    });
    Ok(runtime.run(|lane| serve(lane, address))?)
}

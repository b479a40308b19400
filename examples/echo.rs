//! Echo: whatever arrives goes back, without a copy.
use corelane::{Config, Event, Lane, LaneError, Op, QueueId, Runtime, soft::Net};
use std::{error::Error, net::SocketAddr};

/// One lane's server. What it forwards still holds the window it came through, so it cannot outrun its peer.
pub fn echo(mut lane: Lane, address: SocketAddr) -> Result<(), LaneError> {
    lane.submit(Op::listen_eager(address))?;
    while lane.wait(&[QueueId::MAIN], None) {
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Received { stream, data } => lane.submit(Op::send(stream, data))?,
                Event::End { stream } => lane.submit(Op::close(stream))?,
                Event::Failed { error, .. } => eprintln!("{error}"),
                _ => {}
            }
        }
    }
    Ok(())
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
    Ok(runtime.run(|lane| echo(lane, address))?)
}

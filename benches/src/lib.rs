//! What the benches share: worlds of two hosts on a clean wire. Each bench has a file in `benches/`.
#![forbid(unsafe_code)]

use core::net::SocketAddr;

use stack::sim::{Client, ClientOptions, Echo, Either, Host, Outcome, World};
use stack::time::Instant;

/// Send `bytes` bytes to an echo server in sends of `chunk`, `window` of them under way, and check what comes back.
///
/// Returns turns taken by both hosts. Panics: if a byte is wrong or the connection fails, for then the figure means nothing.
pub fn echo(bytes: u64, chunk: usize, window: usize) -> u64 {
    let to = SocketAddr::from(([10, 0, 0, 1], 7));
    let client = Client::new(ClientOptions { to, bytes, chunk, window });
    let apps = [Either::Echo(Echo::new(to)), Either::Client(client)];
    // Few frames, so that making their pools is little beside the exchange.
    let host = |number| Host { receive_frames: 2048, ..Host::new(number) };
    let mut world = World::pair([host(1), host(2)], apps, |_, queue| queue);
    let limit = Instant(3_600_000_000_000);
    let done = world.run_until(limit, |apps| apps[1].client().outcome.is_some());
    assert!(done, "the echo ends");
    assert_eq!(world.app(World::<Either>::SECOND).client().outcome, Some(Outcome::Done));
    world.turns()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_benched_exchange_is_whole() {
        // Shows that what the benches time is an echo that ends well, byte by byte, and takes turns.
        assert!(super::echo(6_400, 64, 1) > 100);
    }
}

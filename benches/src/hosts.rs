//! Two whole hosts on a clean wire, both of them and the wire in what is timed: compare such figures with each other alone.

use core::net::SocketAddr;
use std::sync::Arc;

use drivers::soft::Spread;
use drivers::{RSS_KEY_BYTES_MIN, RssTable, RssTypes, symmetric_key};
use stack::sim::{Client, ClientOptions, Echo, Either, Host, Outcome, World};
use stack::time::Instant;

/// Send `bytes` bytes to an echo server in sends of `chunk`, `window` of them under way, and check what comes back.
///
/// Returns turns taken by both hosts. Panics: if a byte is wrong or the connection fails, for then the figure means nothing.
pub fn echo(bytes: u64, chunk: usize, window: usize) -> u64 {
    exchange(bytes, chunk, window, |host| host)
}

/// The same with a server of two lanes: every frame comes to the lane of its connection, or to the other if `astray`,
/// which hands it over.
pub fn echo_on_lanes(bytes: u64, chunk: usize, window: usize, astray: bool) -> u64 {
    let types = RssTypes { tcp_ipv4: true, ..RssTypes::default() };
    let table = |queue| RssTable::new(symmetric_key(RSS_KEY_BYTES_MIN), vec![queue], types).map(Arc::new);
    exchange(bytes, chunk, window, |host| {
        let spread = Spread::Rss(table(u16::from(astray)).expect("one entry is a table"));
        let mut host = host.with_lanes(2, 2, spread);
        host.config.interfaces[0].rss = table(0);
        host
    })
}

fn exchange(bytes: u64, chunk: usize, window: usize, server: impl FnOnce(Host) -> Host) -> u64 {
    let to = SocketAddr::from(([10, 0, 0, 1], 7));
    let client = Client::new(ClientOptions { to, bytes, chunk, window });
    let apps = [Either::Echo(Echo::new(to)), Either::Client(client)];
    // Few frames, so that making their pools is little beside the exchange.
    let host = |number| Host { receive_frames: 2048, ..Host::new(number) };
    let mut world = World::pair([server(host(1)), host(2)], apps, |_, queue| queue);
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
        assert!(super::echo_on_lanes(6_400, 64, 1, false) > 100);
        assert!(super::echo_on_lanes(6_400, 64, 1, true) > 100);
    }
}

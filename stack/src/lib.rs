//! A sans-IO TCP/IP engine, its batched socket API, and a simulator that runs whole hosts in virtual time.
//!
//! # The shape
//!
//! A *lane* is one thread's share of a machine: a queue pair of each NIC, its pools of frames, and an [`engine::Engine`] with
//! its own flows, timers, neighbours, routes and sockets. Lanes share nothing in the common case. A lane takes turns,
//! and in each turn it carries every packet from the NIC through TCP to the application and back, in batches.
//!
//! The engine does no I/O. Frames, ops and the time go in; frames, completions and the next deadline come out. So the
//! same engine runs over DPDK on a NIC, over a TAP, and in [`sim`] over a wire of this process with faults from a
//! seed, where every run can be repeated to the byte.
//!
//! # Map
//!
//! | file | duty |
//! | --- | --- |
//! | [`run`] | the loop of one lane; alone it touches a port and a clock |
//! | `lull` | how long a lane without work stays awake, and how much one with work takes on at a time |
//! | [`links`] | the rings between lanes |
//! | [`lane`] | the application's end: batches, completion queues, lent payloads |
//! | [`poll`] | the readiness view of a lane: BSD sockets, options, `epoll`'s sets |
//! | [`mode`] | how batches cross between the application and the engine |
//! | [`socket`] | the vocabulary of the API: handles, ops, completions, memory |
//! | [`engine`] | flows, listeners, neighbours, routes, timers, counters; alone it touches frames |
//! | [`tcp`] | RFC 9293 and its companions as pure decisions over plain data |
//! | [`ip`] | neighbours, addresses, routes, fragments, ICMP: state machines without frames |
//! | [`wire`] | headers to valid values and back |
//! | [`flow`], [`timer`], [`buffer`] | the flow table, the timer wheel, frames that wait |
//! | [`config`], [`counters`], [`time`] | settings and bounds; what a lane counts; points in time |
//! | [`sim`] | virtual network, virtual clock, applications that check every byte |
//!
//! # Invariants
//!
//! 1. Inside this crate `wire ← ip, tcp ← engine ← mode ← run, lane`; `socket`, `config`, `counters` and `time` are
//!    vocabulary for all. A test checks it.
//! 2. No clock, thread, lock, random source or global below `run`; no randomly keyed hash map, and no result depends on
//!    the order of one. The same seed and commit give the same trace.
//! 3. `tcp` knows neither frames nor modes: received bytes are numbers there, bytes to send are ranges over memory that
//!    somebody else owns. Only `engine` touches a frame, only `run` a port.
//! 4. The slow path (`tcp::input`) alone is a complete TCP in the order of RFC 9293 section 3.10.7. The fast path
//!    (`tcp::fast`) declines before it changes anything, and does its work by the slow path's own functions; turning it
//!    off changes no byte on the wire. Every decision to acknowledge is made in `tcp::output`.
//! 5. After start nothing on the packet path allocates, locks, logs or calls the system. What grows (tables, slabs)
//!    grows to a named bound.
//! 6. Every received frame ends consumed or dropped under exactly one [`wire::DropReason`]. What is taken is given back:
//!    after a run the counts of frames, sockets, timers and flows are what they were after start.
//! 7. A flow's state is plain data: `Hot` (two cache lines), `Cold` (100 bytes), `Active` while something is amiss, and
//!    `Rare` once it is asked for more than the others. Common segments, in and out, touch the hot part alone, but for one
//!    in eight and for an acknowledgement that is delayed: what they would write elsewhere follows from it, and is written
//!    before anybody looks there (`Hot::pay`). Numbers of frames and ranges in it are not state: to move a flow, the bytes
//!    they name are copied.
//! 8. Nothing a peer or an application does panics, blocks or spins the lane. All header fields are read through checked
//!    accessors, every loop has a bound, and every queue refuses when it is full.
//!
//! # A packet, in and out
//!
//! `run` takes up to 32 frames from its queue. `engine::receive` goes over them in passes: look at each and prefetch its
//! bucket of the flow table; find the candidates and prefetch their two hot lines; then process in order. Of a frame of
//! the shape that nearly all have, the first pass finds no more than that it is whole and for us, and its numbers are read
//! where they lie once its flow is near (`engine::common`); others are parsed to a valid segment at once. A segment of a
//! flow goes to `tcp::fast`, and if that declines to `tcp::input`; segments that follow one the application was just
//! given, and say nothing else, are taken in by `tcp::fast::follow`. The flow table finds half-open connections and those
//! in TIME_WAIT too, by the same hash: the former are a SYN's options in a list for each number of retries, the latter
//! 32 bytes each in the order in which they end. What belongs to none of these goes to listeners, or is answered with a
//! reset. TCP returns a verdict, and `segments`, or for the common case
//! `engine::fast`, does what it says: the frame itself, its window narrowed to the payload, becomes the completion, or
//! waits in the socket until the application's queue has credit, or in reassembly until the hole before it is filled.
//!
//! The application takes completions and submits ops. At the next turn they are applied in order; flows with something
//! to say are on the dirty list, and `tcp::output` says for each, segment by segment, what goes out: lost ranges first,
//! then new ones, then acknowledgements that nothing else carried. `engine::transmit` puts headers in a frame of their
//! own and the payload behind it by reference, and leaves the frame for the port; what the port does not take waits,
//! bounded, for the next turn. A quiet send of up to 64 bytes, a cache line, takes a shorter way: its bytes cross in the
//! op, lie beside their range of the send queue until they are acknowledged, and are copied behind the headers. Where it is
//! all that its flow has to say, it is said as its op is applied, and the flow's place on the dirty list is left empty. What
//! the port does not sum is summed as it is copied, or where it lies.
//!
//! # Ports
//!
//! A lane has a port for each interface: capabilities, pools, neighbours and waiting frames of its own, found by the
//! interface's number, so that one port costs no more than before there were several. A path is an interface and a next
//! hop. Receiving, the host is weak, as Linux is: a packet for any of its addresses is taken whichever port it came by,
//! for an address may be reached by several ways. Only ARP is strict, and answers for an interface's own addresses
//! alone, so that nobody is told of a way that the operator did not lay. Sending, the host is as strong as its routes
//! let it be: among the ways to a destination those over the source address's own interface come first, so that a
//! router sees both halves of a conversation, and only where there is none does another interface serve.
//!
//! Addresses and routes change at run time by ops on lane zero, which tells the others: so all see the changes in one
//! order. An address that goes takes its connections along. What a router says of a packet that was too big is believed
//! if it quotes what is in flight; all lanes remember it for ten minutes, and no connection to
//! there sends larger packets meanwhile. Where routers say nothing, silence does: connections whose full segments go
//! unanswered send smaller ones, find by probes what passes, and tell the others. What is said of datagrams, which
//! anyone could, only datagrams heed.
//!
//! # Between lanes
//!
//! Every connection has a *home* on which all lanes agree: the lane of the queue to which the RSS of its local address's
//! port steers it, as
//! its key and table were read back, or, where nothing can be read or there are fewer queues than lanes, the one that a
//! keyed hash names. Connections we open take ports whose home is here. Which lane a frame really came to decides
//! nothing: a segment that finds no flow, no half-open connection and no TIME_WAIT goes to its home over a ring
//! (`links`), and if its connection lives elsewhere, because its port was asked for or one lane alone listens, that lane
//! has claimed it there. So a NIC that steers otherwise than it says costs time and no connection; the first frames'
//! hashes are compared with the computed ones, and the report tells. Fragments are joined on the lane that a hash of
//! their datagram names; ICMP errors follow the segment they quote; datagrams go to the lane that has the socket. A UDP
//! socket with one peer draws a port whose datagrams come to its lane, and tells the others of itself only where they
//! might keep what is for it: if its port was asked for, or somebody there is bound to it.
//!
//! The rings also carry what lanes tell each other: ARP packets that concern all, listeners and UDP sockets that open
//! and close, claims, and frames of lanes without a queue for one that has it. A frame that changed lanes and is to be
//! held is copied into one of the lane's own, so that no lane can drain another's pool. A lane that has ended goes on
//! handing over until all have.
//!
//! # Two versions of IP
//!
//! TCP, UDP and the sockets know no version: what differs is the header, the pseudo-header's sum, and how a neighbour is
//! found, for which one cache serves both ARP and neighbour discovery. A flow is told by one word of addresses in its
//! hot state: IPv4's own two, or a keyed hash of IPv6's that begins with four ones, as no peer's IPv4 address does; the
//! whole addresses of IPv6 lie beside, by slot. A socket bound to IPv6's unspecified address serves both versions, as on
//! Linux unless told otherwise, but its peers of IPv4 are named by their IPv4 addresses; none of IPv4's unspecified
//! address can be bound to the same port. All lanes hear what neighbours and routers say and so have the same addresses;
//! the first lane speaks for them, and each answers what comes to it.
//!
//! # Memory
//!
//! One kind of frame serves DPDK and the heap: `drivers` gives both the layout of `rte_mbuf`. A received frame is held
//! by whoever holds its bytes; the last slice to go gives the frame to its pool and its share of the window back to the
//! socket. A payload to send stays where the application put it. The send queue is a list of ranges over it, cut where
//! segments end, each with its time, its count of retransmissions and its marks; a range that is acknowledged goes, and
//! with the last range of a payload the payload is the application's again.
//!
//! What a flow may receive is counted in frames, not bytes, for a byte holds a frame. The advertised window is what the
//! frames still allowed stand for, and its edge never moves back. Small segments that must wait are copied into the
//! tail of the frame before; out-of-order ranges, which nobody has acknowledged, are given up as a last resort.
//!
//! # Strangers
//!
//! What anybody may send holds little and makes little work. A listener whose backlog is full answers SYNs by cookies: the
//! numbers of the SYN-ACK say what a half-open connection would have remembered, under the runtime's secret, so that any
//! lane can judge what comes back. What no connection accepts is answered a few times a second for each, by a count that
//! only its two ends could reckon with; what belongs to none is refused, and errors are told, from buckets whose fill is
//! rolled with dice, so that nobody can measure by them what others were told. Small segments out of order share
//! frames and are found by search, and so is what SACK reports of small ones that we sent, fragments and neighbours are looked at a few at a time, and neighbours that nobody
//! knows never displace those that are.
//!
//! # Time
//!
//! A lane reads its clock once a turn. With nothing to do it keeps its core for 32 µs, in which a peer may answer, yields
//! until 48, then sleeps: where a port wakes who sleeps, up to 50 ms, else doubling from 16 µs to 4 ms; other lanes and
//! wakers end a sleep at once. Deadlines are ticks of
//! 65.5 µs in the flow's own state; the wheel merely promises a visit no later than the earliest of them, so that moving a
//! deadline back, which every acknowledgement does, costs nothing.
#![forbid(unsafe_code)]

pub mod buffer;
pub mod config;
pub mod counters;
pub mod engine;
pub mod flow;
pub mod ip;
pub mod lane;
pub mod links;
mod lull;
pub mod mode;
pub mod places;
pub mod poll;
pub mod run;
pub mod sim;
pub mod socket;
pub mod tcp;
pub mod time;
pub mod timer;
pub mod wire;

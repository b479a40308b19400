//! Captures as a device that is up, for builds without DPDK. The queue is `pcap.rs`, DPDK's own way `dpdk/port.rs`.

use std::path::Path;

use super::{PCAP_CAPABILITIES, Pace, PcapError, PcapQueue};
use crate::device::Device;
use crate::open::OpenOptions;
use crate::pool::{Pool, Pools, RECEIVE_ROOM};
use crate::port::{MTU, MTU_MIN, Opened, QueueParts};
use crate::setup::SetupError;

/// DPDK's address of its first pcap port: a capture made for one kind of build suits the other.
const MAC: [u8; 6] = [2, b'p', b'c', b'a', b'p', 0];

/// Opens `pcap:IN,OUT` without DPDK: what `input` holds arrives as soon as it is asked for, and what is sent goes to
/// `output`, which is written anew.
///
/// Errors: a file cannot be opened or is no Ethernet capture, both are one, or `options` ask for several queues or an
/// MTU that the port cannot have.
pub fn open_pcap(input: &str, output: &str, options: &OpenOptions) -> Result<Opened, SetupError> {
    let name = Device::Pcap { input: input.to_owned(), output: output.to_owned() }.to_string();
    if options.queues != 1 {
        return Err(SetupError::Queues { device: name, asked: options.queues, offered: 1 });
    }
    let (mtu, most) = (options.mtu.unwrap_or(MTU), PCAP_CAPABILITIES.mtu_max);
    if !(MTU_MIN..=most).contains(&mtu) {
        return Err(SetupError::Mtu { device: name, asked: mtu, least: MTU_MIN, most });
    }
    if options.receive_frames == 0 {
        return Err(SetupError::TooFewFrames { device: name, frames: 0, needed: 1 });
    }
    // A pool has one taker: the queue receives into one of its own, as large as that by which the lane counts.
    let pool = Pool::heap(options.receive_frames, RECEIVE_ROOM);
    let (input, output) = (Path::new(input), Path::new(output));
    let queue = PcapQueue::open(Some(input), Some(output), Pace::AtOnce, pool)?;
    let pools = Pools::heap(options.receive_frames, options.control_frames.max(1));
    let control = Box::new(queue.control());
    let queues = vec![QueueParts { queue: Box::new(queue), pools }];
    Ok(Opened {
        name,
        mac: MAC,
        mtu,
        capabilities: PCAP_CAPABILITIES,
        queues,
        queueless: Vec::new(),
        rss: None,
        control,
    })
}

impl From<PcapError> for SetupError {
    fn from(problem: PcapError) -> Self {
        match &problem {
            PcapError::Open { path, source } | PcapError::Create { path, source } => {
                SetupError::File { path: path.display().to_string(), reason: source.to_string() }
            }
            _ => SetupError::Capture { reason: problem.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TestFile, capture};
    use super::*;

    fn open(input: &TestFile, output: &TestFile, options: &OpenOptions) -> Result<Opened, SetupError> {
        open_pcap(&input.0.display().to_string(), &output.0.display().to_string(), options)
    }

    fn refusal(input: &TestFile, output: &TestFile, options: &OpenOptions) -> String {
        open(input, output, options).err().map_or_else(String::new, |error| error.to_string())
    }

    #[cfg(not(feature = "dpdk"))]
    #[test]
    fn captures_open_without_dpdk_and_other_devices_do_not() {
        // Shows a device by its name as a person types it: what one file holds arrives, what is sent is in the other
        // once the device is gone, and its counters say so.
        let (input, output) = (TestFile::with(&capture(false, true)), TestFile::new());
        let name = format!("pcap:{},{}", input.0.display(), output.0.display());
        let device: Device = name.parse().unwrap();
        let mut opened = crate::open(&device, &OpenOptions::default()).unwrap();
        assert_eq!((opened.name.as_str(), opened.mtu, opened.control.link().up), (name.as_str(), 1500, true));
        let QueueParts { mut queue, pools: _ } = opened.queues.remove(0);
        let mut frames = Vec::new();
        assert_eq!(queue.receive(0, &mut frames, 32), 2);
        assert_eq!(queue.transmit(5, &mut frames), 2);
        drop(queue);
        let statistics = opened.control.statistics();
        assert_eq!((statistics.received_frames, statistics.sent_frames), (2, 2));
        let written = std::fs::read(&output.0).unwrap();
        assert!(written.ends_with(b"de") && written.windows(3).any(|bytes| bytes == b"abc"));
        let refused = crate::open(&Device::Null, &OpenOptions::default()).err();
        assert_eq!(refused, Some(SetupError::NoDpdk { device: "null".to_owned() }));
    }

    #[test]
    fn what_cannot_be_opened_is_told_with_its_remedy() {
        // Shows one line for each kind of refusal, and that a capture is not overwritten by one.
        let (good, output) = (TestFile::with(&capture(false, true)), TestFile::new());
        let options = OpenOptions::default();
        assert!(refusal(&TestFile::new(), &output, &options).contains("check the path and its rights"));
        assert!(
            refusal(&TestFile::with(b"text, not a capture.....!"), &output, &options)
                .contains("no pcap file")
        );
        assert!(refusal(&good, &good, &options).contains("name another file to write to"));
        let queues = OpenOptions { queues: 2, ..options.clone() };
        assert!(refusal(&good, &output, &queues).contains("use 1 lanes or fewer"));
        for mtu in [67, 9_001] {
            let asked = OpenOptions { mtu: Some(mtu), ..options.clone() };
            assert!(refusal(&good, &output, &asked).contains("between 68 and 9000"));
        }
        let frames = OpenOptions { receive_frames: 0, ..options.clone() };
        assert!(refusal(&good, &output, &frames).contains("at least 1"));
        assert!(!output.0.exists() && std::fs::read(&good.0).unwrap() == capture(false, true));
        assert_eq!(refusal(&good, &output, &options), "");
    }
}

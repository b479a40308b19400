//! What faults to inject, and the text a person writes it in. The injecting lives in `faulty.rs`.

use core::fmt;
use core::num::NonZeroU64;
use core::str::FromStr;

/// Frames that wait in one direction before more are dropped, unless the specification says otherwise.
///
/// A megabyte and a half of full frames, and half of what a queue's smaller pools hold by default.
pub const HELD_FRAMES_MAX: usize = 1024;

/// Least bound of held frames: a burst of 32, each of them doubled, waits here even without delay.
pub const HELD_FRAMES_MIN: usize = 64;

/// Longest delay. Units: nanoseconds.
const DELAY_MAX: u64 = 3_600 * SECOND;
const SECOND: u64 = 1_000_000_000;

/// Faults of one direction. The default has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// Frames lost. Units: per cent.
    pub loss: f64,
    /// How late every frame comes. Units: nanoseconds.
    pub delay: u64,
    /// How much later it may come, evenly spread. Keeps the order of frames. Units: nanoseconds.
    pub jitter: u64,
    /// Frames held back so that later ones overtake them. Units: per cent.
    pub reorder: f64,
    /// The longest that such a frame is held back, evenly spread. Units: nanoseconds.
    pub gap: u64,
    /// Frames that come twice. Units: per cent.
    pub duplicate: f64,
    /// Frames of which one to three bits are flipped. Units: per cent.
    pub corrupt: f64,
    /// How fast frames pass. Units: bits a second, of frames without preamble, gap and check sequence.
    pub rate: Option<NonZeroU64>,
    /// What waits in front of `rate` before frames are dropped. Units: bytes.
    pub queue: u64,
    /// What waits there before frames that can be marked are (RFC 3168's CE); without it, none are. Units: bytes.
    pub mark: Option<u64>,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            loss: 0.0,
            delay: 0,
            jitter: 0,
            reorder: 0.0,
            gap: 1_000_000,
            duplicate: 0.0,
            corrupt: 0.0,
            rate: None,
            queue: 256 << 10,
            mark: None,
        }
    }
}

/// Faults of both directions and the seed they follow from.
///
/// As text: `loss=1,delay=5ms,jitter=1ms,reorder=10,gap=2ms,duplicate=1,corrupt=1,rate=100M,queue=256K,mark=30K,seed=7,held=1024`,
/// each optional. `rx.` or `tx.` in front of a fault's key sets it for one direction, whatever the other keys say. Writing
/// a specification out and reading it again gives the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultSpec {
    /// On the way in.
    pub receive: Faults,
    /// On the way out.
    pub transmit: Faults,
    /// The same seed and the same calls give the same faults.
    pub seed: u64,
    /// Frames that wait in one direction before more are dropped. On the way in they are frames of the port's receive
    /// pool: keep this well below what its ring leaves free.
    pub held: usize,
}

impl Default for FaultSpec {
    fn default() -> FaultSpec {
        FaultSpec { receive: Faults::default(), transmit: Faults::default(), seed: 0, held: HELD_FRAMES_MAX }
    }
}

impl FaultSpec {
    /// The same faults in both directions.
    pub fn both(faults: Faults, seed: u64) -> FaultSpec {
        FaultSpec { receive: faults, transmit: faults, seed, ..FaultSpec::default() }
    }

    /// The same faults for a port's queue of this index, at moments of its own. Index 0 keeps the seed.
    #[must_use]
    pub fn for_queue(self, index: u64) -> FaultSpec {
        // Any odd number keeps the seeds of different queues apart; this is the golden ratio's.
        FaultSpec { seed: self.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)), ..self }
    }
}

/// Why a text is no [`FaultSpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultSpecError {
    /// An item without `=`.
    #[error("`{item}` is not KEY=VALUE: write faults as in `loss=1,delay=5ms,seed=7`")]
    NotPair {
        /// The item.
        item: String,
    },
    /// A key that there is not.
    #[error(
        "`{key}` is no fault: there are loss, delay, jitter, reorder, gap, duplicate, corrupt, rate, queue and mark, \
         each also with `rx.` or `tx.` in front, and seed and held"
    )]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A key that was there before.
    #[error("`{key}` is given twice: keep one")]
    Twice {
        /// The key.
        key: String,
    },
    /// A value that the key does not take.
    #[error("`{key}={value}`: {key} takes {form}")]
    Value {
        /// The key, with its direction.
        key: String,
        /// The value.
        value: String,
        /// What the key takes.
        form: &'static str,
    },
}

const PERCENT: &str = "per cent, a number from 0 to 100, as in `0.5`";
const TIME: &str = "a whole number with ns, us, ms or s, at most 3600s, as in `5ms`";
const RATE: &str = "bits a second, a whole number above 0, with K, M or G if wanted, as in `100M`";
const BYTES: &str = "bytes, a whole number, with K (1,024) or M (1,048,576) if wanted, as in `256K`";
const SEED: &str = "a whole number below 2^64";
const HELD: &str = "frames, a whole number from 64 to 65536";

impl FromStr for FaultSpec {
    type Err = FaultSpecError;

    fn from_str(text: &str) -> Result<FaultSpec, FaultSpecError> {
        let mut spec = FaultSpec::default();
        let mut seen: Vec<&str> = Vec::new();
        let mut of_one = Vec::new();
        for item in text.split(',').filter(|_| !text.is_empty()) {
            let not_pair = || FaultSpecError::NotPair { item: item.to_owned() };
            let (key, value) = item.split_once('=').ok_or_else(not_pair)?;
            if seen.contains(&key) {
                return Err(FaultSpecError::Twice { key: key.to_owned() });
            }
            seen.push(key);
            let refused = |form| FaultSpecError::Value { key: key.to_owned(), value: value.to_owned(), form };
            match key {
                "seed" => spec.seed = value.parse().map_err(|_| refused(SEED))?,
                "held" => spec.held = frames(value).ok_or_else(|| refused(HELD))?,
                // One direction's keys come last, so that the order of the text does not matter.
                _ if key.starts_with("rx.") || key.starts_with("tx.") => of_one.push((key, value)),
                _ => {
                    spec.receive.set(key, key, value)?;
                    spec.transmit.set(key, key, value)?;
                }
            }
        }
        for (key, value) in of_one {
            match key.split_at(3) {
                ("rx.", name) => spec.receive.set(key, name, value)?,
                (_, name) => spec.transmit.set(key, name, value)?,
            }
        }
        Ok(spec)
    }
}

impl Faults {
    /// Set the fault called `name`; `key` is what the person wrote.
    fn set(&mut self, key: &str, name: &str, value: &str) -> Result<(), FaultSpecError> {
        let refused = |form| FaultSpecError::Value { key: key.to_owned(), value: value.to_owned(), form };
        let percent = || percent(value).ok_or_else(|| refused(PERCENT));
        let time = || time(value).ok_or_else(|| refused(TIME));
        match name {
            "loss" => self.loss = percent()?,
            "delay" => self.delay = time()?,
            "jitter" => self.jitter = time()?,
            "reorder" => self.reorder = percent()?,
            "gap" => self.gap = time()?,
            "duplicate" => self.duplicate = percent()?,
            "corrupt" => self.corrupt = percent()?,
            "rate" => self.rate = Some(rate(value).ok_or_else(|| refused(RATE))?),
            "queue" => {
                self.queue =
                    scaled(value, &[("K", 1 << 10), ("M", 1 << 20)]).ok_or_else(|| refused(BYTES))?;
            }
            "mark" => {
                let bytes = scaled(value, &[("K", 1 << 10), ("M", 1 << 20)]);
                self.mark = Some(bytes.ok_or_else(|| refused(BYTES))?);
            }
            _ => return Err(FaultSpecError::UnknownKey { key: key.to_owned() }),
        }
        Ok(())
    }

    /// Each fault's key and value as text; an empty value is one that cannot be written, for it is not there.
    fn texts(&self) -> [(&'static str, String); 10] {
        let Faults { loss, delay, jitter, reorder, gap, duplicate, corrupt, rate, queue, mark } = *self;
        let rate = rate.map_or_else(String::new, |rate| {
            shortened(rate.get(), &[("G", 1_000_000_000), ("M", 1_000_000), ("K", 1_000)], "")
        });
        let bytes = |bytes| shortened(bytes, &[("M", 1 << 20), ("K", 1 << 10)], "");
        let time = |time| shortened(time, &[("s", SECOND), ("ms", 1_000_000), ("us", 1_000)], "ns");
        [
            ("loss", loss.to_string()),
            ("delay", time(delay)),
            ("jitter", time(jitter)),
            ("reorder", reorder.to_string()),
            ("gap", time(gap)),
            ("duplicate", duplicate.to_string()),
            ("corrupt", corrupt.to_string()),
            ("rate", rate),
            ("queue", bytes(queue)),
            ("mark", mark.map_or_else(String::new, bytes)),
        ]
    }
}

impl fmt::Display for FaultSpec {
    /// What differs from the default, in the form that reading takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut items = Vec::new();
        let (receive, transmit) = (self.receive.texts(), self.transmit.texts());
        for ((default, receive), transmit) in Faults::default().texts().iter().zip(&receive).zip(&transmit) {
            let mut item = |prefix: &str, (key, value): &(&str, String)| {
                if *value != default.1 {
                    items.push(format!("{prefix}{key}={value}"));
                }
            };
            if receive == transmit {
                item("", receive);
            } else {
                item("rx.", receive);
                item("tx.", transmit);
            }
        }
        if self.seed != 0 {
            items.push(format!("seed={}", self.seed));
        }
        if self.held != HELD_FRAMES_MAX {
            items.push(format!("held={}", self.held));
        }
        f.write_str(&items.join(","))
    }
}

fn percent(text: &str) -> Option<f64> {
    text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))
}

fn time(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let units = [("ns", 1), ("us", 1_000), ("µs", 1_000), ("ms", 1_000_000), ("s", SECOND)];
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.into_iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|time| *time <= DELAY_MAX)
}

fn rate(text: &str) -> Option<NonZeroU64> {
    scaled(text, &[("K", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)]).and_then(NonZeroU64::new)
}

fn frames(text: &str) -> Option<usize> {
    text.parse().ok().filter(|frames| (HELD_FRAMES_MIN..=1 << 16).contains(frames))
}

/// A whole number with one of these letters behind it, or none.
fn scaled(text: &str, letters: &[(&str, u64)]) -> Option<u64> {
    let (digits, letter) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match letters.iter().find(|(name, _)| *name == letter) {
        Some((_, factor)) => *factor,
        None if letter.is_empty() => 1,
        None => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// The number in the largest unit that divides it; `smallest` is what stands behind one of no unit.
fn shortened(number: u64, units: &[(&str, u64)], smallest: &str) -> String {
    match units.iter().find(|(_, factor)| number > 0 && number.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", number / factor),
        None => format!("{number}{smallest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<FaultSpec>().unwrap_err().to_string()
    }

    #[test]
    fn every_key_is_read() {
        // Shows each key's field and unit, in both directions and in one.
        let text = "loss=1,delay=5ms,jitter=20us,reorder=10,gap=2s,duplicate=0.5,corrupt=100,rate=100M,queue=1M,mark=3K,seed=7,held=64";
        let spec: FaultSpec = text.parse().unwrap();
        let faults = Faults {
            loss: 1.0,
            delay: 5_000_000,
            jitter: 20_000,
            reorder: 10.0,
            gap: 2_000_000_000,
            duplicate: 0.5,
            corrupt: 100.0,
            rate: NonZeroU64::new(100_000_000),
            queue: 1 << 20,
            mark: Some(3 << 10),
        };
        assert_eq!(spec, FaultSpec { receive: faults, transmit: faults, seed: 7, held: 64 });
        let spec: FaultSpec = "rx.loss=2,loss=1,tx.delay=7ns".parse().unwrap();
        assert_eq!((spec.receive.loss, spec.transmit.loss), (2.0, 1.0));
        assert_eq!((spec.receive.delay, spec.transmit.delay), (0, 7));
        assert_eq!("".parse(), Ok(FaultSpec::default()));
        assert_eq!("delay=0".parse(), Ok(FaultSpec::default()));
        assert_eq!("delay=3µs".parse::<FaultSpec>().unwrap().receive.delay, 3_000);
    }

    #[test]
    fn what_is_written_reads_the_same() {
        // Shows the round trip of canonical texts, and that what equals the default is left out.
        for text in [
            "",
            "loss=0.1,delay=1500us,reorder=30,rate=2500K,seed=18446744073709551615",
            "rx.loss=0.30000000000000004,tx.corrupt=0.0000001,jitter=1ns,gap=0ns,held=65536",
            "rx.rate=1G,tx.delay=3600s,queue=1000",
            "rx.loss=1,tx.loss=2,rx.queue=0,tx.queue=3M",
            "rx.mark=0,tx.mark=30K",
        ] {
            let spec: FaultSpec = text.parse().unwrap();
            assert_eq!(spec.to_string().parse(), Ok(spec), "{text}");
            assert_eq!(spec.to_string().len(), text.len(), "{spec}");
        }
        assert_eq!("delay=1000us,loss=0,gap=1ms".parse::<FaultSpec>().unwrap().to_string(), "delay=1ms");
    }

    #[test]
    fn errors_name_the_key_and_what_it_takes() {
        // Shows one refusal of each kind in full, and that values just outside their ranges are refused.
        assert_eq!(
            refused("loss=101"),
            "`loss=101`: loss takes per cent, a number from 0 to 100, as in `0.5`"
        );
        assert_eq!(
            refused("rx.delay=5"),
            "`rx.delay=5`: rx.delay takes a whole number with ns, us, ms or s, at most 3600s, as in `5ms`"
        );
        assert!(refused("lose=1").starts_with("`lose` is no fault: there are loss, delay,"));
        assert!(refused("ab.loss=1").starts_with("`ab.loss` is no fault"));
        assert!(refused("rx.seed=1").starts_with("`rx.seed` is no fault"));
        assert_eq!(refused("loss=1,loss=2"), "`loss` is given twice: keep one");
        for text in ["loss", "loss=1,", ",", " "] {
            assert!(refused(text).contains("is not KEY=VALUE"), "{text}");
        }
        for text in [
            "loss=",
            "loss=-1",
            "loss=nan",
            "loss=inf",
            "loss=1%",
            "delay=",
            "delay=ms",
            "delay=-5ms",
            "delay=1.5ms",
            "delay=3601s",
            "delay=99999999999999999999s",
            "rate=0",
            "rate=M",
            "rate=1T",
            "rate=99999999999G",
            "queue=1G",
            "queue=",
            "mark=",
            "seed=x",
            "seed=18446744073709551616",
            "held=63",
            "held=65537",
        ] {
            assert!(refused(text).contains(" takes "), "{text}");
        }
    }
}

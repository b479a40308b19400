//! Where connections come from: ranges of addresses, for 28,000 ports towards one server are not enough.

use std::net::IpAddr;
use std::str::FromStr;

/// Most addresses of all ranges together: 28 million connections towards one server.
pub const SOURCES_MAX: usize = 1024;

/// Addresses from first to last, both of them included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SourceRange {
    first: IpAddr,
    last: IpAddr,
}

impl FromStr for SourceRange {
    type Err = String;

    fn from_str(text: &str) -> Result<SourceRange, String> {
        let wrong = || {
            format!("`{text}` is no range of addresses: write it as 10.77.0.100-10.77.0.200, or one address")
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first: IpAddr = first.trim().parse().map_err(|_| wrong())?;
        let last: IpAddr = last.trim().parse().map_err(|_| wrong())?;
        let range = SourceRange { first, last };
        if last < first || first.is_ipv4() != last.is_ipv4() {
            return Err(wrong());
        }
        if range.count() > SOURCES_MAX {
            return Err(format!("`{text}` has {} addresses: at most {SOURCES_MAX} are taken", range.count()));
        }
        Ok(range)
    }
}

impl SourceRange {
    fn count(&self) -> usize {
        let count = (number(self.last) - number(self.first)).saturating_add(1);
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let four = self.first.is_ipv4();
        (number(self.first)..=number(self.last)).map(move |word| match u32::try_from(word) {
            Ok(word) if four => IpAddr::V4(word.into()),
            _ => IpAddr::V6(word.into()),
        })
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

/// Every address of the ranges, each once, in order.
///
/// Errors: they are too many together.
pub fn addresses(ranges: &[SourceRange]) -> Result<Vec<IpAddr>, String> {
    let count: usize = ranges.iter().map(SourceRange::count).sum();
    if count > SOURCES_MAX {
        return Err(format!("--source names {count} addresses; name at most {SOURCES_MAX}"));
    }
    let mut all: Vec<IpAddr> = Vec::with_capacity(count);
    for address in ranges.iter().flat_map(SourceRange::addresses) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<SourceRange, String> {
        text.parse()
    }

    #[test]
    fn a_range_is_all_its_addresses() {
        // Shows both ends, a range across an octet, one address alone, and that overlapping ranges count once.
        let text = |ranges: &[&str]| {
            let ranges: Vec<SourceRange> = ranges.iter().map(|text| range(text).unwrap()).collect();
            let all: Vec<String> = addresses(&ranges).unwrap().iter().map(IpAddr::to_string).collect();
            all.join(" ")
        };
        assert_eq!(text(&["10.0.0.254-10.0.1.1"]), "10.0.0.254 10.0.0.255 10.0.1.0 10.0.1.1");
        assert_eq!(text(&["10.0.0.9"]), "10.0.0.9");
        assert_eq!(text(&["10.0.0.1-10.0.0.2", "10.0.0.2-10.0.0.3"]), "10.0.0.1 10.0.0.2 10.0.0.3");
        assert_eq!(text(&["255.255.255.255"]), "255.255.255.255");
        assert_eq!(text(&["fd00::ffff-fd00::1:0"]), "fd00::ffff fd00::1:0");
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn what_is_no_range_is_refused() {
        // Shows text that is none, a range that goes backwards, and ranges with more addresses than are taken.
        for text in [
            "",
            "10.0.0.1-",
            "10.0.0.2-10.0.0.1",
            "10.0.0.1/24",
            "10.0.0.1-::1",
            "10.0.0.0-10.0.4.0",
            "::1-1::",
        ] {
            assert!(range(text).is_err(), "{text}");
        }
        assert_eq!(range("0.0.0.0-255.255.255.255").unwrap_err().matches("4294967296").count(), 1);
        let many = [range("10.0.0.0-10.0.3.255").unwrap(), range("10.1.0.0").unwrap()];
        assert!(addresses(&many).unwrap_err().contains("1025"));
    }
}

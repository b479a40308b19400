//! Conditional requests: entity tags, dates, and what RFC 9110 section 13 makes of them. Ranges are `range.rs`'s.

use core::hash::Hasher;
use std::time::{Duration, SystemTime};

use siphasher::sip::SipHasher24;

use super::Method;

/// Most tags of one field that are remembered; browsers send one. What stands behind them matches nothing.
const TAGS_MAX: usize = 4;

/// A strong validator of one version of a file.
///
/// It is a digest of where the file is, how long it is and when it changed, to the nanosecond. A rewrite within
/// one tick of the kernel's clock, of the same length and in place, would keep it; files are not given out until
/// that tick has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EntityTag(u64);

impl EntityTag {
    /// The tag of whatever these numbers tell from everything else. The same in every run and on every machine.
    pub fn of(parts: &[u64]) -> EntityTag {
        let mut hasher = SipHasher24::new();
        parts.iter().for_each(|&part| hasher.write_u64(part));
        EntityTag(hasher.finish())
    }

    /// The tag with its quotes.
    pub fn text(self) -> String {
        format!("\"{:016x}\"", self.0)
    }

    /// One of our tags, without its quotes.
    fn parse(opaque: &[u8]) -> Option<EntityTag> {
        let ours = opaque.len() == 16 && opaque.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let text = core::str::from_utf8(opaque).ok().filter(|_| ours)?;
        u64::from_str_radix(text, 16).ok().map(EntityTag)
    }
}

/// A list of tags as `If-Match` and `If-None-Match` have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Tags {
    given: bool,
    any: bool,
    count: usize,
    tags: [EntityTag; TAGS_MAX],
}

impl Tags {
    /// Add a field's tags. `strong`: weak ones match nothing.
    fn add(&mut self, value: &[u8], strong: bool) {
        self.given = true;
        self.any |= value == b"*";
        let mut rest = value;
        loop {
            rest = rest.trim_ascii_start();
            if let Some(behind) = rest.strip_prefix(b",") {
                rest = behind;
                continue;
            }
            let weak = rest.starts_with(b"W/");
            let Some(open) = rest.strip_prefix(b"W/").unwrap_or(rest).strip_prefix(b"\"") else { return };
            let Some(end) = open.iter().position(|&byte| byte == b'"') else { return };
            if let (Some(tag), Some(place)) = (EntityTag::parse(&open[..end]), self.tags.get_mut(self.count))
                && !(strong && weak)
            {
                *place = tag;
                self.count += 1;
            }
            rest = &open[end + 1..];
        }
    }

    fn has(&self, tag: EntityTag) -> bool {
        self.any || self.tags[..self.count].contains(&tag)
    }
}

/// What a range depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum IfRange {
    #[default]
    Always,
    Tag(EntityTag),
    Date(SystemTime),
    /// On something that cannot be ours.
    Never,
}

/// Outcome of a request's conditions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Answer as if there were none.
    Proceed,
    /// The client has it: 304.
    NotModified,
    /// It is not what the client expects: 412.
    Failed,
}

/// What a request makes its answer depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Conditions {
    matches: Tags,
    none_matches: Tags,
    modified_since: Option<SystemTime>,
    unmodified_since: Option<SystemTime>,
    range: IfRange,
}

impl Conditions {
    /// Take a field in, if it is one of these. True if it was.
    pub(super) fn add(&mut self, name: &str, value: &[u8]) -> bool {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("if-none-match") {
            self.none_matches.add(value, false);
        } else if is("if-modified-since") {
            self.modified_since = date(value);
        } else if is("if-range") {
            self.range = if_range(value);
        } else if is("if-match") {
            self.matches.add(value, true);
        } else if is("if-unmodified-since") {
            self.unmodified_since = date(value);
        } else {
            return false;
        }
        true
    }

    /// Judge them against the file's tag and its date, whole seconds.
    //= https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2
    //# A recipient cache or origin server MUST evaluate the request
    //# preconditions defined by this specification in the following order:
    pub fn judge(&self, method: Method, tag: EntityTag, modified: SystemTime) -> Verdict {
        let expected = match self.matches.given {
            true => self.matches.has(tag),
            false => self.unmodified_since.is_none_or(|date| modified <= date),
        };
        if !expected {
            return Verdict::Failed;
        }
        //= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.3
        //# A recipient MUST ignore If-Modified-Since if the request contains an
        //# If-None-Match header field;
        let has = match self.none_matches.given {
            true => self.none_matches.has(tag),
            false => self.modified_since.is_some_and(|date| modified <= date),
        };
        match method {
            Method::Get | Method::Head if has => Verdict::NotModified,
            Method::Get | Method::Head => Verdict::Proceed,
        }
    }

    /// A range may be taken out of this version.
    //= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.5
    //# A recipient of an If-Range header field MUST ignore the Range header
    //# field if the If-Range condition evaluates to false.
    pub fn allow_range(&self, tag: EntityTag, modified: SystemTime, now: SystemTime) -> bool {
        match self.range {
            IfRange::Always => true,
            IfRange::Tag(given) => given == tag,
            // A date is strong only once no second change can share it.
            IfRange::Date(given) => given == modified && modified + Duration::from_secs(1) <= now,
            IfRange::Never => false,
        }
    }
}

fn date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(core::str::from_utf8(value).ok()?).ok()
}

fn if_range(value: &[u8]) -> IfRange {
    match value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) {
        Some(opaque) => EntityTag::parse(opaque).map_or(IfRange::Never, IfRange::Tag),
        None => date(value).map_or(IfRange::Never, IfRange::Date),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: EntityTag = EntityTag(0xabc);
    const OURS: &str = "\"0000000000000abc\"";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 + seconds)
    }

    fn conditions(fields: &[(&str, &str)]) -> Conditions {
        let mut conditions = Conditions::default();
        for (name, value) in fields {
            assert!(conditions.add(name, value.as_bytes()), "{name}");
        }
        conditions
    }

    fn verdict(fields: &[(&str, &str)]) -> Verdict {
        conditions(fields).judge(Method::Get, TAG, at(0))
    }

    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    #[test]
    fn tags_differ_with_each_part_and_stay_the_same() {
        // Shows the text of a tag, that it comes back from its text, and that no part is left out.
        assert_eq!(TAG.text(), OURS);
        assert_eq!(EntityTag::of(&[1, 2, 3]), EntityTag::of(&[1, 2, 3]));
        for other in [[1, 2, 4], [1, 3, 3], [2, 2, 3]] {
            assert_ne!(EntityTag::of(&[1, 2, 3]), EntityTag::of(&other));
        }
    }

    #[test]
    fn lists_of_tags_are_read_as_they_may_be_written() {
        // Shows one, several, weak ones, commas inside a tag, the star, and what is no tag at all.
        for list in [OURS, &format!("\"a,b\" , ,W/{OURS}"), &format!("\"x\",{OURS},\"y\""), "*"] {
            assert_eq!(verdict(&[("If-None-Match", list)]), Verdict::NotModified, "{list}");
        }
        for list in ["", "\"other\"", "0000000000000abc", "\"0000000000000abc", "\"0000000000000ABC\"", "W/*"]
        {
            assert_eq!(verdict(&[("if-none-match", list)]), Verdict::Proceed, "{list}");
        }
        let two_lines = [("If-None-Match", "\"other\""), ("If-None-Match", OURS)];
        assert_eq!(verdict(&two_lines), Verdict::NotModified);
        let many = format!("{}{OURS}", "\"0000000000000abd\", ".repeat(TAGS_MAX));
        assert_eq!(
            verdict(&[("If-None-Match", &many)]),
            Verdict::Proceed,
            "the bound errs towards an answer"
        );
    }

    #[test]
    fn conditions_are_judged_in_the_order_of_the_standard() {
        // Shows which of two fields wins where they disagree, and both sides of each date.
        //= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.3
        //= type=test
        //# A recipient MUST ignore If-Modified-Since if the request contains an
        //# If-None-Match header field;
        let (none, since) = ("If-None-Match", "If-Modified-Since");
        assert_eq!(verdict(&[(none, "\"other\""), (since, THEN)]), Verdict::Proceed);
        assert_eq!(verdict(&[(none, OURS), (since, BEFORE)]), Verdict::NotModified);
        assert_eq!(verdict(&[(since, THEN)]), Verdict::NotModified);
        assert_eq!(verdict(&[(since, BEFORE)]), Verdict::Proceed);
        assert_eq!(verdict(&[(since, "yesterday")]), Verdict::Proceed);
        let (matches, unmodified) = ("If-Match", "If-Unmodified-Since");
        assert_eq!(verdict(&[(matches, OURS), (unmodified, BEFORE)]), Verdict::Proceed);
        assert_eq!(verdict(&[(matches, "\"other\""), (unmodified, THEN)]), Verdict::Failed);
        assert_eq!(verdict(&[(matches, &format!("W/{OURS}"))]), Verdict::Failed);
        assert_eq!(verdict(&[(matches, "*"), (none, OURS)]), Verdict::NotModified);
        assert_eq!(verdict(&[(unmodified, THEN)]), Verdict::Proceed);
        assert_eq!(verdict(&[(unmodified, BEFORE)]), Verdict::Failed);
    }

    #[test]
    fn a_range_goes_by_a_strong_validator_only() {
        // Shows the tag, a weak tag, another, and a date that is the file's, another's, or too young to be strong.
        //= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.5
        //= type=test
        //# A recipient of an If-Range header field MUST ignore the Range header
        //# field if the If-Range condition evaluates to false.
        let allowed = |value: &str, now| conditions(&[("If-Range", value)]).allow_range(TAG, at(0), at(now));
        assert!(Conditions::default().allow_range(TAG, at(0), at(0)));
        assert!(allowed(OURS, 0) && allowed(THEN, 1));
        assert!(!allowed(THEN, 0) && !allowed(BEFORE, 9) && !allowed(&format!("W/{OURS}"), 9));
        assert!(!allowed("\"other\"", 9) && !allowed("nonsense", 9));
    }
}

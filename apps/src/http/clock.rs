//! The text of `Date`, rendered once a second. The time is given, never read here.

use std::io::Write as _;
use std::time::SystemTime;

use httpdate::HttpDate;

/// Bytes of a date in the form of RFC 9110 section 5.6.7.
pub const DATE_BYTES: usize = 29;

/// The current date as `Date` has it.
#[derive(Clone, Copy, Debug)]
pub struct HttpClock {
    now: SystemTime,
    text: [u8; DATE_BYTES],
}

impl HttpClock {
    /// A clock that shows `now`.
    pub fn new(now: SystemTime) -> HttpClock {
        HttpClock { now, text: date_text(now) }
    }

    /// Show `now` from here on.
    pub fn set(&mut self, now: SystemTime) {
        *self = HttpClock::new(now);
    }

    /// The time it shows.
    pub fn now(&self) -> SystemTime {
        self.now
    }

    /// The date.
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

/// A date's text, without allocation.
pub fn date_text(time: SystemTime) -> [u8; DATE_BYTES] {
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    // The text of every year that has four digits is exactly this long; a later one keeps the epoch's.
    let time = if time < SystemTime::UNIX_EPOCH { SystemTime::UNIX_EPOCH } else { time };
    let _ = write!(&mut text[..], "{}", HttpDate::from(time));
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_have_the_preferred_form() {
        // Shows the text of RFC 9110's own example, and that the time before the epoch is no panic.
        //= https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7
        //= type=test
        //# Sun, 06 Nov 1994 08:49:37 GMT    ; IMF-fixdate
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(HttpClock::new(then).text(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(&date_text(before), b"Thu, 01 Jan 1970 00:00:00 GMT");
    }
}

//! Points in time, as Wingbeat stores and prints them.

use std::{fmt, str::FromStr, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A point in time, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(i64);

/// A text that is no point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time: write it as 2026-07-04T14:38:08Z or as seconds since 1970")]
pub struct TimeError(String);

impl Time {
    /// The system clock's time.
    pub fn now() -> Self {
        Self(Timestamp::now().as_microsecond())
    }

    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Seconds since 1970, with fractions.
    #[expect(clippy::cast_precision_loss, reason = "2^53 microseconds last until the year 2255")]
    pub fn as_seconds_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// This time and that much more; stops at the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This time and that much less; stops at the beginning of time.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC, with as many digits as it needs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{} us since 1970", self.0),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Time {
    type Err = TimeError;

    /// Reads RFC 3339, or a number as the predecessors wrote it: seconds since 1970 (with
    /// fractions), or milliseconds from 10^11 on.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        if let Ok(timestamp) = text.parse::<Timestamp>() {
            return Ok(Self(timestamp.as_microsecond()));
        }
        let number: f64 = text.parse().map_err(|_| TimeError(text.to_owned()))?;
        let seconds = if number >= 1e11 { number / 1e3 } else { number };
        if !(0.0..=2.5e11).contains(&seconds) {
            return Err(TimeError(text.to_owned()));
        }
        #[expect(clippy::cast_possible_truncation, reason = "the range was checked above")]
        Ok(Self((seconds * 1e6) as i64))
    }
}

impl TryFrom<String> for Time {
    type Error = TimeError;
    fn try_from(text: String) -> Result<Self, TimeError> {
        text.parse()
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_a_predecessor_wrote_is_read() {
        let expected = Time::from_micros(1_783_175_888_500_000);
        for text in [
            "2026-07-04T14:38:08.5Z",
            "2026-07-04T16:38:08.5+02:00",
            "1783175888.5",
            "1783175888500",
        ] {
            assert_eq!(text.parse::<Time>().unwrap(), expected, "{text}");
        }
        for text in ["", "yesterday", "-5", "1e300", "nan"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
        assert_eq!(expected.to_string(), "2026-07-04T14:38:08.5Z");
    }
}

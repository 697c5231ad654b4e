//! Lengths of time in a configuration.

use std::{borrow::Cow, fmt, time::Duration};

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written as `250ms`, `30s`, `5m`, `2h30m`, or as a number of seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A thousand years: whoever writes more means something else, and sums stay far from overflow.
const SECONDS_MAX: u64 = 31_557_600_000;

impl Span {
    /// That many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// That many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is no length of time; write 250ms, 30s, 5m or 2h");
        if let Ok(seconds) = text.parse::<f64>() {
            return from_seconds(seconds).ok_or_else(refused);
        }
        let parsed: SignedDuration = text.parse().map_err(|_| refused())?;
        let duration = Duration::try_from(parsed).map_err(|_| refused())?;
        if duration.as_secs() > SECONDS_MAX {
            return Err(refused());
        }
        Ok(Self(duration))
    }
}

fn from_seconds(seconds: f64) -> Option<Span> {
    #[expect(clippy::cast_precision_loss, reason = "the limit has 35 bits")]
    let is_sane = (0.0..=SECONDS_MAX as f64).contains(&seconds);
    is_sane.then(|| Span(Duration::from_secs_f64(seconds)))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SignedDuration::try_from(self.0) {
            Ok(duration) => write!(f, "{duration:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as 250ms, 30s, 5m or 2h")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
                seconds.to_string().parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
                seconds.to_string().parse().map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Span, E> {
                seconds.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number"], "format": "length of time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_written() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("1.5", 1500),
            ("2", 2000),
            ("2h30m", 9_000_000),
            ("5 minutes", 300_000),
        ] {
            assert_eq!(text.parse::<Span>(), Ok(Span::from_millis(millis)), "{text}");
        }
        for text in ["", "-5s", "soon", "1e300", "nan", "99999999999999s", "5 parsecs"] {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
        for span in [Span::from_millis(0), Span::from_millis(1250), Span::from_secs(90_061)] {
            assert_eq!(span.to_string().parse::<Span>(), Ok(span), "{span}");
        }
    }
}

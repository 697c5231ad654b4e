//! `stamp`: says who processed the record, and when.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wingbeat_record::Time;

use crate::{Item, Stage, StageError};

/// Settings of the stage `stamp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StampSettings {
    /// What the member `processor` says.
    #[schemars(extend("x-env" = ["SERVICE_NAME"]))]
    pub processor: String,
    /// How the member `processed_at` is written. `processed_at_iso` is always there beside it.
    pub processed_at: TimeFormat,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// Seconds since 1970, with fractions.
    Seconds,
    /// Whole milliseconds since 1970.
    Millis,
    /// RFC 3339.
    Iso,
}

impl Default for StampSettings {
    fn default() -> Self {
        Self { processor: "wingbeat".to_owned(), processed_at: TimeFormat::Seconds }
    }
}

/// The stage.
#[derive(Debug)]
pub(crate) struct Stamp {
    /// The processor's name as JSON.
    processor: Vec<u8>,
    format: TimeFormat,
}

impl Stamp {
    pub(crate) const NAME: &'static str = "stamp";

    pub(crate) fn new(settings: &StampSettings) -> Result<Self, StageError> {
        let processor = serde_json::to_vec(&settings.processor).map_err(|error| {
            StageError::Settings { name: Self::NAME, problem: error.to_string() }
        })?;
        Ok(Self { processor, format: settings.processed_at })
    }
}

impl Stage for Stamp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn run(&self, items: &mut [&mut Item]) {
        // One time for the batch: it is processed as one.
        let now = Time::now();
        let iso = format!("\"{now}\"");
        let written = match self.format {
            TimeFormat::Seconds => format!("{:.6}", now.as_seconds_f64()),
            TimeFormat::Millis => (now.as_micros() / 1000).to_string(),
            TimeFormat::Iso => iso.clone(),
        };
        for item in items {
            item.set_member("processed_at", written.clone().into_bytes());
            item.set_member("processed_at_iso", iso.clone().into_bytes());
            item.set_member("processor", self.processor.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use wingbeat_record::{Record, Subject};

    use super::*;

    #[test]
    fn the_time_is_the_real_clock_in_each_format() {
        for format in [TimeFormat::Seconds, TimeFormat::Millis, TimeFormat::Iso] {
            let settings = StampSettings { processor: "a\"b".to_owned(), processed_at: format };
            let stage = Stamp::new(&settings).unwrap();
            let record = Record::new(Subject::new("s").unwrap(), r#"{"text":"x"}"#);
            let mut item = Item::new(record);
            crate::catalogue::stage("post", &Default::default()).unwrap().run(&mut [&mut item]);
            let before = Time::now();
            stage.run(&mut [&mut item]);
            let output: serde_json::Value = serde_json::from_slice(&item.output()).unwrap();
            let written = match &output["processed_at"] {
                serde_json::Value::String(text) => text.clone(),
                number => number.to_string(),
            };
            let read: Time = written.parse().unwrap();
            let apart = before.since(read).max(read.since(before));
            assert!(apart.as_secs() < 60, "{written}");
            let iso: Time = output["processed_at_iso"].as_str().unwrap().parse().unwrap();
            assert!(iso.since(read).max(read.since(iso)).as_millis() < 2);
            assert_eq!(output["processor"], "a\"b");
        }
    }
}

//! Packs: streams, flows and stages for one purpose, declared in TOML.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wingbeat_log::{ConsumerConfig, Discard, Start, StreamConfig};
use wingbeat_ops::config::Span;
use wingbeat_record::SubjectFilter;
use wingbeat_stage::Settings;

use crate::{FlowError, template::SubjectTemplate};

/// What a pack declares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// Its name and purpose.
    pub pack: PackInfo,
    /// The streams, by name.
    pub streams: BTreeMap<String, StreamSpec>,
    /// How what a source reads comes into the log.
    pub ingest: IngestSpec,
    /// The flows, by name.
    pub flows: BTreeMap<String, FlowSpec>,
    /// The settings of the stages.
    #[serde(default)]
    pub stages: Settings,
}

/// What a pack says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackInfo {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The flow whose output the dashboard shows.
    pub shows: String,
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamSpec {
    /// The subjects that it captures; `*` stands for one token, `>` for the rest.
    #[schemars(with = "Vec<String>")]
    pub subjects: Vec<SubjectFilter>,
    /// Keep at most this many records.
    pub records_max: Option<u64>,
    /// Keep at most this many bytes.
    pub bytes_max: Option<u64>,
    /// Keep records at most this long.
    pub age_max: Option<Span>,
    /// How long message ids are remembered to recognise duplicates.
    #[serde(default = "two_minutes")]
    pub duplicate_window: Span,
    /// When a limit is reached: `old` drops the oldest records, `new` refuses new ones.
    #[serde(default)]
    #[schemars(with = "String")]
    pub discard: Discard,
}

fn two_minutes() -> Span {
    Span::from_secs(120)
}

/// How what a source reads comes into the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IngestSpec {
    /// The subject of posts.
    pub to: SubjectTemplate,
    /// The subject of everything else that happens upstream; `{kind}` is its kind.
    pub events: SubjectTemplate,
    /// The subject of what the source itself could not read; `{flow}` is `ingest`, `{kind}` the
    /// kind of the error.
    pub dead: SubjectTemplate,
    /// Stages that posts go through before they are published, in order. What they add to a post
    /// is not kept: they are for leaving posts out, and for tagging them.
    #[serde(default)]
    pub stages: Vec<String>,
    /// Items that are published together.
    #[serde(default = "ingest_batch")]
    #[schemars(extend("x-env" = ["BATCH_SIZE"]))]
    pub batch: usize,
    /// How many milliseconds to wait until so many have come; 0: publish what is there at once.
    #[serde(default)]
    #[schemars(extend("x-env" = ["BATCH_TIMEOUT_MS"]))]
    pub batch_timeout_ms: u64,
    /// The source waits while more than this many records wait for a flow.
    #[serde(default = "backlog_max")]
    pub backlog_max: u64,
    /// How often the source's place is saved.
    #[serde(default = "one_second")]
    pub save_every: Span,
    /// The source's place is also saved whenever so many items have come; 0: by time only.
    #[serde(default)]
    #[schemars(extend("x-env" = ["CURSOR_SAVE_INTERVAL"]))]
    pub save_items: u64,
}

fn ingest_batch() -> usize {
    1000
}

fn backlog_max() -> u64 {
    100_000
}

fn one_second() -> Span {
    Span::from_secs(1)
}

/// A flow: input, stages, output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowSpec {
    /// The stream that it reads.
    pub from: String,
    /// Which of the stream's subjects; none means all.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub subjects: Vec<SubjectFilter>,
    /// The name of its durable consumer.
    pub consumer: String,
    /// Its stages, in order.
    pub stages: Vec<String>,
    /// The subject of its output; stages fill the places.
    pub to: SubjectTemplate,
    /// The subject of its dead letters; `{flow}` is its name, `{kind}` the kind of the error.
    pub dead: SubjectTemplate,
    /// The subject of its ledger; `{flow}` is its name.
    pub ledger: SubjectTemplate,
    /// At most this many records are processed together.
    #[serde(default = "flow_batch")]
    pub batch: usize,
    /// How long a batch waits to be filled.
    #[serde(default = "batch_wait")]
    pub batch_wait: Span,
    /// At most this many batches are under way.
    #[serde(default = "in_flight")]
    pub in_flight: usize,
    /// At most so many records are delivered and not settled; 0: twice what is under way.
    #[serde(default)]
    #[schemars(extend("x-env" = ["MAX_ACK_PENDING"]))]
    pub ack_pending_max: u32,
    /// A record that is not settled for this long is delivered again. Long work extends it.
    #[serde(default = "ack_wait")]
    #[schemars(extend("x-env" = ["ACK_WAIT_SECONDS"]))]
    pub ack_wait: Span,
    /// A record that has failed this often is a dead letter.
    #[serde(default = "deliver_max")]
    #[schemars(extend("x-env" = ["MAX_DELIVER"]))]
    pub deliver_max: u32,
    /// A record that was delivered this often, and each time lost with whoever worked on it, is a
    /// dead letter. Far above `deliver_max`: a process that is killed takes good records with it.
    #[serde(default = "lost_max")]
    pub lost_max: u32,
    /// The pause before the second try; it doubles from try to try, up to a minute.
    #[serde(default = "one_second")]
    pub retry_wait: Span,
}

fn flow_batch() -> usize {
    256
}

fn batch_wait() -> Span {
    Span::from_millis(10)
}

fn in_flight() -> usize {
    4
}

fn ack_wait() -> Span {
    Span::from_secs(30)
}

fn lost_max() -> u32 {
    50
}

fn deliver_max() -> u32 {
    5
}

impl FlowSpec {
    /// The durable consumer as the log wants it.
    pub fn consumer_config(&self) -> ConsumerConfig {
        let pending = self.batch.saturating_mul(self.in_flight).saturating_mul(2);
        let pending = u32::try_from(pending).unwrap_or(u32::MAX).max(1000);
        ConsumerConfig {
            filters: self.subjects.clone(),
            start: Start::First,
            ack_wait: self.ack_wait.0,
            // The flow counts deliveries itself: one too many becomes a dead letter, not silence.
            deliver_max: None,
            ack_pending_max: match self.ack_pending_max {
                0 => pending,
                chosen => chosen,
            },
            ..ConsumerConfig::new(&self.consumer)
        }
    }
}

impl Pack {
    /// The streams as the log wants them.
    pub fn stream_configs(&self) -> Vec<StreamConfig> {
        let config = |(name, spec): (&String, &StreamSpec)| StreamConfig {
            name: name.clone(),
            subjects: spec.subjects.clone(),
            records_max: spec.records_max,
            bytes_max: spec.bytes_max,
            age_max: spec.age_max.map(|span| span.0),
            duplicate_window: spec.duplicate_window.0,
            discard: spec.discard,
        };
        self.streams.iter().map(config).collect()
    }

    /// Checks what no single setting shows: that every subject lands in a stream, that no flow
    /// feeds itself, that names refer to something.
    pub fn check(&self) -> Result<(), FlowError> {
        let refused = |problem: String| Err(FlowError::Pack(problem));
        for (name, flow) in &self.flows {
            if !self.streams.contains_key(&flow.from) {
                let known: Vec<&str> = self.streams.keys().map(String::as_str).collect();
                return refused(format!(
                    "`flows.{name}.from`: there is no stream `{}`; there are: {}",
                    flow.from,
                    known.join(", ")
                ));
            }
            for (key, subject) in [("to", &flow.to), ("dead", &flow.dead), ("ledger", &flow.ledger)]
            {
                let key = format!("flows.{name}.{key}");
                let stream = self.stream_of(&key, subject.filter())?;
                // A dead letter or an output in the input would be taken in again, for ever.
                if stream == flow.from {
                    return refused(format!(
                        "`{key}`: `{subject}` lies in the flow's own input stream `{stream}`, so the flow would feed itself; give it a subject outside `{stream}`"
                    ));
                }
            }
            if flow.batch == 0 || flow.in_flight == 0 || flow.deliver_max == 0 {
                return refused(format!(
                    "`flows.{name}`: batch, in_flight and deliver_max must be at least 1"
                ));
            }
        }
        let ingest = &self.ingest;
        for (key, subject) in
            [("to", &ingest.to), ("events", &ingest.events), ("dead", &ingest.dead)]
        {
            self.stream_of(&format!("ingest.{key}"), subject.filter())?;
        }
        if ingest.batch == 0 {
            return refused("`ingest.batch` must be at least 1".to_owned());
        }
        if !self.flows.contains_key(&self.pack.shows) {
            return refused(format!("`pack.shows`: there is no flow `{}`", self.pack.shows));
        }
        Ok(())
    }

    /// The stream that captures everything under a filter.
    pub fn stream_of(&self, key: &str, filter: &SubjectFilter) -> Result<String, FlowError> {
        let captures = |spec: &StreamSpec| spec.subjects.iter().any(|s| s.covers(filter));
        let found = self.streams.iter().find(|(_, spec)| captures(spec));
        found.map(|(name, _)| name.clone()).ok_or_else(|| {
            FlowError::Pack(format!(
                "`{key}`: no stream captures all of `{filter}`; add it to a stream's subjects"
            ))
        })
    }
}

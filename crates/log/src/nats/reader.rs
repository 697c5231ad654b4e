//! Reading a stream on from a place, by a consumer of its own that acknowledges nothing and that
//! the server forgets when nobody pulls from it. When it is gone, or deliveries were lost on the
//! way, a new one goes on where the last record was.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::json;
use tokio::time::Instant;

use super::{
    api::{ConsumerAnswer, code},
    connection::Connection,
    consumer::start_settings,
    filters::Filters,
    message::delivered,
    pull::{PullError, Puller},
    stream::{self, nanos},
};
use crate::{
    LogError,
    contract::{Reader, Start, Stored},
};

/// The server forgets the consumer when nobody has pulled for this long.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60);
/// How long a stream without a leader is asked again before that is an error.
const LEADER_WAIT: Duration = Duration::from_secs(10);
const LEADER_PAUSE: Duration = Duration::from_millis(100);

/// A place in a stream on NATS.
pub(super) struct NatsReader {
    connection: Arc<Connection>,
    stream: String,
    filters: Filters,
    /// Where it goes on.
    start: Start,
    /// The last sequence that was read, or that the stream had before.
    last: u64,
    puller: Option<Puller>,
    consumer: Option<Consumer>,
}

/// The consumer that is read from now.
struct Consumer {
    name: String,
    /// The number of its last delivery.
    sequence: u64,
}

impl NatsReader {
    pub(super) async fn open(
        connection: Arc<Connection>,
        stream: &str,
        start: Start,
        filters: Filters,
    ) -> Result<Self, LogError> {
        let info = stream::info(&connection.stream_answer(stream).await?);
        // Fixed now: the consumer may be made, and made again, when more has come.
        let start = match start {
            Start::First => Start::Sequence(1),
            Start::Last => Start::Sequence(info.last),
            Start::New => Start::Sequence(info.last + 1),
            Start::Sequence(_) | Start::Time(_) => start,
        };
        let stream = stream.to_owned();
        Ok(Self { connection, stream, filters, start, last: 0, puller: None, consumer: None })
    }

    async fn consumer(&mut self) -> Result<&mut Consumer, LogError> {
        if self.consumer.is_none() {
            let info = stream::info(&self.connection.stream_answer(&self.stream).await?);
            if info.last < self.last {
                return Err(LogError::Damaged {
                    what: format!("stream `{}`", self.stream),
                    problem: format!(
                        "it ends at {}, and record {} had been read: somebody has made it anew, or restored an old copy",
                        info.last, self.last
                    ),
                });
            }
            let name = self.create().await?;
            self.consumer = Some(Consumer { name, sequence: 0 });
        }
        self.consumer.as_mut().ok_or(LogError::Closed)
    }

    async fn create(&self) -> Result<String, LogError> {
        let mut config = start_settings(self.start);
        config.extend(self.filters.settings());
        config.insert("ack_policy".to_owned(), json!("none"));
        config.insert("replay_policy".to_owned(), json!("instant"));
        config.insert("mem_storage".to_owned(), json!(true));
        config.insert("num_replicas".to_owned(), json!(1));
        config.insert("inactive_threshold".to_owned(), json!(nanos(IDLE_MAX)));
        let what = format!("can't read from stream `{}`", self.stream);
        let body = json!({ "stream_name": self.stream, "config": config });
        let request = format!("CONSUMER.CREATE.{}", self.stream);
        match self.connection.ask::<ConsumerAnswer>(&what, &request, &body).await? {
            Ok(answer) => Ok(answer.name),
            Err(error) if error.err_code == code::STREAM_NOT_FOUND => {
                Err(self.connection.unknown_stream(&self.stream).await)
            }
            Err(error) => Err(error.into_log_error(&what)),
        }
    }

    /// What can be read right now. `None`: the consumer was lost, and is to be made anew.
    async fn pull(
        &mut self,
        max: usize,
        deadline: Instant,
    ) -> Result<Option<Vec<Stored>>, LogError> {
        if self.puller.is_none() {
            self.puller = Some(Puller::new(Arc::clone(&self.connection), false).await?);
        }
        let (stream, name) = (self.stream.clone(), self.consumer().await?.name.clone());
        let puller = self.puller.as_mut().ok_or(LogError::Closed)?;
        let messages = match puller.pull(&stream, &name, max, deadline).await {
            Ok(messages) => messages,
            Err(PullError::Log(error)) => return Err(error),
            Err(PullError::Gone) => return Ok(None),
        };
        let consumer = self.consumer().await?;
        let mut records = Vec::with_capacity(messages.len());
        let mut is_broken = false;
        for (info, stored) in messages.into_iter().filter_map(delivered) {
            is_broken = info.consumer_sequence != consumer.sequence + 1;
            if is_broken {
                break;
            }
            consumer.sequence = info.consumer_sequence;
            records.push(stored);
        }
        if let Some(stored) = records.last() {
            self.last = stored.sequence;
            self.start = Start::Sequence(self.last + 1);
        }
        if is_broken && records.is_empty() {
            return Ok(None);
        }
        if is_broken {
            self.forget();
        }
        records.retain(|stored| self.filters.is_wanted(&stored.record.subject));
        Ok(Some(records))
    }

    /// Whether the stream has more than the consumer sees.
    async fn is_behind(&self) -> Result<bool, LogError> {
        let (connection, stream) = (&self.connection, &self.stream);
        match self.start {
            Start::Sequence(next) => connection.has_since(stream, &self.filters, next).await,
            Start::Time(time) => connection.has_since_time(stream, &self.filters, time).await,
            Start::First | Start::Last | Start::New => Ok(false),
        }
    }

    /// Forgets the consumer. The server does so too, later.
    fn forget(&mut self) {
        self.consumer = None;
        self.puller = None;
    }
}

#[async_trait]
impl Reader for NatsReader {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Stored>, LogError> {
        self.connection.check_open()?;
        if max == 0 {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + wait;
        let mut give_up = None;
        loop {
            let place = self.last;
            match self.pull(max, deadline).await? {
                Some(records) if !records.is_empty() => return Ok(records),
                // All of it was passed over.
                Some(_) if self.last > place => {}
                Some(_) if !self.is_behind().await? => return Ok(Vec::new()),
                // The consumer was lost, or its copy lies behind: another may have a better one.
                Some(_) | None => {
                    self.forget();
                    let until = *give_up.get_or_insert_with(|| Instant::now() + LEADER_WAIT);
                    if Instant::now() >= until {
                        return Err(LogError::unavailable(
                            format!("can't read from stream `{}`", self.stream),
                            "its consumers have no leader right now, or lie behind the stream",
                        ));
                    }
                    tokio::time::sleep(LEADER_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for NatsReader {
    /// Tells the server that the consumer is not needed any more, where that is possible.
    fn drop(&mut self) {
        let (Some(consumer), Ok(runtime)) =
            (self.consumer.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let request = format!("CONSUMER.DELETE.{}.{}", self.stream, consumer.name);
        let subject = self.connection.api(&request);
        let connection = Arc::clone(&self.connection);
        runtime.spawn(async move {
            // Without an answer: the server forgets it anyway.
            let _ = connection.client().publish(subject, "".into()).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use wingbeat_record::Time;

    use super::*;

    #[test]
    fn a_start_in_time_is_written_as_jetstream_reads_it() {
        let time = Time::from_micros(1_700_000_000_000_001);
        let settings = start_settings(Start::Time(time));
        assert_eq!(settings["opt_start_time"], json!("2023-11-14T22:13:20.000001Z"));
    }
}

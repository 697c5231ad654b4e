//! Durable consumers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::Message;
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;
use wingbeat_record::{Sequences, SubjectFilter, Time};

use super::{
    api::{Config, ConsumerAnswer},
    connection::{ANSWER_WAIT, Connection, chain},
    filters::Filters,
    message::{DeliveryInfo, delivered},
    missed::{self, Missed},
    pull::{PullError, Puller},
    stream::{nanos, object, text, texts},
};
use crate::{
    LogError,
    contract::{AckToken, Consumer, ConsumerConfig, ConsumerInfo, Delivery, Settle, Start},
};

/// At most this many unsettled sequences are listed where the server does not say which they are.
const UNSETTLED_LISTED_MAX: u64 = 1_000_000;
/// Of what was settled at most this many runs are remembered.
const SETTLED_RUNS_MAX: usize = 100_000;
/// How long a consumer that does not answer is asked again before that is an error.
const LEADER_WAIT: Duration = Duration::from_secs(10);
const LEADER_PAUSE: Duration = Duration::from_millis(100);

/// A handle on a durable consumer.
pub(super) struct NatsConsumer {
    connection: Arc<Connection>,
    stream: String,
    config: ConsumerConfig,
    /// Which part of the filters the server does not do.
    filters: Filters,
    puller: tokio::sync::Mutex<Puller>,
    held: Mutex<Held>,
    missed: Missed,
}

/// The deliveries of this handle that are not settled: where each is to be acknowledged.
#[derive(Default)]
struct Held {
    by_sequence: BTreeMap<u64, HeldDelivery>,
    /// What this handle has settled for good. A server that crashes may forget acknowledgements,
    /// and delivers the records again to somebody who is still there and has them in his books:
    /// they are acknowledged again, and not delivered.
    settled: Sequences,
}

struct HeldDelivery {
    reply: String,
    /// When it was delivered, or progress was told.
    touched: Instant,
}

impl Held {
    /// Forgets what has gone to somebody else long ago, where more is held than can be pending.
    fn prune(&mut self, config: &ConsumerConfig) {
        if self.by_sequence.len() > config.ack_pending_max as usize * 2 {
            let now = Instant::now();
            let age_max = config.ack_wait * 2;
            self.by_sequence.retain(|_, held| now.duration_since(held.touched) <= age_max);
        }
    }
}

/// The settings of a consumer that the log cares for, as JetStream writes them.
pub(super) fn wanted(config: &ConsumerConfig, filters: &Filters) -> Config {
    let mut wanted = object(json!({
        "durable_name": config.name,
        "ack_policy": "explicit",
        "ack_wait": nanos(config.ack_wait),
        "max_deliver": config.deliver_max.map_or(-1, i64::from),
        "max_ack_pending": config.ack_pending_max,
    }));
    wanted.extend(filters.settings());
    wanted
}

/// What a new consumer has beside that.
pub(super) fn created(mut wanted: Config, start: Start) -> Config {
    wanted.extend(start_settings(start));
    wanted.insert("replay_policy".to_owned(), json!("instant"));
    wanted
}

/// Where a consumer starts, as JetStream writes it.
pub(super) fn start_settings(start: Start) -> Config {
    object(match start {
        Start::First | Start::Sequence(0 | 1) => json!({ "deliver_policy": "all" }),
        Start::Last => json!({ "deliver_policy": "last" }),
        Start::New => json!({ "deliver_policy": "new" }),
        Start::Sequence(sequence) => {
            json!({ "deliver_policy": "by_start_sequence", "opt_start_seq": sequence })
        }
        Start::Time(time) => {
            json!({ "deliver_policy": "by_start_time", "opt_start_time": time.to_string() })
        }
    })
}

/// How a consumer is set, from JetStream's words.
fn consumer_config(config: &Config, name: &str) -> ConsumerConfig {
    let number = |name: &str| config.get(name).and_then(Value::as_i64);
    let single = texts_of(config, "filter_subject");
    let filters = texts(config, "filter_subjects").chain(single);
    let start = match text(config, "deliver_policy") {
        "last" => Start::Last,
        "new" => Start::New,
        "by_start_sequence" => {
            Start::Sequence(config.get("opt_start_seq").and_then(Value::as_u64).unwrap_or(0))
        }
        "by_start_time" => {
            text(config, "opt_start_time").parse::<Time>().map_or(Start::First, Start::Time)
        }
        _ => Start::First,
    };
    ConsumerConfig {
        name: name.to_owned(),
        filters: filters.filter_map(|filter| SubjectFilter::new(filter).ok()).collect(),
        start,
        ack_wait: Duration::from_nanos(
            number("ack_wait").and_then(|nanos| u64::try_from(nanos).ok()).unwrap_or(0),
        ),
        deliver_max: number("max_deliver")
            .and_then(|max| u32::try_from(max).ok())
            .filter(|max| *max > 0),
        ack_pending_max: number("max_ack_pending")
            .and_then(|max| u32::try_from(max).ok())
            .unwrap_or(u32::MAX),
    }
}

fn texts_of<'a>(config: &'a Config, name: &str) -> impl Iterator<Item = &'a str> {
    Some(text(config, name)).filter(|text| !text.is_empty()).into_iter()
}

/// How far a consumer has come, as far as JetStream says it.
pub(super) fn info(stream: &str, answer: &ConsumerAnswer) -> ConsumerInfo {
    let (floor, delivered) = (answer.ack_floor.stream_seq, answer.delivered.stream_seq);
    let listed = delivered.min(floor.saturating_add(UNSETTLED_LISTED_MAX));
    let unsettled =
        if answer.num_ack_pending == 0 { Vec::new() } else { (floor + 1..=listed).collect() };
    ConsumerInfo {
        config: consumer_config(&answer.config, &answer.name),
        stream: stream.to_owned(),
        // Nothing is unsettled: what did not match counts as settled too.
        ack_floor: if answer.num_ack_pending == 0 { delivered } else { floor },
        delivered,
        unsettled,
        unsettled_count: answer.num_ack_pending,
        pending: answer.num_pending,
        missed: Vec::new(),
    }
}

impl NatsConsumer {
    pub(super) async fn open(
        connection: Arc<Connection>,
        stream: &str,
        config: &ConsumerConfig,
        filters: Filters,
        answer: &ConsumerAnswer,
    ) -> Result<Self, LogError> {
        let puller = tokio::sync::Mutex::new(Puller::new(Arc::clone(&connection), true).await?);
        let has_filters = !config.filters.is_empty();
        let place = answer.delivered.stream_seq;
        let missed = Missed::new(stream, &config.name, place, has_filters);
        let (stream, config) = (stream.to_owned(), config.clone());
        let held = Mutex::default();
        Ok(Self { connection, stream, config, filters, puller, held, missed })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn check_exists(&self) -> Result<(), LogError> {
        let (stream, name) = (&self.stream, &self.config.name);
        match self.connection.find_consumer(stream, name).await? {
            Some(_) => Ok(()),
            None => Err(LogError::NoConsumer { stream: stream.clone(), consumer: name.clone() }),
        }
    }

    /// The consumer does not answer: an error where it is gone; otherwise its leader is being
    /// chosen, and after a pause it is worth another try.
    async fn wait_for_leader(&self, deadline: Instant) -> Result<(), LogError> {
        self.check_exists().await?;
        if Instant::now() >= deadline {
            return Err(LogError::unavailable(
                format!("can't fetch from stream `{}`", self.stream),
                format!("consumer `{}` has no leader right now", self.config.name),
            ));
        }
        tokio::time::sleep(LEADER_PAUSE).await;
        Ok(())
    }

    /// Turns messages into deliveries. What the filters don't want is acknowledged at once.
    async fn take(&self, messages: Vec<Message>) -> Result<Vec<Delivery>, LogError> {
        let mut deliveries = Vec::with_capacity(messages.len());
        let mut unwanted = Vec::new();
        {
            let mut held = self.held();
            for message in messages {
                let reply = message.reply.as_ref().map(ToString::to_string);
                let Some(((info, stored), reply)) = delivered(message).zip(reply) else { continue };
                if info.deliveries == 1 {
                    self.missed.note(info.stream_sequence);
                }
                let is_wanted = self.filters.is_wanted(&stored.record.subject);
                if !is_wanted || held.settled.contains(stored.sequence) {
                    unwanted.push(reply);
                    continue;
                }
                let touched = Instant::now();
                held.by_sequence.insert(stored.sequence, HeldDelivery { reply, touched });
                let token = AckToken(stored.sequence);
                deliveries.push(Delivery { token, deliveries: info.deliveries, stored });
            }
            held.prune(&self.config);
        }
        if !unwanted.is_empty() {
            let ack = payload(Settle::Ack);
            let acks: Vec<_> = unwanted.into_iter().map(|reply| (reply, ack.clone())).collect();
            self.send(&acks).await?;
        }
        Ok(deliveries)
    }

    /// Sends acknowledgements. The last one asks for an answer: the server works on them in turn,
    /// so when it comes all have been taken in.
    async fn send(&self, acks: &[(String, Bytes)]) -> Result<(), LogError> {
        let first = self.send_once(acks).await;
        let Err(LogError::Unavailable { .. }) = first else { return first };
        self.check_exists().await?;
        let second = self.send_once(acks).await;
        let Err(LogError::Unavailable { .. }) = second else { return second };
        // A server does not answer for deliveries that it has forgotten in a crash. It delivers
        // them again, and then they are acknowledged again.
        self.check_exists().await
    }

    async fn send_once(&self, acks: &[(String, Bytes)]) -> Result<(), LogError> {
        let Some(((last_reply, last_payload), acks)) = acks.split_last() else { return Ok(()) };
        self.connection.wait_up(Instant::now() + ANSWER_WAIT).await?;
        let client = self.connection.client();
        for (reply, payload) in acks {
            let sent = client.publish(reply.clone(), payload.clone()).await;
            sent.map_err(|error| LogError::unavailable("can't acknowledge", chain(&error)))?;
        }
        let (reply, payload) = (last_reply.clone(), last_payload.clone());
        self.connection.request("can't acknowledge", reply, payload).await.map(|_| ())
    }

    /// Gives everything back that is not settled: somebody else gets it at once.
    pub(super) async fn give_back(&self) -> Result<(), LogError> {
        let mut replies: Vec<(u64, String)> = {
            let mut held = self.held();
            std::mem::take(&mut held.by_sequence)
                .into_iter()
                .map(|(sequence, held)| (sequence, held.reply))
                .collect()
        };
        for message in self.puller.lock().await.take_all() {
            if let Some(reply) = message.reply
                && let Some(info) = DeliveryInfo::parse(&reply)
            {
                replies.push((info.stream_sequence, reply.to_string()));
            }
        }
        replies.sort_unstable();
        let nak = payload(Settle::Nak(Duration::ZERO));
        let naks: Vec<_> = replies.into_iter().map(|(_, reply)| (reply, nak.clone())).collect();
        self.send(&naks).await
    }
}

/// What is sent to where a delivery is acknowledged.
fn payload(settle: Settle) -> Bytes {
    match settle {
        Settle::Ack => Bytes::from_static(b"+ACK"),
        Settle::Nak(Duration::ZERO) => Bytes::from_static(b"-NAK"),
        Settle::Nak(delay) => Bytes::from(format!("-NAK {{\"delay\":{}}}", nanos(delay))),
        Settle::Progress => Bytes::from_static(b"+WPI"),
        Settle::Term => Bytes::from_static(b"+TERM"),
    }
}

#[async_trait]
impl Consumer for NatsConsumer {
    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, LogError> {
        self.connection.check_open()?;
        if max == 0 {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + wait;
        let mut leader_deadline = None;
        let mut puller = self.puller.lock().await;
        loop {
            let pulled = puller.pull(&self.stream, &self.config.name, max, deadline).await;
            let messages = match pulled {
                Ok(messages) => messages,
                Err(PullError::Log(error)) => return Err(error),
                Err(PullError::Gone) => {
                    let until =
                        *leader_deadline.get_or_insert_with(|| Instant::now() + LEADER_WAIT);
                    self.wait_for_leader(until).await?;
                    continue;
                }
            };
            let is_end = messages.is_empty();
            let deliveries = self.take(messages).await?;
            self.missed.check(&self.connection).await;
            if is_end || !deliveries.is_empty() {
                return Ok(deliveries);
            }
        }
    }

    async fn settle(&self, settled: &[(AckToken, Settle)]) -> Result<(), LogError> {
        self.connection.check_open()?;
        let mut acks = Vec::with_capacity(settled.len());
        let mut done = Vec::new();
        {
            let mut held = self.held();
            let now = Instant::now();
            for (token, settle) in settled {
                // What is not held any more has gone to somebody else.
                let Some(delivery) = held.by_sequence.get_mut(&token.0) else { continue };
                delivery.touched = now;
                acks.push((delivery.reply.clone(), payload(*settle)));
                if *settle != Settle::Progress {
                    let is_final = matches!(settle, Settle::Ack | Settle::Term);
                    done.push((token.0, delivery.reply.clone(), is_final));
                }
            }
        }
        self.send(&acks).await?;
        let mut held = self.held();
        for (sequence, reply, is_final) in done {
            if is_final {
                held.settled.insert(sequence);
                held.settled.keep_newest(SETTLED_RUNS_MAX);
            }
            // It may have been delivered again meanwhile.
            if held.by_sequence.get(&sequence).is_some_and(|delivery| delivery.reply == reply) {
                held.by_sequence.remove(&sequence);
            }
        }
        Ok(())
    }

    async fn info(&self) -> Result<ConsumerInfo, LogError> {
        let (stream, name) = (&self.stream, &self.config.name);
        let Some(answer) = self.connection.find_consumer(stream, name).await? else {
            return Err(LogError::NoConsumer { stream: stream.clone(), consumer: name.clone() });
        };
        self.missed.check_now(&self.connection).await;
        let mut info = info(stream, &answer);
        if info.pending == 0 {
            let behind = self.connection.has_since(stream, &self.filters, info.delivered + 1);
            info.pending = u64::from(behind.await?);
        }
        info.config.filters.clone_from(&self.config.filters);
        let held: Vec<u64> = self.held().by_sequence.keys().copied().collect();
        if held.len() as u64 == info.unsettled_count {
            info.unsettled = held;
        }
        info.missed = missed::read(&self.connection, stream, name).await?;
        Ok(info)
    }
}

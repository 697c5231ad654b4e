//! The log on NATS, and a flow on it.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio_util::sync::CancellationToken;
use wingbeat_flow::{Flow, FlowSpec, Pipeline, Pool};
use wingbeat_log::{ConsumerConfig, Log, Settle, StreamConfig};
use wingbeat_record::{Document, MessageId, Record, Subject, SubjectFilter};
use wingbeat_stage::Settings;

use super::{Cost, RECORDS, WINDOW, Watch, id, payload};
use crate::Outcome;

/// The flow's batches; four are under way, so that as many records are as everywhere else.
const FLOW_BATCH: usize = WINDOW / 4;

/// Publishes records, with acknowledgements.
pub(super) async fn publish(log: &dyn Log, subject: &str, count: usize) -> Outcome<Cost> {
    let (subject, payload) = (Subject::new(subject)?, payload());
    let watch = Watch::start()?;
    for from in (0..count).step_by(WINDOW * 4) {
        let record =
            |n| Record::new(subject.clone(), payload.clone()).with_id(MessageId::new(id(n)));
        let records = (from..(from + WINDOW * 4).min(count)).map(record).collect();
        for answer in log.publish(records).await {
            answer?;
        }
    }
    watch.stop(count)
}

/// Takes records from one stream to another by the log's calls, with a look at each.
pub(super) async fn carry(log: &dyn Log, round: usize) -> Outcome<Cost> {
    let config = ConsumerConfig { ack_pending_max: 10_000, ..ConsumerConfig::new("c") };
    let consumer = log.consumer(&format!("ours-{round}"), &config).await?;
    let subject = Subject::new(format!("ours-out.{round}.x"))?;
    let watch = Watch::start()?;
    let mut done = 0;
    while done < RECORDS {
        let deliveries = consumer.fetch(WINDOW, Duration::from_secs(5)).await?;
        let mut records = Vec::with_capacity(deliveries.len());
        let mut settled = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            Document::parse(delivery.stored.record.payload.clone())?;
            settled.push((delivery.token, Settle::Ack));
            records.push(Record { subject: subject.clone(), ..delivery.stored.record });
        }
        for answer in log.publish(records).await {
            answer?;
        }
        consumer.settle(&settled).await?;
        done += settled.len();
    }
    watch.stop(RECORDS)
}

/// The same by a flow, with all that belongs to one: threads for its stage, ledger, books,
/// checkpoints. The stage looks for a post in each record.
pub(super) async fn flow(log: &Arc<dyn Log>, round: usize) -> Outcome<Cost> {
    let name = format!("flow-{round}");
    let ledger = format!("{name}-books");
    for (stream, subjects) in [(&ledger, format!("books.{name}")), (&name, format!("{name}.>"))] {
        let subjects = vec![SubjectFilter::new(subjects)?];
        log.ensure_stream(&StreamConfig::new(stream, subjects)).await?;
    }
    let spec: FlowSpec = serde_json::from_value(json!({
        "from": format!("ours-{round}"), "consumer": name, "stages": ["post"],
        "to": format!("{name}.x"), "dead": format!("{name}.dead"), "ledger": "books.{flow}",
        "batch": FLOW_BATCH, "in_flight": 4,
    }))?;
    let pipeline = Pipeline::new(&spec.stages, &Settings::default())?;
    let pool = Pool::start(std::thread::available_parallelism()?.get())?;
    let flow = Flow::open(&name, &spec, &ledger, Arc::clone(log), pipeline, pool).await?;
    let (books, stop) = (flow.books(), CancellationToken::new());
    let watch = Watch::start()?;
    let running = tokio::spawn(flow.run(stop.clone()));
    while books.counts().emitted < RECORDS as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let cost = watch.stop(RECORDS);
    stop.cancel();
    running.await??;
    cost
}

//! A program that uses the client alone.

use async_nats::jetstream::{self, consumer::PullConsumer};
use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{Cost, RECORDS, WINDOW, Watch, id, payload};
use crate::Outcome;

fn headers(n: usize) -> async_nats::HeaderMap {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", id(n));
    headers
}

/// Publishes records, with acknowledgements.
pub(super) async fn publish(jetstream: &jetstream::Context, round: usize) -> Outcome<Cost> {
    let (subject, payload) = (format!("bare.{round}.x"), payload());
    let watch = Watch::start()?;
    let mut waiting = FuturesUnordered::new();
    for n in 0..RECORDS {
        let ack =
            jetstream.publish_with_headers(subject.clone(), headers(n), payload.clone()).await?;
        waiting.push(ack.into_future());
        if waiting.len() >= WINDOW {
            waiting.next().await.ok_or("no answer")??;
        }
    }
    while let Some(ack) = waiting.next().await {
        ack?;
    }
    watch.stop(RECORDS)
}

/// Takes records from one stream to another: fetches, publishes, acknowledges.
pub(super) async fn carry(jetstream: &jetstream::Context, round: usize) -> Outcome<Cost> {
    let stream = jetstream.get_stream(format!("bare-{round}")).await?;
    let config = jetstream::consumer::pull::Config {
        durable_name: Some("c".to_owned()),
        max_ack_pending: 10_000,
        ..Default::default()
    };
    let consumer: PullConsumer = stream.create_consumer(config).await?;
    let subject = format!("bare-out.{round}.x");
    let watch = Watch::start()?;
    let mut done = 0;
    while done < RECORDS {
        let mut batch = consumer.fetch().max_messages(WINDOW).messages().await?;
        let (mut messages, mut waiting) = (Vec::new(), FuturesUnordered::new());
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| error.to_string())?;
            let ack = jetstream
                .publish_with_headers(
                    subject.clone(),
                    message.headers.clone().unwrap_or_default(),
                    message.payload.clone(),
                )
                .await?;
            waiting.push(ack.into_future());
            messages.push(message);
        }
        while let Some(ack) = waiting.next().await {
            ack?;
        }
        for message in &messages {
            message.ack().await.map_err(|error| error.to_string())?;
        }
        done += messages.len();
    }
    watch.stop(RECORDS)
}

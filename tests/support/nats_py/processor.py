"""Reads raw posts as nats-stream-processor did: URL STREAM SUBJECT CONSUMER."""

import sys

from client import received, run, say, until_told
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy


async def work(client, stream, subject, consumer):
    async def handle(message):
        received(message)

    # It gave no `manual_ack`: each message is acknowledged behind the handler.
    await client.jetstream().subscribe(
        f"{subject}.>",
        queue=consumer,
        durable=consumer,
        stream=stream,
        cb=handle,
        config=ConsumerConfig(
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            max_deliver=3,
            ack_wait=30,
            max_ack_pending=100,
        ),
    )
    say(ready=True)
    await until_told()


run(work, *sys.argv[1:])

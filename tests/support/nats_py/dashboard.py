"""Reads enriched posts as bsky-sentiment-web did, with an ordered consumer for each of the filters:
URL STREAM FILTER..."""

import sys

from client import received, run, say, until_told
from nats.js.api import DeliverPolicy


async def work(client, stream, *filters):
    for subject in filters:

        async def handle(message, subject=subject):
            received(message, filter=subject)

        await client.jetstream().subscribe(
            subject,
            stream=stream,
            cb=handle,
            ordered_consumer=True,
            deliver_policy=DeliverPolicy.NEW,
        )
    say(ready=True)
    await until_told()


run(work, *sys.argv[1:])

"""What the programs in this folder share. They do with nats-py what the replaced services did, and
report on standard output: one JSON object a line. They end when their standard input ends."""

import asyncio
import json
import sys

import nats


def say(**report):
    """Reports."""
    print(json.dumps(report), flush=True)


async def until_told():
    """Waits until standard input ends."""
    await asyncio.to_thread(sys.stdin.read)


def run(work, url, *arguments):
    """Connects and does the work."""

    async def connected():
        client = await nats.connect(url)
        await work(client, *arguments)
        await client.drain()

    asyncio.run(connected())


def received(message, **more):
    """Reports a message of JetStream."""
    payload = json.loads(message.data)
    say(
        subject=message.subject,
        headers=message.headers or {},
        keys=list(payload),
        payload=payload,
        sequence=message.metadata.sequence.stream,
        deliveries=message.metadata.num_delivered,
        **more,
    )

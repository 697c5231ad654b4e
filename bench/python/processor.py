"""Takes records from one stream to another as the replaced processor does, for a comparison.

It does per message what that service did around its models: one message at a time, read the JSON,
look for the text, write the JSON with what is added, publish, wait for the acknowledgement,
acknowledge.

    python processor.py URL STREAM SUBJECT OUTPUT_SUBJECT COUNT

It prints records per second and microseconds of the processor's time for one, from the first
message to the last.
"""

import asyncio
import json
import sys
import time

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

SENTIMENT = {
    "sentiment": "neutral",
    "confidence": 0.5,
    "probabilities": {"negative": 0.25, "neutral": 0.5, "positive": 0.25},
}
TOPICS = {"topics": ["music"], "top_topic": "music", "top_confidence": 0.5}


def text_of(post):
    """The text, where that service looked for it."""
    record = post.get("record")
    nested = record.get("text") if isinstance(record, dict) else None
    return post.get("text") or nested or post.get("content") or post.get("body") or post.get("message")


async def main(url, stream, subject, output_subject, count):
    client = await nats.connect(url)
    jetstream = client.jetstream()
    done = asyncio.Event()
    times = []

    async def handle(message):
        times.append((time.perf_counter(), time.process_time()))
        post = json.loads(message.data.decode())
        if not text_of(post):
            return
        enriched = {**post, "sentiment": SENTIMENT, "topics": TOPICS}
        enriched |= {"processed_at": asyncio.get_running_loop().time(), "processor": "peer"}
        await jetstream.publish(
            f"{output_subject}.neutral.music",
            json.dumps(enriched).encode(),
            timeout=5.0,
            headers={"Nats-Msg-Id": message.headers["Nats-Msg-Id"]},
        )
        if len(times) == count:
            done.set()

    await jetstream.subscribe(
        subject,
        queue="processor",
        durable="processor",
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
    await done.wait()
    elapsed = time.perf_counter() - times[0][0]
    work = time.process_time() - times[0][1]
    await client.drain()
    print(json.dumps({"records_per_second": count / elapsed, "work_us": work * 1e6 / count}))


asyncio.run(main(*sys.argv[1:5], int(sys.argv[5])))

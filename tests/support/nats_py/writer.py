"""Writes raw posts as nats-firehose-ingest or the old mock did: URL ingest|mock STREAM SUBJECT.
The texts come on standard input, one a line."""

import json
import sys
from datetime import datetime, timezone

from client import run, say
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError


def of_ingest(number, text):
    author = f"did:plc:{number:024d}"
    return {
        "uri": f"at://{author}/app.bsky.feed.post/{number}",
        "cid": f"bafyrei{number:052d}",
        "author": author,
        "text": text,
        "created_at": datetime.now(timezone.utc).isoformat(),
    }


def of_mock(number, text):
    return {
        "uri": f"at://test/{number}",
        "text": text,
        "author": f"test-user-{number}",
        "timestamp": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


async def work(client, who, stream, subject):
    jetstream = client.jetstream()
    try:
        await jetstream.stream_info(stream)
    except NotFoundError:
        limits = {} if who == "mock" else {"max_msgs": 5_000_000, "max_age": 0}
        await jetstream.add_stream(
            StreamConfig(
                name=stream,
                subjects=[f"{subject}.>"],
                retention=RetentionPolicy.LIMITS,
                discard=DiscardPolicy.OLD,
                storage=StorageType.FILE,
                num_replicas=1,
                **limits,
            )
        )
    make = of_mock if who == "mock" else of_ingest
    for number, text in enumerate(sys.stdin.read().splitlines()):
        payload = json.dumps(make(number, text), ensure_ascii=False).encode()
        ack = await jetstream.publish(f"{subject}.posts", payload, timeout=2.0)
        say(stream=ack.stream, sequence=ack.seq)


run(work, *sys.argv[1:])

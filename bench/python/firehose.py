"""Decodes recorded firehose frames as the replaced ingest service does, for a comparison.

It does per frame what that service's callback and its loop did: parse the frame, read the CAR,
look up the record of each created post, decode it, filter by length, write JSON.

    python firehose.py FRAMES SECONDS

FRAMES is a file of [u32 little-endian length][frame]*. It prints frames per second and posts per
round, over whole rounds until so many seconds are over.
"""

import json
import struct
import sys
import time

from atproto import CAR, AtUri, firehose_models, models, parse_subscribe_repos_message

MIN_TEXT_LENGTH, MAX_TEXT_LENGTH = 10, 1000


def posts_of(frame):
    """The JSON of each post of a frame that passes the filter."""
    commit = parse_subscribe_repos_message(frame)
    if not isinstance(commit, models.ComAtprotoSyncSubscribeRepos.Commit) or not commit.blocks:
        return []
    car = CAR.from_bytes(commit.blocks)
    found = []
    for op in commit.ops:
        if op.action != "create" or not op.cid:
            continue
        uri = AtUri.from_str(f"at://{commit.repo}/{op.path}")
        if uri.collection != models.ids.AppBskyFeedPost:
            continue
        raw = car.blocks.get(op.cid)
        if not raw:
            continue
        record = models.get_or_create(raw, strict=False)
        text = record.text
        if text is None or not MIN_TEXT_LENGTH <= len(text) <= MAX_TEXT_LENGTH:
            continue
        post = {
            "uri": str(uri),
            "cid": str(op.cid),
            "author": commit.repo,
            "text": text,
            "created_at": record.created_at,
        }
        found.append(json.dumps(post, ensure_ascii=False).encode())
    return found


def frames(path):
    data = open(path, "rb").read()
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        yield data[at + 4 : at + 4 + length]
        at += 4 + length


def main():
    path, seconds = sys.argv[1], float(sys.argv[2])
    recorded = list(frames(path))
    start, rounds, posts = time.process_time(), 0, 0
    while time.process_time() - start < seconds:
        posts = 0
        for data in recorded:
            frame = firehose_models.Frame.from_bytes(data)
            if not isinstance(frame, firehose_models.MessageFrame):
                continue
            posts += len(posts_of(frame))
        rounds += 1
    elapsed = time.process_time() - start
    print(json.dumps({"frames_per_second": rounds * len(recorded) / elapsed, "posts": posts}))


if __name__ == "__main__":
    main()

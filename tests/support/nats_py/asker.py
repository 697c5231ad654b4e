"""Sends requests as any program would: URL. Each line of standard input is a JSON object with
`subject`, and `text` or `base64`. All are sent at once, and that is reported; then the answers, in
the order of the requests."""

import asyncio
import base64
import json
import sys

from client import run, say


async def work(client):
    async def ask(line):
        wanted = json.loads(line)
        text = wanted.get("text")
        payload = base64.b64decode(wanted["base64"]) if text is None else text.encode()
        return await client.request(wanted["subject"], payload, timeout=30)

    asking = [asyncio.create_task(ask(line)) for line in sys.stdin.read().splitlines()]
    await asyncio.sleep(0)
    await client.flush(timeout=30)
    say(sent=len(asking))
    for message in await asyncio.gather(*asking):
        say(headers=message.headers or {}, payload=json.loads(message.data or "null"))


run(work, *sys.argv[1:])

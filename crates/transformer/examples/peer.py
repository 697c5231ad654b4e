"""The same model in ONNX Runtime, for `rate.rs`: its peer.

    pip install onnxruntime numpy tokenizers

Arguments: an ONNX file whose inputs are `input_ids` and `attention_mask`, a `tokenizer.json`, a file of
posts (gzipped, a JSON object with `text` in each line), how many of them, the tokens of a post at most,
and where to write their token ids as JSON. Then a line on stdin, an answer on stdout: `sorted` and
`single` run the model over all posts, sorted by length in batches of 256 tokens and one by one, and
answer with the seconds that this thread had of the processor, without tokenising.
`outputs NAME FILE` writes an output, float32.
"""

import gzip
import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

TOKENS_MAX = 256

model, tokenizer, posts, count, length, ids_file = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file(tokenizer)
tokenizer.no_padding()
tokenizer.enable_truncation(int(length))
with gzip.open(posts, "rt") as lines:
    texts = [text for line in lines if (text := json.loads(line)["text"]).strip()][: int(count)]
rows = [tokenizer.encode(text).ids for text in texts]
Path(ids_file).write_text(json.dumps(rows))
names = {given.name for given in session.get_inputs()}


def batches(tokens_max):
    """Posts of like length, at most so many tokens with their padding, or one."""
    batch = []
    for index in sorted(range(len(rows)), key=lambda index: len(rows[index])):
        if batch and len(rows[index]) * (len(batch) + 1) > tokens_max:
            yield batch
            batch = []
        batch.append(index)
    yield batch


def run(tokens_max, outputs=None):
    """The indexes and the outputs of each batch."""
    for batch in batches(tokens_max):
        ids = np.zeros((len(batch), max(len(rows[index]) for index in batch)), np.int64)
        mask = np.zeros_like(ids)
        for row, index in enumerate(batch):
            ids[row, : len(rows[index])], mask[row, : len(rows[index])] = rows[index], 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        yield batch, session.run(outputs, {name: value for name, value in feeds.items() if name in names})


print("ready", flush=True)
for line in sys.stdin:
    begin = time.process_time()
    match line.split():
        case ["sorted"]:
            list(run(TOKENS_MAX))
        case ["single"]:
            list(run(0))
        case ["outputs", name, path]:
            found = [None] * len(rows)
            for batch, (values,) in run(TOKENS_MAX, [name]):
                for row, index in enumerate(batch):
                    found[index] = values[row]
            np.stack(found).astype("<f4").tofile(path)
    print(time.process_time() - begin, flush=True)

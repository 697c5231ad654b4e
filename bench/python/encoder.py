"""A model in ONNX Runtime, for `bench/src/encoder`: its peer.

    pip install onnxruntime numpy tokenizers

WINGBEAT_CPU is heeded here, too: with avx2, avxvnni or avx512, nothing above that is used.

Arguments: the model, its tokenizer, a JSON file with the cleaned texts, and the names of the outputs.
Then a line on stdin, an answer on stdout. One session with one thread; tokenising is part of it all.

`sorted`, `single`: all texts, sorted by length in batches of 256 tokens, or one by one; answered with
the seconds that this thread had of the processor. `replaced`: one by one with as many threads as ONNX
Runtime likes, as the replaced services did. `alone`: the times of each text by itself, in
milliseconds: their median, and what 99 of 100 do not exceed. `rows FILE`: writes the last output of
all texts, float32. `memory`: the kilobytes.
"""

import json
import os
import sys
import time
from pathlib import Path

import mask_cpu

if (level := os.environ.get("WINGBEAT_CPU")) in mask_cpu.LEVELS:
    mask_cpu.hide_above(level)

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

TOKENS_MAX = 256
LENGTH_MAX = 128

model, texts, names = sys.argv[1], json.loads(Path(sys.argv[3]).read_text()), sys.argv[4:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
# Without this fusion it is faster here: a tenth and more for RoBERTa-base.
session = onnxruntime.InferenceSession(
    model, options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
)
inputs = [value.name for value in session.get_inputs()]
tokenizer = Tokenizer.from_file(sys.argv[2])
tokenizer.no_padding()
tokenizer.enable_truncation(LENGTH_MAX)


def batches(rows):
    """Rows of like length, at most TOKENS_MAX tokens with their padding."""
    batch = []
    for index in sorted(range(len(rows)), key=lambda index: len(rows[index])):
        if batch and len(rows[index]) * (len(batch) + 1) > TOKENS_MAX:
            yield batch
            batch = []
        batch.append(index)
    yield batch


def run(session, rows):
    """The outputs of a batch."""
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, : len(row)], mask[at, : len(row)] = row, 1
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return session.run(names, {name: given[name] for name in inputs})


def read(cut, session=session):
    """The last output of every text; `cut` puts rows of ids into batches."""
    rows = [tokenizer.encode(text).ids for text in texts]
    found = [None] * len(rows)
    for batch in cut(rows):
        for index, row in zip(batch, run(session, [rows[index] for index in batch])[-1]):
            found[index] = row
    return np.stack(found)


def single(rows):
    """Every row by itself."""
    return [[index] for index in range(len(rows))]


def alone():
    """How long a text takes by itself."""
    times = []
    for text in texts:
        begin = time.perf_counter()
        run(session, [tokenizer.encode(text).ids])
        times.append(1e3 * (time.perf_counter() - begin))
    return " ".join(str(np.percentile(times, part)) for part in (50, 99))


def timed(work, *arguments):
    """The processor's seconds."""
    begin = time.process_time()
    work(*arguments)
    return time.process_time() - begin


for line in sys.stdin:
    match line.split():
        case ["sorted"]:
            answer = timed(read, batches)
        case ["single"]:
            answer = timed(read, single)
        case ["replaced"]:
            greedy = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
            answer = timed(read, single, greedy)
        case ["alone"]:
            answer = alone()
        case ["rows", path]:
            read(batches).astype("<f4").tofile(path)
            answer = 0
        case ["memory"]:
            status = Path("/proc/self/status").read_text()
            answer = status.split("VmHWM:")[1].split()[0]
    print(answer, flush=True)

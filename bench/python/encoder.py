"""An encoder in ONNX Runtime, for `bench/src/encoder.rs`: its peer.

    pip install onnxruntime numpy tokenizers

Arguments: the encoder's folder, and a JSON file with the cleaned texts. Then a line on stdin, an
answer on stdout: `sorted` and `single` run the model over all texts, sorted by length in batches of
256 tokens and one by one, and answer with the seconds that this thread had of the processor,
tokenising included. `predecessor FILE` does so one by one with a classifier that `roberta.py` wrote,
on texts of as many tokens, with as many threads as ONNX Runtime likes, as the replaced services did.
`embeddings FILE` writes those of the texts, float32; `memory` says the kilobytes.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

TOKENS_MAX = 256
NAMES = ["sentiment", "topics", "embedding"]

folder, texts = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(folder / "encoder.onnx", options, providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))


def batches(rows):
    """Rows of like length, at most TOKENS_MAX tokens with their padding."""
    batch = []
    for index in sorted(range(len(rows)), key=lambda index: len(rows[index])):
        if batch and len(rows[index]) * (len(batch) + 1) > TOKENS_MAX:
            yield batch
            batch = []
        batch.append(index)
    yield batch


def embed(cut):
    """Every text through the model; `cut` puts rows of ids into batches."""
    rows = [tokenizer.encode(text).ids for text in texts]
    found = [None] * len(rows)
    for batch in cut(rows):
        ids = np.zeros((len(batch), max(len(rows[index]) for index in batch)), np.int64)
        mask = np.zeros_like(ids)
        for row, index in enumerate(batch):
            ids[row, : len(rows[index])], mask[row, : len(rows[index])] = rows[index], 1
        outputs = session.run(NAMES, {"input_ids": ids, "attention_mask": mask})
        for row, index in enumerate(batch):
            found[index] = outputs[2][row]
    return np.stack(found)


def predecessor(path):
    """Every text by itself through a model of the replaced services."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for text in texts:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})


def timed(run, *arguments):
    """The processor's seconds."""
    begin = time.process_time()
    run(*arguments)
    return time.process_time() - begin


for line in sys.stdin:
    match line.split():
        case ["sorted"]:
            answer = timed(embed, batches)
        case ["single"]:
            answer = timed(embed, lambda rows: [[index] for index in range(len(rows))])
        case ["predecessor", path]:
            answer = timed(predecessor, path)
        case ["embeddings", path]:
            embed(batches).astype("<f4").tofile(path)
            answer = 0
        case ["memory"]:
            status = Path("/proc/self/status").read_text()
            answer = status.split("VmHWM:")[1].split()[0]
    print(answer, flush=True)

"""What an ONNX file of the encoder says of texts, by ONNX Runtime."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer
from tqdm import tqdm

from texts import pad, tokens

TOKENS_MAX = 256


def _batches(rows):
    """Rows of like length, at most TOKENS_MAX tokens with their padding."""
    batch, longest = [], 0
    for index in np.argsort([len(row) for row in rows], kind="stable"):
        longest = max(longest, len(rows[index]))
        if batch and longest * (len(batch) + 1) > TOKENS_MAX:
            yield batch
            batch, longest = [], len(rows[index])
        batch.append(index)
    yield batch


def said(model: Path, tokenizer: Tokenizer, texts, processes: int) -> dict[str, np.ndarray]:
    """Every output of the model, a row for each text."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    sizes = [output.shape[1] for output in session.get_outputs()]
    outputs = {name: np.zeros((len(texts), size), np.float32) for name, size in zip(names, sizes, strict=True)}
    rows = tokens(tokenizer, texts)

    def run(batch):
        ids, mask = pad([rows[index] for index in batch])
        found = session.run(names, {"input_ids": ids, "attention_mask": mask})
        for name, value in zip(names, found, strict=True):
            outputs[name][batch] = value

    batches = list(_batches(rows))
    with ThreadPoolExecutor(processes) as pool:
        for _ in tqdm(pool.map(run, batches), total=len(batches), mininterval=5, desc=model.name):
            pass
    return outputs

"""Embeddings by the reference implementation of all-MiniLM-L6-v2: the mean of the last states, in
float32, scaled to length 1. For `bench/src/encoder.rs` and `crates/model/tests/reference.json`.

    pip install torch transformers

Arguments: the folder of the original model, a JSON file with a list of texts, and the file that is
written: float32, or JSON where its name says so.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

TOKENS_MAX = 128
BATCH = 32

folder, texts, out = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
torch.set_num_threads(1)
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
found = torch.zeros(len(texts), model.config.hidden_size)
with torch.inference_mode():
    for begin in range(0, len(order), BATCH):
        batch = order[begin : begin + BATCH]
        inputs = tokenizer(
            [texts[index] for index in batch],
            padding=True,
            truncation=True,
            max_length=TOKENS_MAX,
            return_tensors="pt",
        )
        states = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1)
        mean = (states * mask).sum(1) / mask.sum(1)
        found[batch] = torch.nn.functional.normalize(mean, dim=-1)
if out.suffix == ".json":
    rows = [{"text": text, "embedding": [round(x, 4) for x in row.tolist()]} for text, row in zip(texts, found)]
    out.write_text("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")
else:
    out.write_bytes(found.numpy().astype("<f4").tobytes())

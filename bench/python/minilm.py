"""Exports an encoder as Hugging Face's tools do, with an output for each token, in float32.

    pip install onnx torch transformers

Arguments: the folder of the original model, and the folder that is written.
"""

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModel

original, out = Path(sys.argv[1]), Path(sys.argv[2])
(out / "onnx").mkdir(parents=True)
for name in ["config.json", "tokenizer.json"]:
    shutil.copy(original / name, out / name)
names = ["input_ids", "attention_mask", "token_type_ids"]
axes = {name: {0: "batch", 1: "length"} for name in [*names, "last_hidden_state"]}


class States(torch.nn.Module):
    """The encoder, with plain inputs and output."""

    def __init__(self):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(original, attn_implementation="eager")

    def forward(self, ids, mask, types):
        """The last states of texts."""
        return self.encoder(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state


with torch.no_grad():
    inputs = torch.full((2, 8), 5), torch.ones(2, 8, dtype=torch.int64), torch.zeros(2, 8, dtype=torch.int64)
    torch.onnx.export(
        States().eval(), inputs, out / "onnx/model.onnx", input_names=names, output_names=["last_hidden_state"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip

"""Writes an int8 RoBERTa-base classifier, as the replaced services ran two of: its speed, not its word.

    pip install onnx onnxruntime torch transformers

Argument: the ONNX file to write. The weights are random, for speed does not depend on them.
"""

import sys
import tempfile
from pathlib import Path

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import RobertaConfig, RobertaForSequenceClassification

config = RobertaConfig(vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1, num_labels=3)
config._attn_implementation = "eager"
names = ["input_ids", "attention_mask"]
axes = {name: {0: "batch", 1: "length"} for name in names} | {"logits": {0: "batch"}}


class Logits(torch.nn.Module):
    """The classifier, with plain inputs and output."""

    def __init__(self):
        super().__init__()
        self.classifier = RobertaForSequenceClassification(config)

    def forward(self, ids, mask):
        """The logits of texts."""
        return self.classifier(input_ids=ids, attention_mask=mask).logits


with tempfile.TemporaryDirectory() as folder, torch.no_grad():
    exact = Path(folder) / "model.onnx"
    inputs = torch.full((2, 8), 5), torch.ones(2, 8, dtype=torch.int64)
    torch.onnx.export(
        Logits().eval(), inputs, exact, input_names=names, output_names=["logits"], dynamic_axes=axes, dynamo=False
    )
    quantize_dynamic(exact, sys.argv[1], weight_type=QuantType.QInt8, per_channel=True)

"""Writes a RoBERTa-base classifier as a model by name, in int8, as the replaced services ran two of:
its speed, not its word.

    pip install numpy onnx onnxruntime

Argument: the folder that is written, without a tokenizer. The weights are random, for speed does not
depend on them. The graph is the one that PyTorch's exporter makes of Hugging Face's model.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

VOCABULARY, POSITIONS, LAYERS, HEADS, HIDDEN, INNER = 50_265, 514, 12, 12, 768, 3_072
LABELS = ["negative", "neutral", "positive"]
EPSILON, PADDING = 1e-5, 1
CONFIG = {
    "model_type": "roberta", "architectures": ["RobertaForSequenceClassification"], "hidden_act": "gelu",
    "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "type_vocab_size": 1,
    "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "intermediate_size": INNER, "layer_norm_eps": EPSILON, "pad_token_id": PADDING,
    "id2label": {str(at): label for at, label in enumerate(LABELS)},
}  # fmt: skip


class Graph:
    """A graph in the making: its nodes and its weights."""

    def __init__(self):
        self.nodes, self.weights = [], []
        self.draw = np.random.default_rng(1)

    def weight(self, name, value):
        """A weight; its name."""
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def random(self, name, *shape, around=0.0):
        """Random weights."""
        return self.weight(name, (around + 0.02 * self.draw.standard_normal(shape)).astype(np.float32))

    def add(self, operator, *inputs, **attributes):
        """A node; the name of what it gives."""
        output = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def number(self, value):
        """A number as a weight."""
        kind = np.int64 if isinstance(value, int | list) else np.float32
        return self.weight(f"number_{len(self.weights)}", np.array(value, kind))

    def linear(self, name, inputs, outputs, x):
        """A linear layer."""
        matrix = self.random(f"onnx::MatMul_{len(self.weights)}", inputs, outputs)
        return self.add("Add", self.random(f"{name}.bias", outputs), self.add("MatMul", x, matrix))

    def norm(self, name, x):
        """A layer's norm."""
        scale = self.random(f"{name}.weight", HIDDEN, around=1.0)
        return self.add("LayerNormalization", x, scale, self.random(f"{name}.bias", HIDDEN), axis=-1, epsilon=EPSILON)

    def gelu(self, x):
        """GELU, spelled out."""
        erf = self.add("Erf", self.add("Div", x, self.number(2**0.5)))
        return self.add("Mul", self.add("Mul", x, self.add("Add", erf, self.number(1.0))), self.number(0.5))

    def attention(self, name, x, mask):
        """What a layer's heads gather."""
        size = HIDDEN // HEADS

        def heads(part, order):
            split = self.add("Reshape", self.linear(f"{name}.{part}", HIDDEN, HIDDEN, x), self.number([0, 0, HEADS, size]))
            return self.add("Transpose", split, perm=order)

        queries, keys = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1])
        values = heads("value", [0, 2, 1, 3])
        scores = self.add("Div", self.add("MatMul", queries, keys), self.number(size**0.5))
        shares = self.add("Softmax", self.add("Add", scores, mask), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", shares, values), perm=[0, 2, 1, 3])
        return self.add("Reshape", mixed, self.number([0, 0, HIDDEN]))

    def layer(self, name, x, mask):
        """A layer."""
        mixed = self.attention(f"{name}.attention.self", x, mask)
        added = self.linear(f"{name}.attention.output.dense", HIDDEN, HIDDEN, mixed)
        x = self.norm(f"{name}.attention.output.LayerNorm", self.add("Add", added, x))
        inner = self.gelu(self.linear(f"{name}.intermediate.dense", HIDDEN, INNER, x))
        added = self.linear(f"{name}.output.dense", INNER, HIDDEN, inner)
        return self.norm(f"{name}.output.LayerNorm", self.add("Add", added, x))

    def embeddings(self):
        """The first states: words, positions counted from behind the padding's, the one type."""
        seen = self.add("Cast", "attention_mask", to=TensorProto.INT64)
        places = self.add("Mul", self.add("CumSum", seen, self.number(1)), seen)
        places = self.add("Add", places, self.number(PADDING))
        name = "roberta.embeddings"
        words = self.random(f"{name}.word_embeddings.weight", VOCABULARY, HIDDEN)
        positions = self.random(f"{name}.position_embeddings.weight", POSITIONS, HIDDEN)
        kind = self.random(f"{name}.token_type_embeddings.weight", 1, HIDDEN)
        found = self.add("Add", self.add("Gather", words, "input_ids"), self.add("Gather", positions, places))
        return self.norm(f"{name}.LayerNorm", self.add("Add", found, kind))


graph = Graph()
seen = graph.add("Cast", graph.add("Unsqueeze", "attention_mask", graph.number([1, 2])), to=TensorProto.FLOAT)
mask = graph.add("Mul", graph.add("Sub", graph.number(1.0), seen), graph.number(-1e4))
states = graph.embeddings()
for layer in range(LAYERS):
    states = graph.layer(f"roberta.encoder.layer.{layer}", states, mask)
first = graph.add("Gather", states, graph.number(0), axis=1)
dense = graph.add("Tanh", graph.linear("classifier.dense", HIDDEN, HIDDEN, first))
last = graph.linear("classifier.out_proj", HIDDEN, len(LABELS), dense)
graph.nodes.append(helper.make_node("Identity", [last], ["logits"]))

inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "length"]) for name in ("input_ids", "attention_mask")]
outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(LABELS)])]
made = helper.make_graph(graph.nodes, "roberta", inputs, outputs, graph.weights)
out = Path(sys.argv[1])
(out / "onnx").mkdir(parents=True)
(out / "config.json").write_text(json.dumps(CONFIG))
with tempfile.TemporaryDirectory() as folder:
    exact = Path(folder) / "model.onnx"
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, exact)
    quantize_dynamic(exact, out / "onnx/model_int8.onnx", weight_type=QuantType.QInt8, per_channel=True)

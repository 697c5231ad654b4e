"""Writes the encoder as an ONNX graph, and its int8 twin.

The graph is built node by node, so that it holds what is needed and nothing else: one matrix
product for query, key and value, position and segment embeddings in one table, no shape arithmetic
that the runtime would have to see through.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

OPSET = 17
# Added to the scores of tokens that are padding.
HIDDEN = -10_000.0


class Graph:
    """An ONNX graph in the making."""

    def __init__(self):
        self.nodes, self.constants = [], {}

    def constant(self, name, value):
        """A constant by this name, made once."""
        self.constants.setdefault(name, numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def add(self, op, inputs, name, outputs=1, **attributes):
        """A node; gives the name of its output, or their names."""
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=name, **attributes))
        return names[0] if outputs == 1 else names

    def int64(self, *values):
        """A constant list of integers."""
        return self.constant(f"int64.{values}", np.array(values, np.int64))

    def linear(self, x, weight, bias, name):
        """x @ weight.T + bias, for weights as torch stores them."""
        product = self.add("MatMul", [x, self.constant(f"{name}.weight", weight.T)], f"{name}.matmul")
        return self.add("Add", [product, self.constant(f"{name}.bias", bias)], f"{name}.add")

    def norm(self, x, weight, bias, epsilon, name):
        """Layer normalisation over the last axis."""
        scale, shift = self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)
        return self.add("LayerNormalization", [x, scale, shift], name, axis=-1, epsilon=epsilon)

    def gelu(self, x, name):
        """The exact GELU, in the form that runtimes know how to fuse."""
        root = self.constant("sqrt2", np.array(2**0.5, np.float32))
        one = self.constant("one", np.array(1, np.float32))
        half = self.constant("half", np.array(0.5, np.float32))
        erf = self.add("Erf", [self.add("Div", [x, root], f"{name}.div")], f"{name}.erf")
        product = self.add("Mul", [x, self.add("Add", [erf, one], f"{name}.add")], f"{name}.mul")
        return self.add("Mul", [product, half], name)


def embeddings(graph, weights, epsilon, quantised):
    """The sum of word and position embeddings, normalised: [n, len, width]."""
    words = weights["embeddings.word_embeddings.weight"]
    if quantised:
        # One scale per word: a scale for the whole table would drown most words in rounding.
        scales = np.abs(words).max(axis=1, keepdims=True) / 127
        table = np.round(words / np.maximum(scales, 1e-12)).astype(np.int8)
        rows = graph.add("Gather", [graph.constant("words", table), "input_ids"], "words.rows")
        one = graph.constant("words.one", np.array(1, np.float32))
        zero = graph.constant("words.zero", np.array(0, np.int8))
        rows = graph.add("DequantizeLinear", [rows, one, zero], "words.float")
        scales = graph.constant("words.scale", scales.astype(np.float32))
        scales = graph.add("Gather", [scales, "input_ids"], "words.scales")
        rows = graph.add("Mul", [rows, scales], "words.scaled")
    else:
        rows = graph.add("Gather", [graph.constant("words", words), "input_ids"], "words.rows")
    positions = weights["embeddings.position_embeddings.weight"]
    positions = positions + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.add("Shape", ["input_ids"], "length.shape", start=1, end=2)
    positions = graph.add(
        "Slice", [graph.constant("positions", positions), graph.int64(0), length, graph.int64(0)], "positions.rows"
    )
    total = graph.add("Add", [rows, positions], "embeddings.sum")
    norm = (weights["embeddings.LayerNorm.weight"], weights["embeddings.LayerNorm.bias"])
    return graph.norm(total, *norm, epsilon, "embeddings.norm")


def layer(graph, x, weights, name, heads, epsilon, mask):
    """One transformer layer."""
    part = {key.removeprefix(name): value for key, value in weights.items() if key.startswith(name)}
    width = part["attention.self.query.weight"].shape[0]
    size = width // heads
    # The scores' divisor is in the query's weights.
    parts = [("query", size**-0.5), ("key", 1), ("value", 1)]
    weight = np.concatenate([part[f"attention.self.{key}.weight"] * np.float32(scale) for key, scale in parts])
    bias = np.concatenate([part[f"attention.self.{key}.bias"] * np.float32(scale) for key, scale in parts])
    qkv = graph.linear(x, weight, bias, f"{name}qkv")
    qkv = graph.add("Split", [qkv, graph.int64(width, width, width)], f"{name}split", outputs=3, axis=-1)
    shape = graph.int64(0, 0, heads, size)
    split = [graph.add("Reshape", [value, shape], f"{name}heads.{i}") for i, value in enumerate(qkv)]
    orders = [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]]
    q, k, v = (
        graph.add("Transpose", [value], f"{name}heads.{i}.turned", perm=order)
        for i, (value, order) in enumerate(zip(split, orders, strict=True))
    )
    scores = graph.add("MatMul", [q, k], f"{name}scores")
    scores = graph.add("Add", [scores, mask], f"{name}scores.masked")
    shares = graph.add("Softmax", [scores], f"{name}shares", axis=-1)
    mixed = graph.add("MatMul", [shares, v], f"{name}mixed")
    mixed = graph.add("Transpose", [mixed], f"{name}mixed.turned", perm=[0, 2, 1, 3])
    mixed = graph.add("Reshape", [mixed, graph.int64(0, 0, width)], f"{name}mixed.joined")

    def sublayer(inner, residual, key):
        dense = graph.linear(inner, part[f"{key}.dense.weight"], part[f"{key}.dense.bias"], f"{name}{key}")
        total = graph.add("Add", [dense, residual], f"{name}{key}.residual")
        norm = (part[f"{key}.LayerNorm.weight"], part[f"{key}.LayerNorm.bias"])
        return graph.norm(total, *norm, epsilon, f"{name}{key}.norm")

    x = sublayer(mixed, x, "attention.output")
    inner = part["intermediate.dense.weight"], part["intermediate.dense.bias"]
    inner = graph.gelu(graph.linear(x, *inner, f"{name}intermediate"), f"{name}gelu")
    return sublayer(inner, x, "output")


def heads(graph, x, weights):
    """The three outputs from the last layer's states."""
    last = graph.int64(-1)
    mask = graph.add("Unsqueeze", ["mask", last], "mask.column")
    masked = graph.add("Mul", [x, mask], "mean.masked")
    count = graph.add("ReduceSum", [mask, graph.int64(1)], "mean.count", keepdims=0)
    total = graph.add("ReduceSum", [masked, graph.int64(1)], "mean.sum", keepdims=0)
    mean = graph.add("Div", [total, count], "mean")
    first = graph.add("Gather", [x, graph.constant("first", np.array(0, np.int64))], "first.state", axis=1)
    # Attention pooling: each token has a score, the softmax of the scores is its share.
    scores = graph.linear(x, weights["attention.weight"], weights["attention.bias"], "pool.scores")
    hidden = graph.add("Unsqueeze", ["mask.hidden", last], "pool.hidden")
    scores = graph.add("Add", [scores, hidden], "pool.masked")
    shares = graph.add("Softmax", [scores], "pool.shares", axis=1)
    pooled = graph.add("Mul", [x, shares], "pool.weighted")
    pooled = graph.add("ReduceSum", [pooled, graph.int64(1)], "pool", keepdims=0)
    features = graph.add("Concat", [mean, first, pooled], "features", axis=-1)
    dense = graph.linear(features, weights["sentiment.0.weight"], weights["sentiment.0.bias"], "sentiment.dense")
    dense = graph.gelu(dense, "sentiment.gelu")
    for name, inner, key in [("sentiment", dense, "sentiment.3"), ("topics", features, "topics")]:
        logits = graph.linear(inner, weights[f"{key}.weight"], weights[f"{key}.bias"], f"{name}.logits")
        graph.add("Identity", [logits], name)
    length = graph.add("ReduceL2", [mean], "embedding.length", axes=[-1], keepdims=1)
    graph.add("Div", [mean, length], "embedding")


def build(weights, config, quantised=False, inner=False):
    """The model. `weights`: names as in the network, numpy arrays. `config`: heads, layers, epsilon.

    `inner` adds an output: what the heads read.
    """
    graph = Graph()
    graph.add("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    shown = graph.add("Sub", [graph.constant("one", np.array(1, np.float32)), "mask"], "mask.padding")
    graph.add("Mul", [shown, graph.constant("hide", np.array(HIDDEN, np.float32))], "mask.hidden")
    mask = graph.add("Unsqueeze", ["mask.hidden", graph.int64(1, 2)], "mask.scores")
    x = embeddings(graph, weights, config["epsilon"], quantised)
    for index in range(config["layers"]):
        x = layer(graph, x, weights, f"layer.{index}.", config["heads"], config["epsilon"], mask)
    heads(graph, x, weights)
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "length"]) for name in ("input_ids", "attention_mask")]
    sizes = {
        "sentiment": weights["sentiment.3.bias"].shape[0],
        "topics": weights["topics.bias"].shape[0],
        "embedding": weights["embeddings.LayerNorm.bias"].shape[0],
    }
    if inner:
        sizes["features"] = weights["topics.weight"].shape[1]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in sizes.items()]
    made = helper.make_graph(graph.nodes, "encoder", inputs, outputs, list(graph.constants.values()))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="wingbeat")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def write(weights, config, path: Path, exact: Path | None = None, inner=False):
    """Writes the int8 model to `path`, and the float one to `exact`.

    int8: the word table by row, the layers' matrices by column, both signed; activations are
    quantised as they come. The heads stay float: they are small, and what they say is final.
    """
    if exact:
        onnx.save(build(weights, config), exact)
    onnx.save(build(weights, config, quantised=True, inner=inner), path)
    layers = [node.name for node in onnx.load(path).graph.node if node.op_type == "MatMul"]
    layers = [name for name in layers if name.startswith("layer.") and name.endswith(".matmul")]
    quantize_dynamic(
        path,
        path,
        op_types_to_quantize=["MatMul"],
        nodes_to_quantize=layers,
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    onnx.checker.check_model(onnx.load(path), full_check=True)

"""Makes the models of the tests beside this file: what each says of a text is the mean of what it says of its words,
which are those of ../encoder. They have places for 32 tokens.

    pip install onnx==1.23.2 numpy && python make.py
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent
WORDS = json.loads((FOLDER / "../encoder/tokenizer.json").read_text())["model"]["vocab"]
PLACES = 32


def table(width, said):
    """What each word says; nothing in it but for `said`: word, column, value."""
    rows = np.zeros((len(WORDS), width), np.float32)
    for word, column, value in said:
        rows[WORDS[word], column] = value
    return rows


def model(name, rows, pooled, has_types):
    """A model over these rows. `pooled`: the mean of a text's words; otherwise the row of each."""
    width = rows.shape[1]
    constants = {
        "rows": rows,
        "places": np.zeros((PLACES, width), np.float32),
        "kinds": np.zeros((2, width), np.float32),
        "zero": np.array(0, np.int64),
        "step": np.array(1, np.int64),
        "one": np.array([1], np.int64),
        "last": np.array([-1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["rows", "input_ids"], ["words"]),
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Gather", ["shape", "step"], ["length"]),
        helper.make_node("Range", ["zero", "length", "step"], ["range"]),
        helper.make_node("Gather", ["places", "range"], ["place"]),
        helper.make_node("Add", ["words", "place"], ["placed"]),
    ]
    if has_types:
        nodes += [
            helper.make_node("Gather", ["kinds", "token_type_ids"], ["kind"]),
            helper.make_node("Add", ["placed", "kind"], ["tokens"]),
        ]
    else:
        nodes += [helper.make_node("Identity", ["placed"], ["tokens"])]
    nodes += [helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Unsqueeze", ["mask", "last"], ["column"])]
    if pooled:
        nodes += [
            helper.make_node("Mul", ["tokens", "column"], ["shown"]),
            helper.make_node("ReduceSum", ["shown", "one"], ["sum"], keepdims=0),
            helper.make_node("ReduceSum", ["column", "one"], ["count"], keepdims=0),
            helper.make_node("Div", ["sum", "count"], ["logits"]),
        ]
        output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", width])
    else:
        # Padding says something that must not be heard.
        nodes += [
            helper.make_node("Sub", ["column", "float"], ["noise"]),
            helper.make_node("Add", ["tokens", "noise"], ["last_hidden_state"]),
        ]
        constants["float"] = np.array([[1]], np.float32)
        output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["n", "length", width])
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * has_types
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "length"]) for name in names]
    used = {name for node in nodes for name in node.input}
    initializers = [numpy_helper.from_array(value, key) for key, value in constants.items() if key in used]
    graph = helper.make_graph(nodes, name, inputs, [output], initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="wingbeat")
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, FOLDER / f"{name}.onnx")


# Negative, neutral, positive.
model("sentiment", table(3, [("good", 2, 24), ("bad", 0, 24), ("day", 1, 24)]), True, True)
# Matches, songs, weather, other: each by itself.
topics = table(4, [("goal", 0, 60), ("song", 1, 60), ("day", 2, 60)]) - 4
model("topics", topics, True, False)
directions = table(8, [("good", 0, 3), ("bad", 4, 3), ("[CLS]", 1, 1), ("[SEP]", 2, 2), ("[PAD]", 3, 9)])
model("embedding", directions, False, True)

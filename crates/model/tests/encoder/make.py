"""Makes the encoder of the tests beside this file: a few words, whose mean is what it says.

    pip install onnx==1.23.2 numpy && python make.py
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "day", "goal", "song", "the", "user", "@", ".", "!", "##s"]
SENTIMENTS = ["negative", "neutral", "positive"]
TOPICS = (
    "arts_&_culture business_&_entrepreneurs celebrity_&_pop_culture diaries_&_daily_life family fashion_&_style "
    "film_tv_&_video fitness_&_health food_&_dining gaming learning_&_educational music news_&_social_concern "
    "other_hobbies relationships science_&_technology sports travel_&_adventure youth_&_student_life"
).split()
EMBEDDING = 8

# What each word adds: sentiment, topics, embedding.
table = np.zeros((len(WORDS), len(SENTIMENTS) + len(TOPICS) + EMBEDDING), np.float32)
table[:, len(SENTIMENTS) : len(SENTIMENTS) + len(TOPICS)] = -4
table[:, -EMBEDDING:] = np.random.default_rng(1).normal(size=(len(WORDS), EMBEDDING))
table[WORDS.index("good"), SENTIMENTS.index("positive")] = 12
table[WORDS.index("bad"), SENTIMENTS.index("negative")] = 12
table[WORDS.index("goal"), len(SENTIMENTS) + TOPICS.index("sports")] = 30
table[WORDS.index("song"), len(SENTIMENTS) + TOPICS.index("music")] = 30

splits = np.array([len(SENTIMENTS), len(TOPICS), EMBEDDING], np.int64)
constants = {"table": table, "splits": splits, "one": np.array([1], np.int64), "last": np.array([-1], np.int64)}
nodes = [
    helper.make_node("Gather", ["table", "input_ids"], ["words"]),
    helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
    helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
    helper.make_node("Mul", ["words", "column"], ["shown"]),
    helper.make_node("ReduceSum", ["shown", "one"], ["sum"], keepdims=0),
    helper.make_node("ReduceSum", ["column", "one"], ["count"], keepdims=0),
    helper.make_node("Div", ["sum", "count"], ["mean"]),
    helper.make_node("Split", ["mean", "splits"], ["sentiment", "topics", "vector"], axis=-1),
    helper.make_node("ReduceL2", ["vector"], ["length"], axes=[-1], keepdims=1),
    helper.make_node("Div", ["vector", "length"], ["embedding"]),
]
inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "length"]) for name in ("input_ids", "attention_mask")]
sizes = {"sentiment": len(SENTIMENTS), "topics": len(TOPICS), "embedding": EMBEDDING}
outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in sizes.items()]
initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
graph = helper.make_graph(nodes, "test", inputs, outputs, initializers)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="wingbeat")
onnx.checker.check_model(model, full_check=True)
onnx.save(model, FOLDER / "encoder.onnx")

special = [{"id": i, "content": WORDS[i], "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False} for i in range(4)]
token = lambda word: {"SpecialToken": {"id": word, "type_id": 0}}
tokenizer = {
    "version": "1.0",
    "truncation": None,
    "padding": {"strategy": {"Fixed": 32}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
    "added_tokens": special,
    "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [token("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, token("[SEP]")],
        "pair": [token("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, token("[SEP]"), {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
        "special_tokens": {word: {"id": word, "ids": [WORDS.index(word)], "tokens": [word]} for word in ("[CLS]", "[SEP]")},
    },
    "decoder": None,
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": {word: i for i, word in enumerate(WORDS)}},
}
(FOLDER / "tokenizer.json").write_text(json.dumps(tokenizer))

checksum = lambda name: {"sha256": hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()}
card = {
    "version": 1,
    "onnx": checksum("encoder.onnx"),
    "tokenizer": checksum("tokenizer.json"),
    "length_max": 32,
    "normalisation": [{"name": "mentions", "pattern": "@\\w+", "replace": "@user"}],
    "embedding": {"size": EMBEDDING},
    "sentiment": {"labels": SENTIMENTS, "encoder": 1.0, "linear": 0.0, "bias": [0.0] * len(SENTIMENTS)},
    "topics": {"labels": TOPICS, "encoder": 1.0, "linear": 0.0, "bias": [0.0] * len(TOPICS)},
}
(FOLDER / "encoder.json").write_text(json.dumps(card, indent=2) + "\n")

"""How a text is cleaned and cut into tokens. The program does the same, by encoder.json."""

import html
import json
import re
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

LENGTH_MAX = 128
# In this order. What a rule finds is replaced; entities and escapes by the character they stand for.
RULES = [
    {"name": "escapes", "pattern": r"\\u([0-9a-fA-F]{4})", "replace": "the character"},
    {"name": "entities", "pattern": "&(amp|lt|gt|quot|#39);", "replace": "the character"},
    {"name": "links", "pattern": r"\bhttps?\b(?:://\S*)?", "replace": ""},
    {"name": "mentions", "pattern": r"(^|[^\w@.])@\w(?:[\w.-]*\w)?", "replace": "$1@user"},
]
_ESCAPES, _ENTITIES, _LINKS, _MENTIONS = (re.compile(rule["pattern"]) for rule in RULES)


def _character(match):
    code = int(match[1], 16)
    return match[0] if 0xD800 <= code < 0xE000 else chr(code)


def clean(text: str) -> str:
    """A text as the encoder reads it."""
    text = _ESCAPES.sub(_character, text)
    text = _ENTITIES.sub(lambda match: html.unescape(match[0]), text)
    text = _LINKS.sub("", text)
    return _MENTIONS.sub(r"\1@user", text)


def trimmed(path: Path) -> tuple[str, list[int]]:
    """The tokenizer without its unused words, as JSON, and which words are kept."""
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    words = sorted(vocabulary, key=vocabulary.get)
    kept = [word for word in words if not re.fullmatch(r"\[unused\d+\]", word)]
    new = {word: index for index, word in enumerate(kept)}
    tokenizer["model"]["vocab"] = new
    for token in tokenizer["added_tokens"]:
        token["id"] = new[token["content"]]
    for token in tokenizer["post_processor"].get("special_tokens", {}).values():
        token["ids"] = [new[word] for word in token["tokens"]]
    tokenizer["truncation"] = {
        "direction": "Right", "max_length": LENGTH_MAX, "strategy": "LongestFirst", "stride": 0
    }
    tokenizer["padding"] = None
    return json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), [vocabulary[word] for word in kept]


def tokens(tokenizer: Tokenizer, texts) -> list[np.ndarray]:
    """The ids of each text, cleaned."""
    return [np.array(row.ids, np.int64) for row in tokenizer.encode_batch([clean(text) for text in texts])]


def pad(rows) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ids as one array, and its mask."""
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)], mask[index, : len(row)] = row, 1
    return ids, mask

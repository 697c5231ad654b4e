"""The texts to learn from and to measure with. models/linear reads the same ones the same way."""

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from network import SENTIMENTS, TOPICS

# Rows that share so many words in a row with the validation split are the same tweets.
SHARED_WORDS = 8
# Every so many-th is held out.
TWEETS_HELD_OUT = 16
POSTS_HELD_OUT = 5
TOPICS_HELD_OUT = 10


@dataclass
class Sentiments:
    """Tweets and their classes."""

    texts: list[str]
    classes: np.ndarray


@dataclass
class Topics:
    """Texts, whether each topic is theirs, and how much that counts in learning."""

    texts: list[str]
    targets: np.ndarray
    weights: np.ndarray


def _lines(path: Path):
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\n")


def _table(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in list(_lines(path))[1:]]


def _words(text: str) -> list[str]:
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    return re.findall(r"[^\W_]+", text.lower())


def _runs(text: str) -> set[str]:
    words = _words(text)
    return {" ".join(words[at : at + SHARED_WORDS]) for at in range(len(words) - SHARED_WORDS + 1)}


def _sentiments(rows) -> Sentiments:
    return Sentiments([row[1] for row in rows], np.array([SENTIMENTS.index(row[0]) for row in rows]))


def sentiments(data: Path) -> tuple[Sentiments, Sentiments]:
    """Tweets to learn from, without those of the validation split, and the validation split."""
    validation = _table(data / "sentiment/semeval_val.tsv.gz")
    known = set().union(*(_runs(row[1]) for row in validation))
    train = [row for row in _table(data / "sentiment/semeval_train.tsv.gz") if not _runs(row[1]) & known]
    return _sentiments(train), _sentiments(validation)


def posts(data: Path) -> list[str]:
    """Posts without labels."""
    return [json.loads(line)["text"] for line in _lines(data / "posts/bluesky_posts.jsonl.gz")]


def topics(data: Path) -> Topics:
    """Labelled tweets."""
    rows = [json.loads(line) for line in _lines(data / "topics/xtopic_en.jsonl.gz")]
    targets = np.array([[topic in row["labels"] for topic in TOPICS] for row in rows], np.float32)
    return Topics([row["text"] for row in rows], targets, np.ones_like(targets))


def sections() -> dict[str, tuple[list[int], list[int]]]:
    """Which topics a headline of a section surely and possibly has, as models/linear has it."""
    source = (Path(__file__).parent.parent / "linear/src/sections.rs").read_text()
    names = dict(re.findall(r'const (\w+): &str = "([^"]+)";', source))

    def indices(list_of_names):
        return [TOPICS.index(names[name]) for name in re.findall(r"\w+", list_of_names)]

    found = re.findall(r'section\("([^"]+)", &\[([^\]]*)\], &\[([^\]]*)\]\)', source)
    return {name: (indices(certain), indices(possible)) for name, certain, possible in found}


def headlines(data: Path, every: int) -> Topics:
    """Every so many-th headline with guessed topics: what a section can't tell does not count."""
    known = sections()
    rows = [row for row in _table(data / "topics/huffpost_headlines.tsv.gz") if row[0] in known][::every]
    targets = np.zeros((len(rows), len(TOPICS)), np.float32)
    weights = np.ones_like(targets)
    weights[:, TOPICS.index("other_hobbies")] = 0
    for index, row in enumerate(rows):
        certain, possible = known[row[0]]
        weights[index, possible] = 0
        targets[index, certain], weights[index, certain] = 1, 1
    return Topics([row[1] for row in rows], targets, weights)


def is_held_out(count: int, every: int) -> np.ndarray:
    """Which of `count` rows are kept for measuring."""
    return np.arange(count) % every == every - 1


def linear(path: Path, texts: list[str], which: str) -> np.ndarray:
    """What the linear model says of `texts`, none of which it had learnt from."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    rows = [row for row in rows if row["set"] == which]
    if [row["text"] for row in rows] != texts:
        raise SystemExit(f"error: {path} was made from other texts; make it anew with wingbeat-train-linear")
    return np.array([row["logits"] for row in rows], np.float32)

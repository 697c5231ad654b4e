"""The figures of the card."""

import numpy as np
from scipy.stats import spearmanr

import fit

BINS = 15
PAIRS = 5_000
MARK_BEGIN, MARK_END = "<!-- measured: begin -->", "<!-- measured: end -->"


def softmax(logits):
    """Probabilities of logits."""
    logits = np.exp(logits - logits.max(-1, keepdims=True))
    return logits / logits.sum(-1, keepdims=True)


def recalls(logits, classes):
    """How many of each class are found."""
    best = logits.argmax(-1)
    return np.array([(best[classes == label] == label).mean() for label in range(logits.shape[1])])


def confusion(logits, classes):
    """A row for each true class."""
    table = np.zeros((logits.shape[1],) * 2, int)
    np.add.at(table, (classes, logits.argmax(-1)), 1)
    return table


def macro_f1(logits, classes):
    """The mean F1 of the classes."""
    table = confusion(logits, classes)
    return float(np.mean(2 * np.diag(table) / (table.sum(0) + table.sum(1))))


def calibration_error(logits, classes):
    """The expected calibration error over BINS bins of the best class's probability."""
    shares = softmax(logits)
    sure, right = shares.max(-1), shares.argmax(-1) == classes
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    parts = [(bins == at) for at in range(BINS)]
    return float(sum(part.mean() * abs(sure[part].mean() - right[part].mean()) for part in parts if part.any()))


def likeness(embeddings, teacher, seed=11):
    """Spearman's correlation of the similarities of random pairs, and the mean cosine to the teacher."""
    draw = np.random.default_rng(seed)
    left, right = draw.integers(0, len(teacher), (2, 2 * PAIRS))
    left, right = left[left != right][:PAIRS], right[left != right][:PAIRS]
    of_pairs = [(vectors[left] * vectors[right]).sum(1) for vectors in (embeddings, teacher)]
    return float(spearmanr(*of_pairs).statistic), float((embeddings * teacher).sum(1).mean())


def table(header, rows):
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    text = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in text)


def sentiment_row(name, logits, classes):
    """A row of the table of sentiment."""
    of_each = [float(value) for value in recalls(logits, classes)]
    error = calibration_error(logits, classes)
    return [name, float(np.mean(of_each)), *of_each, macro_f1(logits, classes), error]


def update(card, text):
    """Writes the figures between their marks."""
    before, _, rest = card.read_text().partition(MARK_BEGIN)
    _, _, after = rest.partition(MARK_END)
    card.write_text(f"{before}{MARK_BEGIN}\n\n{text}\n\n{MARK_END}{after}")


def topic_rows(names, targets, logits):
    """A row for every topic: how many tweets have it, and its F1."""
    there = targets > 0.5
    of_each = fit.f1_of_each(there, fit.given(logits))
    return [[name, int(count), float(value)] for name, count, value in zip(names, there.sum(0), of_each, strict=True)]

"""Makes the embedded encoder: trains it, fits what is fitted afterwards, writes its files and card.

    python models/encoder/train.py --data DATA --base MODEL --linear PREDICTIONS --work WORK

Every stage keeps its result in WORK; a stage whose result is there is not done again.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import logging

import corpus
import finetune
import fit
import graph
import measure
import package
import teacher
import texts
from network import SENTIMENTS, TOPICS, Network
from said import said

# Every so many-th headline is learnt from, every so many-th held-out post is measured with.
HEADLINES_EVERY, POSTS_EVERY = 8, 3


def arguments():
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Trains the embedded encoder, and writes its files and its card.")
    parser.add_argument("--data", type=Path, required=True, help="the folder with sentiment/, topics/ and posts/")
    parser.add_argument("--base", type=Path, required=True, help="the folder with all-MiniLM-L6-v2 and its tokenizer.json")
    parser.add_argument("--linear", type=Path, required=True, help="what wingbeat-train-linear wrote with --predictions")
    parser.add_argument("--work", type=Path, required=True, help="a folder for checkpoints, outside the repository")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="the folder of the model and its card")
    parser.add_argument("--processes", type=int, default=2, help="one per core")
    return parser.parse_args()


def one_hot(classes):
    """Classes as targets."""
    return np.eye(len(SENTIMENTS), dtype=np.float32)[classes]


def finetuned(options, tokenizer) -> Network:
    """The trained network."""
    train, _ = corpus.sentiments(options.data)
    ids = texts.tokens(tokenizer, train.texts)
    tweets_teacher = teacher.embeddings(options.base, ids, options.work / "teacher-tweets.pt", options.processes)
    # The teacher reads posts as they are; the student reads them cleaned.
    posts = corpus.posts(options.data)
    tokenizer.enable_truncation(teacher.LENGTH_MAX)
    raw = [np.array(row.ids) for row in tokenizer.encode_batch(posts)]
    tokenizer.enable_truncation(texts.LENGTH_MAX)
    posts_teacher = teacher.embeddings(options.base, raw, options.work / "teacher-posts.pt", options.processes)

    out = corpus.is_held_out(len(ids), corpus.TWEETS_HELD_OUT)
    linear = measure.softmax(corpus.linear(options.linear / "sentiment.jsonl", train.texts, "fold"))
    counts = np.bincount(train.classes[~out])
    learnt = np.flatnonzero(~out)
    tweets = finetune.Tweets(
        [ids[row] for row in learnt],
        torch.from_numpy(one_hot(train.classes[learnt])),
        torch.from_numpy(linear[learnt]).float(),
        torch.from_numpy((counts.sum() / (len(counts) * counts))[train.classes[learnt]]).float(),
        tweets_teacher[learnt],
    )
    learnt = np.flatnonzero(~corpus.is_held_out(len(posts), corpus.POSTS_HELD_OUT))
    post_ids = texts.tokens(tokenizer, [posts[row] for row in learnt])
    sets = {"tweets": tweets, "posts": finetune.Posts(post_ids, posts_teacher[learnt])}
    measured = finetune.Measured([ids[row] for row in np.flatnonzero(out)], train.classes[out])
    return finetune.train(options.base, sets, measured, options.work, options.processes)


class Stage:
    """What the last stages share: the texts' sets, and what the models say of them."""

    def __init__(self, options):
        self.options = options
        self.tokenizer_json, self.kept = texts.trimmed(options.base / "tokenizer.json")
        self.tokenizer = Tokenizer.from_str(self.tokenizer_json)
        train, self.validation = corpus.sentiments(options.data)
        out = corpus.is_held_out(len(train.texts), corpus.TWEETS_HELD_OUT)
        self.tweets = [train.texts[row] for row in np.flatnonzero(out)]
        self.classes = train.classes[out]
        path = options.linear / "sentiment.jsonl"
        self.linear = corpus.linear(path, train.texts, "fold")[out]
        self.linear_validation = corpus.linear(path, self.validation.texts, "held out")
        self.posts = corpus.posts(options.data)
        self.posts_out = corpus.is_held_out(len(self.posts), corpus.POSTS_HELD_OUT)
        self.teacher = torch.load(options.work / "teacher-posts.pt").numpy()
        self.topics = corpus.topics(options.data)
        self.topics_out = corpus.is_held_out(len(self.topics.texts), corpus.TOPICS_HELD_OUT)
        path = options.linear / "topics.jsonl"
        labelled = np.array(self.topics.texts, object)
        self.linear_topics = np.zeros_like(self.topics.targets)
        for rows, which in [(~self.topics_out, "fold"), (self.topics_out, "held out")]:
            self.linear_topics[rows] = corpus.linear(path, labelled[rows].tolist(), which)

    def said(self, model, lines):
        """What an ONNX file says of texts."""
        return said(model, self.tokenizer, lines, self.options.processes)


def topic_head(features, targets, weights, guessed, l2):
    """The head from labelled tweets and guessed headlines."""
    guessed_features, headlines = guessed
    counts = np.where(headlines.targets > 0, fit.GUESSED, fit.GUESSED_ABSENT) * headlines.weights
    return fit.logistic(
        np.concatenate([features, guessed_features]),
        np.concatenate([targets, headlines.targets]),
        np.concatenate([weights, counts]),
        l2,
    )


def fitted(stage, network) -> tuple[dict, dict]:
    """Fits the topics and the blends; the blends, and what was said of the texts that decided them."""
    options = stage.options
    model = options.work / "features.onnx"
    graph.write(*package.parts(network, stage.kept), model, inner=True)
    tweets = stage.said(model, stage.tweets)
    blend = {"sentiment": fit.blend_sentiment(tweets["sentiment"], stage.linear, stage.classes)}

    headlines = corpus.headlines(options.data, HEADLINES_EVERY)
    guessed = stage.said(model, headlines.texts)["features"], headlines
    inside = np.flatnonzero(~stage.topics_out)
    labelled = stage.said(model, [stage.topics.texts[row] for row in inside])["features"]
    targets, weights = stage.topics.targets[inside], stage.topics.weights[inside]
    linear = stage.linear_topics[inside]
    fold = np.arange(len(inside)) % fit.FOLDS
    logits = np.zeros_like(targets)
    for out in range(fit.FOLDS):
        rows = fold != out
        weight, bias = topic_head(labelled[rows], targets[rows], weights[rows], guessed, fit.TOPICS_L2)
        logits[~rows] = labelled[~rows] @ weight.T + bias
    weight, bias = topic_head(labelled, targets, weights, guessed, fit.TOPICS_L2)
    network.topics.weight.data, network.topics.bias.data = torch.from_numpy(weight), torch.from_numpy(bias)
    blend["topics"] = fit.blend_topics(logits, linear, targets, fit.TOPICS_LINEAR)
    # The cut, too, is measured on tweets that it was not fitted on.
    final = np.zeros_like(logits)
    for out in range(fit.FOLDS):
        rows = fold != out
        of_fold = fit.blend_topics(logits[rows], linear[rows], targets[rows], fit.TOPICS_LINEAR)
        final[~rows] = fit.apply(of_fold, logits[~rows], linear[~rows])
    return blend, {"sentiment": tweets["sentiment"], "topics": final}


def report(stage, blend, seen, exact) -> str:
    """The tables of the card, from the files as shipped."""
    shipped = stage.options.out / "encoder.onnx"
    validation = stage.said(shipped, stage.validation.texts)
    in_float = stage.said(exact, stage.validation.texts)
    classes = stage.validation.classes
    alone = {**blend["sentiment"], "linear": 0.0}
    mixed = fit.apply(blend["sentiment"], validation["sentiment"], stage.linear_validation)
    rows = [
        measure.sentiment_row(
            "held-out training tweets, as shipped",
            fit.apply(blend["sentiment"], seen["sentiment"], stage.linear),
            stage.classes,
        ),
        measure.sentiment_row("validation tweets, as shipped", mixed, classes),
        measure.sentiment_row(
            "the same, float weights",
            fit.apply(blend["sentiment"], in_float["sentiment"], stage.linear_validation),
            classes,
        ),
        measure.sentiment_row("the same, int8, without the linear model", fit.apply(alone, validation["sentiment"], 0), classes),
        measure.sentiment_row("the same, float weights, without the linear model", fit.apply(alone, in_float["sentiment"], 0), classes),
        measure.sentiment_row("the linear model alone", stage.linear_validation, classes),
    ]
    header = ["", "macro recall", *SENTIMENTS, "macro F1", "calibration"]
    confusion = [[name, *row] for name, row in zip(SENTIMENTS, measure.confusion(mixed, classes), strict=True)]

    out = np.flatnonzero(stage.topics_out)
    lines = [stage.topics.texts[row] for row in out]
    inside, there = stage.topics.targets[~stage.topics_out], stage.topics.targets[out]
    linear = stage.linear_topics[out]
    of_topics = [["5 folds of the training tweets", len(inside), *fit.f1(inside > 0.5, fit.given(seen["topics"]))]]
    for name, model in [("held-out tweets, as shipped", shipped), ("held-out tweets, float weights", exact)]:
        logits = fit.apply(blend["topics"], stage.said(model, lines)["topics"], linear)
        of_topics.append([name, len(out), *fit.f1(there > 0.5, fit.given(logits))])

    out = np.flatnonzero(stage.posts_out)[::POSTS_EVERY]
    lines = [stage.posts[row] for row in out]
    of_embedding = [
        [name, *measure.likeness(stage.said(model, lines)["embedding"], stage.teacher[out])]
        for name, model in [("as shipped", shipped), ("float weights", exact)]
    ]
    return "\n\n".join(
        [
            "### Sentiment",
            measure.table(header, rows),
            "Confusion on the validation tweets, as shipped; a row for each true class:",
            measure.table(["", *SENTIMENTS], confusion),
            "### Topics",
            measure.table(["", "tweets", "micro F1", "macro F1"], of_topics),
            measure.table(["topic", "tweets in the folds", "F1 in the folds"], measure.topic_rows(TOPICS, inside, seen["topics"])),
            "### Embedding",
            measure.table([f"pairs of {len(out)} held-out posts", "Spearman's correlation", "mean cosine"], of_embedding),
        ]
    )


def main():
    """All stages."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(options.base / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(texts.LENGTH_MAX)
    network = finetuned(options, tokenizer)
    stage = Stage(options)
    blend, seen = fitted(stage, network)
    exact = options.work / "encoder.float.onnx"
    package.write(network, stage.tokenizer_json, stage.kept, blend, options.out, exact)
    tables = report(stage, blend, seen, exact)
    print(tables)
    measure.update(options.out / "README.md", tables)


if __name__ == "__main__":
    main()

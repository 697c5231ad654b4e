"""Trains the network: sentiment on tweets, and staying what it was as an embedding.

One process per core, each with one thread: every step's batch is shared out, each process adds up
the gradients of all for its part of the weights and moves that part. A thread pool inside the
matrix products would wait for its slowest thread hundreds of times a step.
"""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import multiprocessing
from tqdm import tqdm

from network import SENTIMENTS, Network
from texts import pad


@dataclass
class Settings:
    """What was chosen for a phase of the training."""

    epochs: int
    posts_per_epoch: int
    rate: float
    # How much it counts that the embedding, and likeness within a batch, stay the teacher's.
    embedding_weight: float
    likeness_weight: float
    # How much of a target is what the linear model says, and how much is even.
    linear_target: float
    even_target: float
    # Whether the word table is learnt too.
    learns_words: bool
    seed: int
    batch: int = 64
    # The rate of the heads beside that of the highest layer, and of a layer beside the one above it.
    head_rate: float = 10.0
    layer_decay: float = 0.9
    # The rate at the end, beside the highest.
    rate_end: float = 0.03
    # The part of the steps in which the rate rises.
    warm_up: float = 0.06
    weight_decay: float = 0.01
    norm_max: float = 1.0
    # Per step, of the running average of the weights.
    average_decay: float = 0.997


PHASES = [
    Settings(
        epochs=3,
        posts_per_epoch=4_000,
        rate=7e-5,
        embedding_weight=4.0,
        likeness_weight=20.0,
        linear_target=0.15,
        even_target=0.05,
        learns_words=False,
        seed=7,
    ),
    Settings(
        epochs=2,
        posts_per_epoch=4_000,
        rate=6e-5,
        embedding_weight=2.0,
        likeness_weight=10.0,
        linear_target=0.05,
        even_target=0.05,
        learns_words=True,
        seed=8,
    ),
]


@dataclass
class Tweets:
    """Tweets as ids, their labels and what the linear model says, both as probabilities, how much
    each tweet counts, and the teacher's embeddings.
    """

    ids: list
    labels: torch.Tensor
    linear: torch.Tensor
    weights: torch.Tensor
    teacher: torch.Tensor


@dataclass
class Posts:
    """Posts as ids, and the teacher's embeddings."""

    ids: list
    teacher: torch.Tensor


@dataclass
class Measured:
    """Held-out tweets, to be looked at after each epoch."""

    ids: list
    classes: np.ndarray


def batches(rows, size, draw):
    """Batches of rows of like length, in random order."""
    window = 40 * size
    order = draw.permutation(len(rows))
    made = []
    for at in range(0, len(order), window):
        part = sorted(order[at : at + window], key=lambda index: len(rows[index]))
        made += [part[start : start + size] for start in range(0, len(part), size)]
    return made


def schedule(tweets, posts, settings):
    """The batches of each epoch: which of the two sets, and which rows."""
    draw = np.random.default_rng(settings.seed)
    epochs = []
    for _ in range(settings.epochs):
        some = draw.permutation(len(posts.ids))[: settings.posts_per_epoch]
        steps = [("tweets", rows) for rows in batches(tweets.ids, settings.batch, draw)]
        of_posts = batches([posts.ids[index] for index in some], settings.batch, draw)
        steps += [("posts", [some[row] for row in rows]) for rows in of_posts]
        epochs.append([steps[index] for index in draw.permutation(len(steps))])
    return epochs


def learnt(network, settings):
    """The weights that are learnt."""
    fixed = ("topics.",) if settings.learns_words else ("topics.", "encoder.embeddings.word")
    return [(name, weight) for name, weight in network.named_parameters() if not name.startswith(fixed)]


def rates(network, settings):
    """The rate and the decay of every weight, as one vector each."""
    layers = network.encoder.config.num_hidden_layers
    rate, decay = [], []
    for name, weight in learnt(network, settings):
        if name.startswith("encoder.encoder.layer."):
            of_weight = settings.rate * settings.layer_decay ** (layers - 1 - int(name.split(".")[3]))
        elif name.startswith("encoder."):
            of_weight = settings.rate * settings.layer_decay**layers
        else:
            of_weight = settings.rate * settings.head_rate
        rate.append(torch.full((weight.numel(),), of_weight))
        decay.append(torch.full((weight.numel(),), settings.weight_decay if weight.dim() > 1 else 0.0))
    return torch.cat(rate), torch.cat(decay)


def bind(network, settings, flat):
    """Makes the learnt weights views of one vector."""
    at = 0
    for _, weight in learnt(network, settings):
        weight.data = flat[at : at + weight.numel()].view_as(weight)
        at += weight.numel()


def loss_of(network, kind, rows, sets, settings):
    """The loss of a batch, and its parts."""
    data = sets[kind]
    ids, mask = (torch.from_numpy(value) for value in pad([data.ids[row] for row in rows]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = network.features(ids, mask)
    embedding = F.normalize(network.mean(features), dim=-1)
    teacher = data.teacher[rows]
    far = (1 - (embedding * teacher).sum(-1)).mean()
    likeness = embedding @ embedding.T - teacher @ teacher.T
    likeness = likeness.square().sum() / max(len(rows) * (len(rows) - 1), 1)
    loss = settings.embedding_weight * far + settings.likeness_weight * likeness
    parts = {"far": far.item(), "likeness": likeness.item()}
    if kind == "tweets":
        known = settings.linear_target * data.linear[rows] + settings.even_target / len(SENTIMENTS)
        targets = (1 - settings.linear_target - settings.even_target) * data.labels[rows] + known
        entropy = -(targets * F.log_softmax(network.sentiment(features), -1)).sum(-1)
        entropy = (entropy * data.weights[rows]).mean()
        loss = loss + entropy
        parts["sentiment"] = entropy.item()
    return loss, parts


def said(network, ids, size=64):
    """The sentiment logits and the features of texts."""
    network.eval()
    order = np.argsort([len(row) for row in ids], kind="stable")
    logits = torch.zeros(len(ids), len(SENTIMENTS))
    features = torch.zeros(len(ids), network.topics.in_features)
    with torch.inference_mode():
        for at in range(0, len(order), size):
            rows = order[at : at + size]
            batch = (torch.from_numpy(value) for value in pad([ids[row] for row in rows]))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                features[rows] = network.features(*batch)
            logits[rows] = network.sentiment(features[rows])
    return logits, features


def recall(logits, classes):
    """The mean over the classes of how many of a class are found."""
    found = logits.argmax(-1).numpy() == classes
    return float(np.mean([found[classes == label].mean() for label in range(logits.shape[1])]))


def _work(rank, world, shared, barrier, network, sets, measured, settings):
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed + rank)
    flat, average, gradients, norms = (shared[key] for key in ("flat", "average", "gradients", "norms"))
    bind(network, settings, flat)
    rate, decay = rates(network, settings)
    size = math.ceil(flat.numel() / world)
    mine = slice(rank * size, min((rank + 1) * size, flat.numel()))
    first, second = torch.zeros_like(flat[mine]), torch.zeros_like(flat[mine])
    epochs = schedule(sets["tweets"], sets["posts"], settings)
    total = sum(map(len, epochs))
    bar = tqdm(total=total, disable=rank > 0, mininterval=5, smoothing=0.05)
    step, seen = 0, {}
    for epoch, steps in enumerate(epochs):
        for kind, rows in steps:
            # Without dropout the tweets are soon known by heart. Posts are read as they will be.
            network.train(kind == "tweets")
            loss, parts = loss_of(network, kind, rows[rank::world], sets, settings)
            network.zero_grad()
            loss.backward()
            torch.cat(
                [(torch.zeros_like(w) if w.grad is None else w.grad).view(-1) for _, w in learnt(network, settings)],
                out=gradients[rank],
            )
            barrier.wait()
            gradient = gradients[:, mine].mean(0)
            norms[rank] = gradient.square().sum()
            barrier.wait()
            gradient *= min(1.0, settings.norm_max / (norms.sum().sqrt().item() + 1e-9))
            step += 1
            at = step / total
            now = min(at / settings.warm_up, 1 - (1 - settings.rate_end) * at)
            first.lerp_(gradient, 0.1)
            second.lerp_(gradient.square(), 0.02)
            move = (first / (1 - 0.9**step)) / ((second / (1 - 0.98**step)).sqrt() + 1e-8)
            flat[mine] -= now * rate[mine] * (move + decay[mine] * flat[mine])
            average[mine].lerp_(flat[mine], 1 - min(settings.average_decay, step / (step + 10)))
            barrier.wait()
            for name, value in parts.items():
                seen[name] = 0.98 * seen.get(name, value) + 0.02 * value
            bar.update()
            bar.set_postfix({name: f"{value:.4f}" for name, value in seen.items()}, refresh=False)
        _look(rank, world, network, shared, barrier, measured, settings, epoch)


def _look(rank, world, network, shared, barrier, measured, settings, epoch):
    """Says how good the weights are on held-out tweets."""
    for name in ("flat", "average"):
        bind(network, settings, shared[name])
        part = slice(rank, None, world)
        shared["logits"][part] = said(network, measured.ids[part])[0]
        barrier.wait()
        if rank == 0:
            found = recall(shared["logits"], measured.classes)
            tqdm.write(f"{time.strftime('%H:%M:%S')} epoch {epoch + 1}, {name}: macro recall {found:.4f} on held-out tweets")
        barrier.wait()
    bind(network, settings, shared["flat"])


def train(base: Path, sets, measured: Measured, folder: Path, processes: int) -> Network:
    """The trained network: the running average of the weights. That of each phase is put into
    `folder` too.
    """
    torch.manual_seed(PHASES[0].seed)
    network = Network(base)
    for number, settings in enumerate(PHASES, 1):
        kept = folder / f"phase-{number}.pt"
        if kept.exists():
            network.load_state_dict(torch.load(kept))
            continue
        print(f"phase {number}:", asdict(settings), flush=True)
        bind(network, settings, _phase(network, sets, measured, settings, processes))
        torch.save(network.state_dict(), kept)
    return network.eval()


def _phase(network, sets, measured, settings, processes):
    weights = torch.cat([weight.detach().view(-1) for _, weight in learnt(network, settings)])
    shared = {
        "flat": weights.clone(),
        "average": weights.clone(),
        "gradients": torch.zeros(processes, weights.numel()),
        "norms": torch.zeros(processes),
        "logits": torch.zeros(len(measured.ids), len(SENTIMENTS)),
    }
    for value in shared.values():
        value.share_memory_()
    barrier = multiprocessing.get_context("spawn").Barrier(processes)
    arguments = (processes, shared, barrier, network, sets, measured, settings)
    multiprocessing.start_processes(_work, arguments, nprocs=processes, start_method="spawn")
    return shared["average"]

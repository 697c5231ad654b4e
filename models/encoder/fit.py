"""What is fitted after the training, on what the int8 encoder says: the topics, and how each head is
blended with the linear model.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize

# How much a guessed topic counts beside a given one, and its absence; as in models/linear.
GUESSED, GUESSED_ABSENT = 0.1, 0.03
FOLDS = 5
# Both the best of several in cross-validation. The second is the linear model's logits beside the
# encoder's.
TOPICS_L2 = 30.0
TOPICS_LINEAR = 0.5


def logistic(features, targets, weights, l2):
    """Logistic regressions, one for each column of `targets`; (weight, bias) on plain features."""
    center, spread = features.mean(0), features.std(0) + 1e-6
    x = torch.from_numpy((features - center) / spread).float()
    y, w = torch.from_numpy(targets).float(), torch.from_numpy(weights).float()
    weight = torch.zeros(y.shape[1], x.shape[1], requires_grad=True)
    bias = torch.full((y.shape[1],), -2.0, requires_grad=True)
    steps = torch.optim.LBFGS([weight, bias], max_iter=60, history_size=10, line_search_fn="strong_wolfe")

    def closure():
        steps.zero_grad()
        loss = F.binary_cross_entropy_with_logits(x @ weight.T + bias, y, w, reduction="sum")
        loss = loss + l2 * weight.square().sum()
        loss.backward()
        return loss

    steps.step(closure)
    weight, bias = weight.detach().numpy() / spread, bias.detach().numpy()
    return weight.astype(np.float32), (bias - weight @ center).astype(np.float32)


def given(logits):
    """Which topics a text is given: those whose logit is above 0, and the best."""
    return (logits > 0) | (logits == logits.max(1, keepdims=True))


def f1(there, said):
    """Micro and macro F1."""
    hits, sizes = (there & said).sum(0), there.sum(0) + said.sum(0)
    return 2 * hits.sum() / sizes.sum(), float(np.mean(2 * hits / np.maximum(sizes, 1)))


def f1_of_each(there, said):
    """F1 of every label."""
    return 2 * (there & said).sum(0) / np.maximum(there.sum(0) + said.sum(0), 1)


def cut(logits, targets):
    """Slope and thresholds that make 0 the cut, by models/linear's method: every label is given a
    number of times as often as it is there, the number with the best mean of micro and macro F1.
    """
    there = targets > 0.5

    def thresholds(excess):
        order = -np.sort(-logits, axis=0)
        last = len(logits) - 1
        wanted = np.round(targets.sum(0) * excess).astype(int)
        above, below = np.clip(wanted - 1, 0, last), np.clip(wanted, 0, last)
        columns = np.arange(logits.shape[1])
        return (order[above, columns] + order[below, columns]) / 2

    tried = [thresholds(tenths / 10) for tenths in range(6, 21)]
    best = max(tried, key=lambda threshold: sum(f1(there, given(logits - threshold))))
    moved = logits - best

    def loss(slope):
        return np.logaddexp(0, slope[0] * moved).sum() - (targets * slope[0] * moved).sum()

    slope = minimize(loss, [1.0], bounds=[(0.1, 10)]).x[0]
    return float(slope), best


def blend_topics(of_encoder, of_linear, targets, share):
    """The blend of two models' logits, `share` of the linear one's beside each of the encoder's."""
    slope, threshold = cut(of_encoder + share * of_linear, targets)
    return {"encoder": slope, "linear": slope * share, "bias": (-slope * threshold).tolist()}


def apply(blend, of_encoder, of_linear):
    """Logits as the program has them."""
    return blend["encoder"] * of_encoder + blend["linear"] * of_linear + np.array(blend["bias"], np.float32)


def _loss(logits, classes, weights):
    logits = logits - logits.max(-1, keepdims=True)
    surprise = np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(classes)), classes]
    return float((surprise * weights).sum() / weights.sum())


def blend_sentiment(of_encoder, of_linear, classes):
    """The blend of two models' logits: shares by the likelihood of the classes, each counting the
    same; then the temperature by the likelihood as the classes come.
    """
    counts = np.bincount(classes)
    balanced, plain = (1 / counts)[classes], np.ones(len(classes))
    mixed = lambda x: x[0] * of_encoder + x[1] * of_linear  # noqa: E731
    shares = minimize(lambda x: _loss(mixed(x), classes, balanced), [1.0, 0.2], method="Nelder-Mead").x
    logits = mixed(shares)
    scale = minimize(lambda x: _loss(x[0] * logits, classes, plain), [1.0], method="Nelder-Mead").x[0]
    encoder, linear = (float(scale * share) for share in shares)
    return {"encoder": encoder, "linear": linear, "bias": [0.0] * of_encoder.shape[1]}

"""Images whose label is likely wrong, as a cross-validated classifier on small features sees them."""

from dataclasses import dataclass

import torch
from torch import Tensor

_TEMPERATURES = torch.logspace(-2.5, 0.5, 31).tolist()
_ROUNDS = 60  # of the noise rate's fit
_START = 0.02
_LEAST = 1e-12
LISTED = 0.5  # probability of a wrong label from which an image is listed


@dataclass(frozen=True)
class LabelDoubts:
    """What a classifier makes of the labels.

    Attributes:
        wrong: the probability that each label is wrong, float32 (N,).
        suggested: the most probable other class, int64 (N,).
        noise: the share of wrong labels that fits all labels best.
        temperature: by which the classifier's scores are divided before the softmax.
    """

    wrong: Tensor
    suggested: Tensor
    noise: float
    temperature: float

    def listed(self) -> Tensor:
        """Positions with a probability of one half or more, the most doubtful first."""
        order = self.wrong.argsort(descending=True, stable=True)
        return order[self.wrong[order] >= LISTED]


def doubt_labels(scores: Tensor, labels: Tensor) -> LabelDoubts:
    """The probability that each label is wrong, under labels that were exchanged at one rate.

    The model: the softmax of the scores at some temperature is the probability p of each true class; with probability
    e (the noise) a label is drawn from the other K - 1 classes instead. A given label y then has the probability
    (1 - e) p_y + e (1 - p_y) / (K - 1), the second term is its wrong part, and e and the temperature are those of the
    largest likelihood, e by expectation maximisation. It is the forward model of Patrini et al. 2017 ("Making deep
    neural networks robust to label noise", section 4.1) with a symmetric matrix, read backwards as confident learning
    is (Northcutt et al. 2021).

    Deviation from confident learning: its thresholds per class list every image that the classifier has confidently
    wrong, most of them the classifier's own mistakes where it is right for three in four. Here a rate that the data
    give decides how many.

    Args:
        scores: held-out scores (N, K) of each image, K at least 2.
        labels: int64 (N,).
    """
    own = labels[:, None]
    best: tuple[float, float, float, Tensor] | None = None
    for temperature in _TEMPERATURES:
        p = torch.log_softmax(scores / temperature, 1).gather(1, own)[:, 0].exp().double().clamp(_LEAST, 1 - _LEAST)
        other = (1 - p) / (scores.shape[1] - 1)
        noise = _START
        for _ in range(_ROUNDS):
            wrong = noise * other / (noise * other + (1 - noise) * p)
            noise = float(wrong.mean())
        likelihood = float(torch.log(noise * other + (1 - noise) * p).mean())
        if best is None or likelihood > best[0]:
            best = likelihood, temperature, noise, wrong
    assert best is not None
    suggested = scores.scatter(1, own, -torch.inf).argmax(1)
    return LabelDoubts(best[3].float(), suggested, best[2], best[1])

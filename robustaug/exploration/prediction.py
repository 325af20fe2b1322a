"""How well something predicts the class of images that it was not fitted on: folds, ridge classifiers, intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor
from torch.nn import functional as F

from robustaug.randomness import sample_seeds

FOLDS = 5
_PENALTIES = (0.01, 0.1, 1.0, 10.0)  # of an image, in units of a standardised feature's variance
_LEAST = 1e-6


@dataclass(frozen=True)
class Share:
    """A share of n images with its 95% interval (Wilson 1927), as fractions."""

    value: float
    low: float
    high: float
    n: int


def share_of(hits: Tensor) -> Share:
    """The share of true values in a bool tensor (N,), N at least 1."""
    n, count = hits.numel(), int(hits.sum())
    interval = binomtest(count, n).proportion_ci(confidence_level=0.95, method="wilson")
    return Share(count / n, float(interval.low), float(interval.high), n)


def folds_of(digests: Sequence[str], seed: int = 0) -> Tensor:
    """A fold for each image, int64 (N,), 0 to 4: equal images share one, so that none is predicted from itself."""
    return sample_seeds(seed, digests, "fold of cross-validation") % FOLDS


@dataclass(frozen=True)
class RidgeFolds:
    """Ridge classifiers, each fitted without the images of its fold.

    Attributes:
        scores: of each image for each class, by the classifier that did not see it: float32 (N, K).
        mean: of the features, (D,).
        scale: of the features, (D,).
        basis: of the space that the images span, (D, D'); None where that is all of it.
        weights: of the classifiers, (5, D', K).
        intercepts: of the classifiers, (5, K).
    """

    scores: Tensor
    mean: Tensor
    scale: Tensor
    basis: Tensor | None
    weights: Tensor
    intercepts: Tensor

    def predict(self, features: Tensor, folds: Tensor) -> Tensor:
        """Classes of other features of the same images, int64 (M,), each by the classifier of its fold."""
        standard = (features - self.mean) / self.scale
        if self.basis is not None:
            standard = standard @ self.basis
        scores = torch.empty(len(features), self.weights.shape[2])
        for fold in range(FOLDS):
            inside = folds == fold
            scores[inside] = standard[inside] @ self.weights[fold] + self.intercepts[fold]
        return scores.argmax(1)


def fit_ridge(features: Tensor, labels: Tensor, classes: int, folds: Tensor) -> RidgeFolds:
    """Least squares with a penalty onto one-hot labels (Hoerl and Kennard 1970), once without each fold.

    With few images the classifiers live in the space that these span, which changes no score.

    The penalty is that of four whose held-out predictions are right most often. The sums over all images less those
    over a fold are the sums over the others: the features are multiplied once, whatever the number of folds.

    Args:
        features: float32 (N, D); standardised in place.
        labels: int64 (N,).
        classes: K.
        folds: from ``folds_of``.
    """
    mean, scale = features.mean(0), features.std(0).add_(_LEAST)
    standard = features.sub_(mean).div_(scale)
    basis = _basis(standard) if 2 * len(standard) < standard.shape[1] else None
    if basis is not None:
        standard = standard @ basis
    targets = F.one_hot(labels, classes).float()
    inside = [(folds == fold).nonzero()[:, 0] for fold in range(FOLDS)]
    parts = [(standard[rows], targets[rows]) for rows in inside]
    sums = [(x.T @ x, x.T @ y, x.sum(0), y.sum(0), len(x)) for x, y in parts]
    total = [sum(column[1:], column[0]) for column in zip(*sums, strict=True)]
    best: RidgeFolds | None = None
    most = -1
    for penalty in _PENALTIES:
        weights, intercepts = [], []
        scores = torch.empty(len(labels), classes)
        for (x, _), rows, held_out in zip(parts, inside, sums, strict=True):
            gram, cross, feature_sum, target_sum, n = (a - b for a, b in zip(total, held_out, strict=True))
            n = max(int(n), 1)
            gram = gram - torch.outer(feature_sum, feature_sum) / n
            gram.diagonal().add_(penalty * n)
            weight = torch.cholesky_solve(cross - torch.outer(feature_sum, target_sum) / n, torch.linalg.cholesky(gram))
            intercept = (target_sum - feature_sum @ weight) / n
            scores[rows] = x @ weight + intercept
            weights.append(weight)
            intercepts.append(intercept)
        right = int((scores.argmax(1) == labels).sum())
        if right > most:
            most, best = right, RidgeFolds(scores, mean, scale, basis, torch.stack(weights), torch.stack(intercepts))
    assert best is not None
    return best


def _basis(standard: Tensor) -> Tensor:
    """Orthonormal columns that span the rows: a ridge classifier has the same scores on their coordinates."""
    values, vectors = torch.linalg.eigh(standard @ standard.T)
    kept = values > values[-1] * 1e-6
    basis: Tensor = standard.T @ (vectors[:, kept] / values[kept].sqrt())
    return basis

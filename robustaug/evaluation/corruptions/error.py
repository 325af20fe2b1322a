"""Mean corruption error: how much worse than a baseline a classifier is on corrupted images."""

from collections.abc import Mapping, Sequence

from robustaug.errors import RobustAugError

Errors = Mapping[str, Sequence[float]]


def mean_corruption_error(errors: Errors, baseline: Errors) -> float:
    """mCE (Hendrycks and Dietterich 2019, section 4.1).

    For each corruption, the sum of the errors over its severities divided by the baseline's sum; then the mean over the
    corruptions. The paper's baseline is AlexNet; whoever quotes an mCE must name theirs.

    Args:
        errors: By corruption, the top-1 errors at each severity, as fractions.
        baseline: The baseline classifier's, for the same corruptions and severities.

    Returns:
        1.0 for a classifier like the baseline; the paper writes it as 100.

    Raises:
        RobustAugError: nothing to average, a baseline of other corruptions or severities, or one without errors.
    """
    if not errors:
        raise RobustAugError("the mean corruption error needs at least one corruption")
    if {name: len(each) for name, each in errors.items()} != {name: len(each) for name, each in baseline.items()}:
        raise RobustAugError("the baseline's errors are for other corruptions or severities; measure both alike")
    if without := [name for name, each in baseline.items() if sum(each) <= 0]:
        raise RobustAugError(f"the baseline makes no more errors under {without[0]}, so nothing can be set against it")
    return sum(sum(errors[name]) / sum(baseline[name]) for name in errors) / len(errors)


def corruption_errors(levels: Mapping[str, Sequence[Mapping[str, float]]]) -> Errors:
    """Errors from accuracies as reports have them: by corruption, ``{"severity", "value", ...}`` at each severity."""
    return {name: [1 - level["value"] for level in each] for name, each in levels.items()}


def relative_mean_corruption_error(errors: Errors, clean: float, baseline: Errors, baseline_clean: float) -> float:
    """Relative mCE (section 4.1): the same with each classifier's error on clean images taken off its errors first.

    Raises:
        RobustAugError: as ``mean_corruption_error``.
    """
    return mean_corruption_error(
        {name: [error - clean for error in each] for name, each in errors.items()},
        {name: [error - baseline_clean for error in each] for name, each in baseline.items()},
    )

"""What a report says of bias: training images by class and attribute before and after, groups, and the balance."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from robustaug.data import ImageSet, VariantSet
from robustaug.data.balance import class_counts, stretched
from robustaug.evaluation.groups import class_differences, describe_groups
from robustaug.evaluation.results import ArmEvaluation
from robustaug.experiment.arms import Prepared
from robustaug.experiment.config import ArmSection, ExperimentConfig
from robustaug.style.random_style import RandomStyle

_ANY_BALANCE = {"original": None, "balance": None}


def groups_of_run(
    prepared: Prepared, styles: VariantSet | RandomStyle | None, evaluations: Mapping[str, ArmEvaluation]
) -> list[dict[str, Any]]:
    """``describe_groups`` of a run, with ``training``: training images by value, before and after augmentation.

    Its rows are ``{"value", "original", "variants": {arm: {"stylised", "balance"}}}``: the files that an arm draws
    from. Variants that are made anew in each step, adversarial ones or styles in the loop, are no files.
    """
    config, data, attributes = prepared.config, prepared.data, prepared.attributes
    of_test = {} if attributes is None else attributes.of(data.test)
    of_train = {} if attributes is None else attributes.of(data.train)
    rows = describe_groups(evaluations, data.test, of_test, unaugmented(config))
    on_disk = styles if isinstance(styles, VariantSet) else None
    used = {
        name: {
            "stylised": on_disk if arm.mix().styled else None,
            "balance": prepared.balance_of(name),
        }
        for name, arm in config.arms.items()
    }
    classes = [data.class_names[label] for label in data.train.labels.tolist()]
    for row in rows:
        is_class = row["attribute"] == "class"
        values = classes if is_class else of_train[row["attribute"]]
        row["training"] = _training(data.train, values, data.class_names if is_class else sorted(set(values)), used)
    return rows


def describe_balance(prepared: Prepared, evaluations: Mapping[str, ArmEvaluation]) -> dict[str, Any] | None:
    """What the balance did, class by class; None if no arm asked for one.

    Returns:
        ``{"kind", "techniques", "arms": {arm: {"ratio", "against", "warnings", "classes": [{"class", "before", "after",
        "difference": {metric: {"value", "low", "high", "n"}}}]}}}``. A difference is accuracy with the balance minus
        accuracy of the arm ``against``, which has the same mix without it; without such an arm there are none.
    """
    config, train = prepared.config, prepared.data.train
    arms: dict[str, Any] = {}
    for name, arm in config.arms.items():
        if arm.balance is None:
            continue
        added, against = prepared.balance_of(name), _counterpart(config, arm)
        more = [0] * len(train.class_names) if added is None else _per_class(added, train)
        gained = (
            {} if against is None else class_differences(evaluations[against], evaluations[name], prepared.data.test)
        )
        arms[name] = {
            "ratio": arm.balance,
            "against": against,
            "warnings": stretched(train, arm.balance),
            "classes": [
                {"class": label, "before": before, "after": before + extra, "difference": gained.get(label, {})}
                for label, before, extra in zip(train.class_names, class_counts(train), more, strict=True)
            ],
        }
    if not arms:
        return None
    techniques = config.balance.augmenter().describe() if config.balance.kind == "classical" else {}
    return {"kind": config.balance.kind, **techniques, "arms": arms}


def unaugmented(config: ExperimentConfig) -> str | None:
    """The first arm of originals alone, which others are held against; where none is, one with a balance; or None."""
    plain = [name for name, arm in config.arms.items() if arm.model_copy(update=_ANY_BALANCE) == ArmSection()]
    return min(plain, key=lambda name: config.arms[name].balance is not None, default=None)


def _counterpart(config: ExperimentConfig, arm: ArmSection) -> str | None:
    """The arm that differs from one in its balance alone."""
    same = arm.model_copy(update={"balance": None})
    return next((name for name, other in config.arms.items() if other == same), None)


def _per_class(variants: VariantSet, train: ImageSet) -> list[int]:
    uses = Counter(variants.labels.tolist())
    return [uses[label] for label in range(len(train.class_names))]


def _training(
    train: ImageSet, values: Sequence[str], order: Sequence[str], used: Mapping[str, Mapping[str, VariantSet | None]]
) -> list[dict[str, Any]]:
    value_of = dict(zip(train.keys, values, strict=True))
    originals = Counter(values)
    variants = {
        arm: {
            purpose: Counter(value_of[source] for source in ([] if made is None else made.sources))
            for purpose, made in by_purpose.items()
        }
        for arm, by_purpose in used.items()
    }
    return [
        {
            "value": value,
            "original": originals[value],
            "variants": {
                arm: {purpose: counts[value] for purpose, counts in by_purpose.items()}
                for arm, by_purpose in variants.items()
            },
        }
        for value in order
    ]

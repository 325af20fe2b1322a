"""Signs that a robustness number cannot be trusted (Carlini et al. 2019, "On Evaluating Adversarial Robustness").

Each check is a small function with one question; ``check_arm`` asks all of one classifier, ``check_splits`` of data.
"""

from robustaug.evaluation.checks.arm import check_arm, white_box_survivors
from robustaug.evaluation.checks.check import Check
from robustaug.evaluation.checks.data import (
    check_splits,
    near_duplicates,
    no_near_duplicate,
    no_test_image_in_training,
    no_test_image_in_validation,
    pixel_hashes,
)
from robustaug.evaluation.checks.gradients import gradients_match_differences, gradients_not_zero
from robustaug.evaluation.checks.outputs import independent_of_batch, outputs_are_logits, repeatable
from robustaug.evaluation.checks.recorded import (
    curve_falls_to_chance,
    inside_ball,
    iterative_not_weaker,
    noise_not_stronger,
    survives_rounding,
)
from robustaug.evaluation.checks.stronger import (
    larger_eps_not_weaker,
    loss_has_settled,
    more_effort_changes_little,
    square_not_stronger,
    transfer_not_stronger,
)

__all__ = [
    "Check",
    "check_arm",
    "check_splits",
    "curve_falls_to_chance",
    "gradients_match_differences",
    "gradients_not_zero",
    "independent_of_batch",
    "inside_ball",
    "iterative_not_weaker",
    "larger_eps_not_weaker",
    "loss_has_settled",
    "more_effort_changes_little",
    "near_duplicates",
    "no_near_duplicate",
    "no_test_image_in_training",
    "no_test_image_in_validation",
    "noise_not_stronger",
    "outputs_are_logits",
    "pixel_hashes",
    "repeatable",
    "square_not_stronger",
    "survives_rounding",
    "transfer_not_stronger",
    "white_box_survivors",
]

"""Common corruptions after Hendrycks and Dietterich (2019): 15 of them, five severities, any image size, in batches."""

from robustaug.evaluation.corruptions.apply import SMALLEST_SIDE, Parameters, corrupt, parameters_for
from robustaug.evaluation.corruptions.error import (
    corruption_errors,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from robustaug.evaluation.corruptions.table import CORRUPTIONS, SEVERITIES, Corruption

__all__ = [
    "CORRUPTIONS",
    "SEVERITIES",
    "SMALLEST_SIDE",
    "Corruption",
    "Parameters",
    "corrupt",
    "corruption_errors",
    "mean_corruption_error",
    "parameters_for",
    "relative_mean_corruption_error",
]

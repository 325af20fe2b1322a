"""The larger data set: originals and accepted variants, with where each file comes from."""

from robustaug.experiment.compose.job import compose
from robustaug.experiment.compose.plan import Composition
from robustaug.experiment.compose.variants import Origin

__all__ = ["Composition", "Origin", "compose"]

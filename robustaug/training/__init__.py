"""Training on composite batches: originals, stylised and adversarial variants under one label."""

from robustaug.training.loop import TrainingResult, train
from robustaug.training.settings import TrainingSettings

__all__ = ["TrainingResult", "TrainingSettings", "train"]

"""Classifiers by name, the normalising wrapper, checkpoints, and models that others made."""

from robustaug.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from robustaug.models.classifier import ImageClassifier, ModelSpec
from robustaug.models.foreign import ForeignClassifier, forward_only, load_foreign
from robustaug.models.zoo import build_model, model_names

__all__ = [
    "Checkpoint",
    "ForeignClassifier",
    "ImageClassifier",
    "ModelSpec",
    "build_model",
    "forward_only",
    "load_checkpoint",
    "load_foreign",
    "model_names",
    "save_checkpoint",
]

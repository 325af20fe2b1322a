"""Classifiers by name, the normalising wrapper, checkpoints."""

from robustaug.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from robustaug.models.classifier import ImageClassifier, ModelSpec
from robustaug.models.zoo import build_model, model_names

__all__ = [
    "Checkpoint",
    "ImageClassifier",
    "ModelSpec",
    "build_model",
    "load_checkpoint",
    "model_names",
    "save_checkpoint",
]

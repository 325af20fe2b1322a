"""Harden image classifiers with adversarial and style-transfer variants, and prove it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustaug.attacks import FGSM, PGD, AttackResult, ThreatModel
    from robustaug.data import load_data
    from robustaug.errors import RobustAugError
    from robustaug.models import ImageClassifier, build_model, load_checkpoint, save_checkpoint
    from robustaug.style import Gatys, StyleBank, transfer

__version__ = "0.1.0"

__all__ = [
    "FGSM",
    "PGD",
    "AttackResult",
    "Gatys",
    "ImageClassifier",
    "RobustAugError",
    "StyleBank",
    "ThreatModel",
    "build_model",
    "load_checkpoint",
    "load_data",
    "save_checkpoint",
    "transfer",
]

_PARTS = ("attacks", "data", "errors", "models", "style")


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: ``import robustaug`` alone does not load torch."""
    if name in __all__:
        for part in _PARTS:
            module = import_module(f"robustaug.{part}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'robustaug' has no attribute {name!r}")

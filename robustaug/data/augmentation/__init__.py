"""Classical augmentation: torchvision's techniques by name, each image's randomness from its own seed."""

from robustaug.data.augmentation.mixing import Mixing
from robustaug.data.augmentation.recipe import TECHNIQUES, Entry, build_techniques, read_recipe
from robustaug.data.augmentation.technique import Technique

__all__ = ["TECHNIQUES", "Entry", "Mixing", "Technique", "build_techniques", "read_recipe"]

"""Style transfer: VGG encoder, Gatys's optimisation, a bank of paintings, and the batch job over whole data sets.

Works alone on any images: ``transfer(content, painting)`` for a batch in memory, ``stylize`` for a folder.
"""

from robustaug.data.content import Item, folder_items, items_of
from robustaug.style.adain import AdaIN
from robustaug.style.augmenter import StyleAugmenter
from robustaug.style.bank import Blend, Painting, StyleBank
from robustaug.style.gatys import Gatys, transfer
from robustaug.style.job import JobResult, JobSettings, LabelCheck, stylize
from robustaug.style.method import StyleTransfer, TargetCache, TransferResult
from robustaug.style.own_styles import own_styles
from robustaug.style.random_style import RandomStyle
from robustaug.style.settings import StyleSettings, settings_for
from robustaug.style.vgg import VGGEncoder, load_encoder

__all__ = [
    "AdaIN",
    "Blend",
    "Gatys",
    "Item",
    "JobResult",
    "JobSettings",
    "LabelCheck",
    "Painting",
    "RandomStyle",
    "StyleAugmenter",
    "StyleBank",
    "StyleSettings",
    "StyleTransfer",
    "TargetCache",
    "TransferResult",
    "VGGEncoder",
    "folder_items",
    "items_of",
    "load_encoder",
    "own_styles",
    "settings_for",
    "stylize",
    "transfer",
]

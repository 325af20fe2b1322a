"""Data: image folders and named sets, splits, and the composite training set."""

from robustaug.data.composite import Batch, CompositeDataset, Mix, Provenance
from robustaug.data.images import read_image, write_png
from robustaug.data.imageset import ImageSet, Skipped
from robustaug.data.sources import load_data, load_images
from robustaug.data.splits import DataSplits
from robustaug.data.variants import VariantSet, load_variants

__all__ = [
    "Batch",
    "CompositeDataset",
    "DataSplits",
    "ImageSet",
    "Mix",
    "Provenance",
    "Skipped",
    "VariantSet",
    "load_data",
    "load_images",
    "load_variants",
    "read_image",
    "write_png",
]

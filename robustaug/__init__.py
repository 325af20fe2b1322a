"""Harden image classifiers with adversarial and style-transfer variants, and prove it."""

__version__ = "0.1.0"

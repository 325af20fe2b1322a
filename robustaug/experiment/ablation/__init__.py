"""Ablation: each technique of an arm off in turn, and accuracy against the number of originals."""

from robustaug.experiment.ablation.job import AblationOutcome, run_ablation

__all__ = ["AblationOutcome", "run_ablation"]

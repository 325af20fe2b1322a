"""Experiments: a configuration in, a run folder with a report out."""

from robustaug.experiment.config import ExperimentConfig, load_config, load_preset
from robustaug.experiment.pipeline import RunOutcome, run_experiment

__all__ = ["ExperimentConfig", "RunOutcome", "load_config", "load_preset", "run_experiment"]

"""Experiments: a configuration in, a run folder with a report out."""

from robustaug.experiment.arms import TrainedArm, train_arm
from robustaug.experiment.config import ExperimentConfig, load_config, load_preset
from robustaug.experiment.pipeline import RunOutcome, run_experiment

__all__ = [
    "ExperimentConfig",
    "RunOutcome",
    "TrainedArm",
    "load_config",
    "load_preset",
    "run_experiment",
    "train_arm",
]

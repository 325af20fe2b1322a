"""What a training step minimises: one objective a file, each with its paper's equation."""

from typing import Literal

from robustaug.training.objectives.adversarial import AdversarialTraining
from robustaug.training.objectives.advprop import AuxiliaryNorms
from robustaug.training.objectives.awp import WeightPerturbation
from robustaug.training.objectives.free import Free
from robustaug.training.objectives.learner import AttackMode, Learner
from robustaug.training.objectives.mart import MART
from robustaug.training.objectives.objective import MixedLabels, Objective, Task, Terms
from robustaug.training.objectives.single_step import NoiseFGSM, RandomStartFGSM
from robustaug.training.objectives.trades import TRADES

ObjectiveName = Literal["pgd", "rs_fgsm", "n_fgsm", "free", "trades", "mart"]
OBJECTIVES: dict[ObjectiveName, type[Objective]] = {
    "pgd": AdversarialTraining,
    "rs_fgsm": RandomStartFGSM,
    "n_fgsm": NoiseFGSM,
    "free": Free,
    "trades": TRADES,
    "mart": MART,
}

__all__ = [
    "MART",
    "OBJECTIVES",
    "TRADES",
    "AdversarialTraining",
    "AttackMode",
    "AuxiliaryNorms",
    "Free",
    "Learner",
    "MixedLabels",
    "NoiseFGSM",
    "Objective",
    "ObjectiveName",
    "RandomStartFGSM",
    "Task",
    "Terms",
    "WeightPerturbation",
]

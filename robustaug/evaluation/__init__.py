"""Measure classifiers with evidence: protocol, harness, statistics, checks, report."""

from robustaug.evaluation.checks import Check, check_arm, check_splits
from robustaug.evaluation.harness import evaluate_arm, evaluation_work, stratified_choice
from robustaug.evaluation.protocol import PROTOCOLS, Protocol, load_protocol, protocol_of
from robustaug.evaluation.protocol_attack import ProtocolAttack
from robustaug.evaluation.results import ArmEvaluation, compare_arms, load_evaluation, save_evaluation
from robustaug.evaluation.shape_bias import CueConflicts, ShapeBias
from robustaug.evaluation.statistics import Accuracy, McNemar, accuracy_interval, holm, mcnemar
from robustaug.evaluation.transfer import Surrogate

__all__ = [
    "PROTOCOLS",
    "Accuracy",
    "ArmEvaluation",
    "Check",
    "CueConflicts",
    "McNemar",
    "Protocol",
    "ProtocolAttack",
    "ShapeBias",
    "Surrogate",
    "accuracy_interval",
    "check_arm",
    "check_splits",
    "compare_arms",
    "evaluate_arm",
    "evaluation_work",
    "holm",
    "load_evaluation",
    "load_protocol",
    "mcnemar",
    "protocol_of",
    "save_evaluation",
    "stratified_choice",
]

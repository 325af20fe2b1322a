"""Adversarial attacks on any ``nn.Module`` from images in [0, 1] to logits."""

from robustaug.attacks.attack import Attack, AttackResult
from robustaug.attacks.fgsm import FGSM
from robustaug.attacks.norms import GEOMETRIES
from robustaug.attacks.pgd import PGD
from robustaug.attacks.threat import Norm, ThreatModel

__all__ = ["FGSM", "GEOMETRIES", "PGD", "Attack", "AttackResult", "Norm", "ThreatModel"]

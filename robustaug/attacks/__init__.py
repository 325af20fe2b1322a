"""Adversarial attacks on any ``nn.Module`` from images in [0, 1] to logits."""

from robustaug.attacks.attack import Attack, AttackResult
from robustaug.attacks.fgsm import FGSM, RFGSM
from robustaug.attacks.mifgsm import MIFGSM
from robustaug.attacks.pgd import PGD
from robustaug.attacks.threat import Norm, ThreatModel

__all__ = ["FGSM", "MIFGSM", "PGD", "RFGSM", "Attack", "AttackResult", "Norm", "ThreatModel"]

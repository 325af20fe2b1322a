"""Adversarial attacks on any ``nn.Module`` from images in [0, 1] to logits."""

from robustaug.attacks.apgd import APGD
from robustaug.attacks.attack import Attack, AttackResult
from robustaug.attacks.augmenter import AdversarialAugmenter
from robustaug.attacks.autoattack import AutoAttack, AutoAttackResult
from robustaug.attacks.fab import FAB
from robustaug.attacks.fgsm import FGSM, RFGSM
from robustaug.attacks.foolbox_bridge import FoolboxAttack, from_foolbox
from robustaug.attacks.mifgsm import MIFGSM
from robustaug.attacks.minimal import MinimalEps, minimal_eps
from robustaug.attacks.named import build_attack
from robustaug.attacks.pgd import PGD
from robustaug.attacks.square import Square
from robustaug.attacks.threat import Norm, ThreatModel
from robustaug.attacks.transform import Adversarial, AdversarialBatches

__all__ = [
    "APGD",
    "FAB",
    "FGSM",
    "MIFGSM",
    "PGD",
    "RFGSM",
    "Adversarial",
    "AdversarialAugmenter",
    "AdversarialBatches",
    "Attack",
    "AttackResult",
    "AutoAttack",
    "AutoAttackResult",
    "FoolboxAttack",
    "MinimalEps",
    "Norm",
    "Square",
    "ThreatModel",
    "build_attack",
    "from_foolbox",
    "minimal_eps",
]

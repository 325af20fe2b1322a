"""The balance of a run: variants of training images, made once for the largest ratio that an arm wants."""

from robustaug.data import ImageSet, VariantSet, load_variants
from robustaug.data.augmenter import Augmenter
from robustaug.data.balance import make_balance, plan, stretched
from robustaug.data.jobs import MANIFEST
from robustaug.experiment.config import ExperimentConfig
from robustaug.experiment.run_folder import RunFolder
from robustaug.experiment.variants import style_in_loop
from robustaug.style import StyleAugmenter
from robustaug.style.bank import StyleBank


def balance_of_run(run: RunFolder, config: ExperimentConfig, train: ImageSet, bank: StyleBank) -> VariantSet | None:
    """Make the variants for the arm with the largest ``balance``, or find them done; None if no arm needs any.

    Raises:
        RobustAugError: as ``data.balance.make_balance``.
    """
    ratio = max((arm.balance for arm in config.arms.values() if arm.balance is not None), default=None)
    if ratio is None:
        return None
    folder = run.variants("balance", config.data.train_share)
    if not run.writes:
        return load_variants(folder, train, (config.balance.kind,)) if (folder / MANIFEST).exists() else None
    for line in stretched(train, ratio):
        run.say(line)
    if not (folder / MANIFEST).exists():
        run.say(f"Balance: {len(plan(train, ratio, config.seed))} {config.balance.kind} variants of training images")
    with run.timing("balance"):
        return make_balance(folder, train, ratio, _augmenter(config, train, bank), config.seed)


def _augmenter(config: ExperimentConfig, train: ImageSet, bank: StyleBank) -> Augmenter:
    if config.balance.kind == "stylised":
        return StyleAugmenter(style_in_loop(train, bank, config.style))
    return config.balance.augmenter()

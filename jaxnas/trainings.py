"""Named trainings of a genotype's network: those of the papers, small ones, and the second stages of the search recipes."""

from __future__ import annotations

import dataclasses

from jaxnas.data import IMAGENET, Augmentation
from jaxnas.errors import UserError, did_you_mean
from jaxnas.recipes import DARTS_IMAGENET, PC_DARTS_IMAGENET, RECIPES, Training, TrainRecipe

# quark0/darts at f276dd3, cnn/train.py. CIFAR-100 is trained alike.
_DARTS = TrainRecipe(augmentation=Augmentation(crop_padding=4, flip=True, cutout=16))
# PC-DARTS b74702f, P-DARTS b880e87, DrNAS f2caa4d: train.py.
_LATER = dataclasses.replace(_DARTS, drop_path=0.3)
# AutoDL-Projects at f46486e, configs/opts/NAS-CIFAR.config: 5 + 295 epochs. No clip.
_GDAS = dataclasses.replace(_DARTS, epochs=300, warmup_epochs=5, nesterov=True, weight_decay=5e-4, clip=0.0)

# NAS-Bench-201: AutoDL-Projects, configs/nas-benchmark/hyper-opts/200E.config; its first seed.
_NB201 = Training(family="nb201", train=RECIPES["nb201-darts-v1"].train, seed=777)

TRAININGS: dict[str, Training] = {
    **{name: recipe.training for name, recipe in RECIPES.items()},
    "darts-cifar10": Training(train=_DARTS),
    "darts-cifar100": Training("cifar100", train=_DARTS),
    "pc-darts-cifar10": Training(train=_LATER),
    "p-darts-cifar10": Training(train=dataclasses.replace(_LATER, batch=128)),
    "drnas-cifar10": Training(train=dataclasses.replace(_LATER, batch=64)),
    "gdas-cifar10": Training(train=_GDAS),
    # configs/opts/NAS-CIFAR-V2.config: 5 + 595 epochs.
    "gdas-cifar10-600": Training(train=dataclasses.replace(_GDAS, epochs=600, weight_decay=3e-4)),
    "darts-imagenet": Training(IMAGENET, train=DARTS_IMAGENET),
    # P-DARTS's code lets the last five rates grow, against what it says of them; here they fall, as in PC-DARTS.
    "p-darts-imagenet": Training(
        IMAGENET, train=dataclasses.replace(PC_DARTS_IMAGENET, batch=256, learning_rate=0.1, warmup_epochs=0)
    ),
    # DrNAS's warm-up takes its shares of the full rate: 0.5 in the fifth epoch, not 0.492.
    "drnas-imagenet": Training(IMAGENET, train=dataclasses.replace(PC_DARTS_IMAGENET, batch=768)),
    # configs/opts/NAS-IMAGENET.config: 5 + 245 epochs. Without its lighting noise.
    "gdas-imagenet": Training(
        IMAGENET,
        train=dataclasses.replace(
            DARTS_IMAGENET, channels=50, batch=256, schedule="cosine", warmup_epochs=5, nesterov=True, clip=0.0
        ),
    ),
    "nb201-cifar10": _NB201,
    "nb201-cifar100": dataclasses.replace(_NB201, dataset="cifar100"),
    "nb201-imagenet16-120": dataclasses.replace(
        _NB201,
        dataset="imagenet16-120.npz",
        train=dataclasses.replace(_NB201.train, augmentation=Augmentation(crop_padding=2, flip=True)),
    ),
    "proxyless-imagenet": RECIPES["proxyless"].training,
    # Of any mobile network's depth, on images of 8 pixels.
    "blocks-digits": RECIPES["proxyless-mobile-digits"].training,
    # Ours: 3,124 steps that two cores of a CPU do in about ten minutes.
    "cifar10-ten-minutes": Training(
        train=TrainRecipe(
            channels=8,
            cells=5,
            epochs=2,
            batch=32,
            cosine_every="step",
            auxiliary_weight=0.0,
            drop_path=0.0,
            augmentation=Augmentation(crop_padding=4, flip=True),
        )
    ),
}


def find(name: str) -> Training:
    """The training of a name.

    Raises:
      UserError: there is none; the message names the nearest.

    >>> find("darts-cifar10").train.epochs
    600
    """
    if name not in TRAININGS:
        raise UserError(f"Unknown recipe {name!r}. {did_you_mean(name, TRAININGS)}")
    return TRAININGS[name]

"""The searches of papers that follow DARTS, every value with its source, and a small variant of each for a CPU."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from jaxnas.data import Augmentation
from jaxnas.recipe import ANY_SKIPS, NextStage, Recipe, SearchRecipe
from jaxnas.train_recipe import TrainRecipe

CROP_AND_FLIP = Augmentation(crop_padding=4, flip=True)

# quark0/darts at f276dd3, cnn/train_search.py: what the others begin with.
DARTS = SearchRecipe(augmentation=CROP_AND_FLIP)
# AutoDL-Projects at f46486e, configs/nas-benchmark/algos/*.config.
NB201 = SearchRecipe(
    space="nb201",
    cells=5,
    order="weights_first",
    cosine_every="step",
    nesterov=True,
    weight_decay=5e-4,
    augmentation=CROP_AND_FLIP,
)

_ROBUST = dataclasses.replace(DARTS, space="s1", hypergradient="finite_difference", instruments_every=2)

SEARCHES: dict[str, SearchRecipe] = {
    # exps/NAS-Bench-201-algos/GDAS.py with tau_max 10 and tau_min 0.1; search_cells.py, forward_gdas.
    "nb201-gdas": dataclasses.replace(NB201, estimator="gdas", temperature=10.0, temperature_end=0.1, epochs=250),
    # exps/NAS-Bench-201-algos/SETN.py, which does not clip; RANDOM-NAS.py. Their cells: jaxnas.selection.
    "nb201-setn": dataclasses.replace(NB201, estimator="setn", epochs=250, clip=0.0),
    "nb201-rsps": dataclasses.replace(NB201, estimator="rsps", epochs=250),
    # exps/NAS-Bench-201-algos/ENAS.py: 50 updates of the controller an epoch, after its 196 steps; here in every fourth step.
    # There the rate is annealed anew every ten epochs, here once. Its controller: jaxnas.controller, jaxnas.relaxations.enas.
    "nb201-enas": dataclasses.replace(
        NB201,
        estimator="enas",
        epochs=250,
        batch=128,
        learning_rate=0.05,
        learning_rate_end=0.0005,
        weight_decay=2.5e-4,
        weight_steps_per_alpha_step=4,
        paths=20,
        alpha_learning_rate=1e-3,
        alpha_b1=0.0,
        alpha_clip=5.0,
    ),
    # melodyguan/enas at 00787a5, scripts/cifar10_micro_search.sh, with DARTS's candidates and cells in place of its own: two
    # inputs with an operation each for every node. 30 updates an epoch of 281 steps, here in every ninth step; 5,000 images for
    # the controller; one annealing of the rate in place of restarts, no auxiliary heads, drop path or dropout.
    "enas": dataclasses.replace(
        DARTS,
        estimator="enas",
        channels=20,
        epochs=150,
        batch=160,
        train_share=0.9,
        valid_share=0.1,
        order="weights_first",
        weight_steps_per_alpha_step=9,
        learning_rate=0.05,
        learning_rate_end=0.0005,
        nesterov=True,
        weight_decay=1e-4,
        alpha_learning_rate=3.5e-3,
        alpha_b1=0.0,
    ),
    # xautodl/models/cell_searchs/search_model_gdas_nasnet.py, configs/search-opts/GDAS-NASNet-CIFAR.config; N=2: 8 cells.
    "gdas": dataclasses.replace(
        NB201,
        space="gdas",
        cells=8,
        estimator="gdas",
        unsampled="nothing",
        temperature=10.0,
        temperature_end=0.1,
        epochs=250,
        batch=256,
    ),
    # SNAS-Series, Analysis/snas, with its default of a fixed temperature; the gradients of both levels are of one sample.
    "snas": dataclasses.replace(
        DARTS,
        estimator="snas",
        order="together",
        epochs=150,
        batch=96,
        alpha_mean=1.0,
        alpha_deviation=0.01,
        alpha_clip=10.0,
    ),
    # yuhuixu1993/PC-DARTS at b74702f, train_search.py: K=4, alphas and betas from epoch 15 on.
    "pc-darts": dataclasses.replace(
        DARTS,
        estimator="pc_darts",
        share=4,
        batch=256,
        learning_rate=0.1,
        learning_rate_end=0.0,
        alpha_learning_rate=6e-4,
        alphas_from_epoch=15,
    ),
    # xiangning-chen/DrNAS at f2caa4d, 201-space/train_search.py, with its defaults: all channels, L2 on the alphas.
    "nb201-drnas": dataclasses.replace(DARTS, space="nb201", cells=5, estimator="drnas", epochs=100),
    # The same with --reg_type kl: the divergence instead of the decay, by the same factor.
    "nb201-drnas-kl": dataclasses.replace(
        DARTS, space="nb201", cells=5, estimator="drnas", epochs=100, divergence=1e-3, alpha_weight_decay=0.0
    ),
    # 201-space/train_search_progressive.py: 50 + 50 epochs, K 4 to 2, 5 to 3 operations, alphas from each stage's epoch 10 on.
    "nb201-drnas-progressive": dataclasses.replace(
        DARTS,
        space="nb201",
        cells=5,
        estimator="drnas",
        share=4,
        epochs=50,
        alphas_from_epoch=10,
        next_stages=(NextStage(epochs=50, operations=3, cells=5, share=2),),
        between_stages="carried",
    ),
    # DARTS-space/train_search.py: K 6 to 4, 7 to 4 operations, as deep and wide as the network that is trained.
    "drnas": dataclasses.replace(
        DARTS,
        space="drnas",
        channels=36,
        cells=20,
        estimator="drnas",
        share=6,
        epochs=25,
        learning_rate=0.1,
        learning_rate_end=0.0,
        alpha_learning_rate=6e-4,
        alphas_from_epoch=10,
        next_stages=(NextStage(epochs=25, operations=4, cells=20, share=4),),
        between_stages="carried",
    ),
    # chenxin061/pdarts at b880e87, train_search.py; rates of dropout: README.md. The code lists cells of at most 8 to 0 skip
    # connections; at most 2 is the authors' advice (issue 21).
    "p-darts": dataclasses.replace(
        DARTS,
        cells=5,
        epochs=25,
        batch=96,
        valid_order="shuffled",
        learning_rate_end=0.0,
        alpha_learning_rate=6e-4,
        alpha_clip=5.0,
        alphas_from_epoch=10,
        skip_dropout=0.1,
        most_skips=2,
        next_stages=(
            NextStage(epochs=25, operations=5, cells=11, skip_dropout=0.4),
            NextStage(epochs=25, operations=3, cells=17, skip_dropout=0.7),
        ),
    ),
    # xiangning-chen/SmoothDARTS at d3dbfed, sota/cnn/train_search.py: DARTS's values, a radius from 0.03 to 0.3.
    "sdarts-rs": dataclasses.replace(DARTS, estimator="sdarts_rs", radius=0.03, radius_end=0.3),
    "sdarts-adv": dataclasses.replace(DARTS, estimator="sdarts_adv", radius=0.03, radius_end=0.3),
    # automl/RobustDARTS, src/search/args.py with --early_stop 1, and scripts/DARTS-ADA_search.sh: second order, measured every
    # second epoch, a decay of 3e-4, 3e-3, 3e-2. There in S1 to S4, and measured after the even epochs, counted from 0, here
    # after the odd ones.
    "robust-darts-es": dataclasses.replace(_ROBUST, early_stop="end"),
    "robust-darts-ada": dataclasses.replace(_ROBUST, early_stop="regularise"),
}
"""What follows a paper's code, on CIFAR-10."""

IMAGENET_SEARCHES: dict[str, SearchRecipe] = {
    # yuhuixu1993/PC-DARTS, train_search_imagenet.py and model_search_imagenet.py: K=2, alphas and betas from epoch 35 on, 10 %
    # and 2.5 % of each class. There the alphas' part is gone through about four times an epoch; here each batch is drawn anew.
    "pc-darts-imagenet": dataclasses.replace(
        DARTS,
        template="imagenet",
        estimator="pc_darts",
        share=2,
        batch=1024,
        train_share=0.1,
        valid_share=0.025,
        learning_rate=0.5,
        learning_rate_end=0.0,
        rising_epochs=5,
        alpha_learning_rate=6e-3,
        alpha_clip=5.0,
        alphas_from_epoch=35,
        augmentation=Augmentation(flip=True, resized_crop=224),
    ),
}
"""The searches of cells on ImageNet."""

_VALID = 50_000 / 1_281_167

_PROXYLESS = SearchRecipe(
    space="proxyless",
    estimator="proxyless",
    gates="full_v2",
    epochs=120,
    batch=256,
    train_share=1 - _VALID,
    valid_share=_VALID,
    order="weights_first",
    weight_steps_per_alpha_step=5,
    alphas_from_epoch=1,
    warmup_epochs=40,
    warmup_learning_rate=0.05,
    learning_rate=0.025,
    learning_rate_end=0.0,
    cosine_every="step",
    nesterov=True,
    weight_decay=4e-5,
    clip=0.0,
    label_smoothing=0.1,
    alpha_learning_rate=1e-3,
    alpha_b1=0.0,
    alpha_weight_decay=0.0,
    augmentation=Augmentation(flip=True, resized_crop=224, brightness=32 / 255, saturation=0.5),
)

MOBILE_SEARCHES: dict[str, SearchRecipe] = {
    # mit-han-lab/proxylessnas at bf58b5c, search/imagenet_arch_search.py with its defaults. Without a target hardware they have
    # no latency term, and neither has this. There the alphas have 50 images of each class, centre crops of them, and the
    # weights the others; here the alphas have as many in all, the same share of each class, and both are augmented alike.
    "proxyless": _PROXYLESS,
    # The same with --arch_algo rl: 300 updates in an epoch of 4,810 steps. There a path's reward is its accuracy and the
    # baseline a running mean; here it is the loss, against the mean of the other paths, which is unbiased.
    "proxyless-reinforce": dataclasses.replace(_PROXYLESS, estimator="reinforce", paths=10, weight_steps_per_alpha_step=16),
    # Wu et al., 2019, as its two re-implementations repeat it: 100 classes of ImageNet (name a folder of them by --dataset),
    # the weights alone for ten epochs, then in turns an epoch of the weights on 80 % of the images and one of the alphas on
    # 20 %; here the alphas move in every fourth step. Adam's betas and where the alphas start are AnnaAraslanova/FBNet's. The
    # paper's loss is weighted by the latency of a table: until one is given there is no such term. The augmentation is ours.
    "fbnet": SearchRecipe(
        space="fbnet",
        estimator="snas",
        temperature=5.0,
        temperature_end=5 * math.exp(-0.045 * 89),
        temperature_decay="exponential",
        epochs=90,
        batch=192,
        train_share=0.8,
        valid_share=0.2,
        order="weights_first",
        weight_steps_per_alpha_step=4,
        alphas_from_epoch=10,
        learning_rate=0.1,
        learning_rate_end=0.0,
        weight_decay=1e-4,
        clip=0.0,
        alpha_mean=1 / 9,
        alpha_learning_rate=0.01,
        alpha_b1=0.9,
        alpha_weight_decay=5e-4,
        augmentation=Augmentation(flip=True, resized_crop=224),
    ),
}
"""The searches of mobile networks, on ImageNet."""

# Ours: small enough for a CPU, as darts-digits. The alphas' rate is raised because there are a hundred times fewer steps.
_SMALL_STEPS = SearchRecipe(
    epochs=10, batch=32, valid_order="shuffled", order="weights_first", nesterov=True, alpha_learning_rate=6e-3
)
_SMALL = dataclasses.replace(_SMALL_STEPS, space="nb201", channels=8, cells=1)
# One path a step: each candidate learns in a fraction of the steps, hence at a higher rate and for longer.
_PATH: dict[str, Any] = {"epochs": 20, "learning_rate": 0.1}
_SMALL_PATH = dataclasses.replace(_SMALL, **_PATH)
_GATES: dict[str, Any] = {"alpha_b1": 0.0, "alpha_weight_decay": 0.0, "alphas_from_epoch": 1, "estimator": "proxyless"}

SMALL_SEARCHES: dict[str, SearchRecipe] = {
    "gdas-digits": dataclasses.replace(_SMALL_PATH, estimator="gdas", temperature=10.0, temperature_end=0.1),
    "setn-digits": dataclasses.replace(_SMALL_PATH, estimator="setn", clip=0.0),
    "enas-digits": dataclasses.replace(
        _SMALL_PATH,
        estimator="enas",
        weight_steps_per_alpha_step=2,
        paths=8,
        baseline_decay=0.9,
        alpha_learning_rate=0.01,
        alpha_b1=0.0,
        alphas_from_epoch=2,
    ),
    "rsps-digits": dataclasses.replace(_SMALL_PATH, estimator="rsps"),
    "snas-digits": dataclasses.replace(
        _SMALL, estimator="snas", order="together", alpha_mean=1.0, alpha_deviation=0.01, alpha_clip=10.0
    ),
    # FBNet's temperature, 5 exp(-0.045 epoch), squeezed into ten epochs.
    "gumbel-digits": dataclasses.replace(
        _SMALL, estimator="snas", temperature=5.0, temperature_end=0.09, temperature_decay="exponential"
    ),
    # ProxylessNAS's Adam (b1 = 0, no decay) and its pause in the first epoch.
    "proxyless-digits": dataclasses.replace(_SMALL_PATH, **_GATES),
    "proxyless-two-digits": dataclasses.replace(_SMALL_PATH, **_GATES, gates="two"),
    "proxyless-mobile-digits": dataclasses.replace(_SMALL_STEPS, **_PATH, **_GATES, space="proxyless_tiny", width=0.5),
    "fbnet-digits": dataclasses.replace(
        _SMALL_STEPS,
        epochs=30,
        learning_rate=0.1,
        alpha_learning_rate=0.02,
        space="fbnet_tiny",
        width=0.5,
        estimator="snas",
        temperature=5.0,
        temperature_end=0.09,
        temperature_decay="exponential",
    ),
    "pc-darts-digits": dataclasses.replace(
        _SMALL, estimator="pc_darts", share=4, learning_rate=0.1, learning_rate_end=0.0, alphas_from_epoch=3
    ),
    "drnas-digits": dataclasses.replace(_SMALL, estimator="drnas"),
    "drnas-progressive-digits": dataclasses.replace(
        _SMALL,
        estimator="drnas",
        share=4,
        epochs=5,
        alphas_from_epoch=1,
        next_stages=(NextStage(epochs=5, operations=3, cells=1, share=2),),
        between_stages="carried",
    ),
    # In a cell of NAS-Bench-201: two programs of DARTS's candidates compile for minutes. Without the limit on skip connections,
    # which is DARTS's cells'.
    "p-darts-digits": dataclasses.replace(
        SEARCHES["p-darts"],
        space="nb201",
        channels=8,
        cells=1,
        epochs=8,
        batch=32,
        learning_rate=0.1,
        alpha_learning_rate=6e-3,
        alphas_from_epoch=2,
        most_skips=ANY_SKIPS,
        next_stages=(NextStage(epochs=8, operations=3, cells=2, skip_dropout=0.4),),
        augmentation=Augmentation(),
    ),
    "sdarts-rs-digits": dataclasses.replace(_SMALL, estimator="sdarts_rs", radius=0.03, radius_end=0.3),
    "sdarts-adv-digits": dataclasses.replace(_SMALL, estimator="sdarts_adv", radius=0.03, radius_end=0.3),
    "reinforce-digits": dataclasses.replace(
        _SMALL_PATH, **{**_GATES, "estimator": "reinforce"}, paths=4, weight_steps_per_alpha_step=2
    ),
}
"""A small variant of each method, on digits."""


def with_training(searches: dict[str, SearchRecipe], like: Recipe, **trains: TrainRecipe) -> dict[str, Recipe]:
    """Whole recipes: each search with the training of ``like``, or with that of its family."""
    return {
        name: dataclasses.replace(like, search=search, train=trains.get(search.build_space().family, like.train))
        for name, search in searches.items()
    }

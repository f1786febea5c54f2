"""The choice of a genotype by its accuracy with the supernet's weights, for searches whose alphas do not decide it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxnas.data import Augmentation, Dataset, augment
from jaxnas.derive import derive, one_hot_mixture
from jaxnas.losses import accuracy
from jaxnas.nets import Network
from jaxnas.relaxations import drawn_paths
from jaxnas.spaces import Genotype, Nb201Genotype, Space, random_genotype

CANDIDATES, IMAGES = 100, 512
"""Of NAS-Bench-201: cells compared, and images of the validation half that each is evaluated on, a batch of its own."""


def candidates(estimator: str, space: Space, alphas: Any, seed: int) -> list[Genotype]:
    """What is compared: random genotypes (rsps), those that the controller draws (enas), or those most probable by the softmax
    of the alphas (setn).

    AutoDL-Projects, exps/NAS-Bench-201-algos/RANDOM-NAS.py, ENAS.py and SETN.py (``return_topK``); the last in family nb201
    alone.
    """
    if estimator == "rsps":
        rng = np.random.Generator(np.random.PCG64([seed, 2]))
        return [random_genotype(space, rng) for _ in range(CANDIDATES)]
    if estimator == "enas":
        paths, _ = drawn_paths(space, alphas, jax.random.split(jax.random.fold_in(jax.random.key(seed), 8), CANDIDATES))
        drawn = {kind: np.asarray(part["weights"]) for kind, part in paths.items()}
        return [derive(space, {kind: rows[i] for kind, rows in drawn.items()}) for i in range(CANDIDATES)]
    cell = space.cell("cell")
    # The best sums of some edges are found among the best sums of one edge less.
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for names, row in zip(cell.operations, np.asarray(alphas["cell"], np.float64), strict=True):
        known = row[: len(names)]
        logs = known - known.max() - np.log(np.exp(known - known.max()).sum())
        longer = [(total + log, (*chosen, column)) for total, chosen in best for column, log in enumerate(logs)]
        best = sorted(longer, key=lambda entry: -entry[0])[:CANDIDATES]
    return [
        Nb201Genotype(
            tuple(
                tuple((cell.operations[row][chosen[row]], cell.edges[row][0]) for row in cell.incoming(node))
                for node in range(cell.nodes)
            )
        )
        for _, chosen in best
    ]


def drawn(space: Space, alphas: Any, seed: int, samples: int) -> list[Genotype]:
    """Distinct genotypes drawn from the alphas, after the strongest one itself.

    Each is what :func:`jaxnas.derive.derive` makes of the alphas with Gumbel noise on them: in families nb201 and blocks every
    edge's operation is then drawn by the softmax (Gumbel-max), in family darts the kept edges are drawn alike.

    Raises:
      UserError: as :func:`jaxnas.derive.derive`.

    >>> from jaxnas.spaces import nb201_family, to_text
    >>> space = nb201_family("one edge", ("none", "skip_connect"), nodes=1)
    >>> [to_text(genotype) for genotype in drawn(space, {"cell": np.zeros((1, 2))}, seed=0, samples=10)]
    ['|none~0|', '|skip_connect~0|']
    """
    rng = np.random.Generator(np.random.PCG64([seed, 5]))
    noisy = [{kind: values + rng.gumbel(size=np.shape(values)) for kind, values in alphas.items()} for _ in range(samples)]
    return list(dict.fromkeys(derive(space, one) for one in (alphas, *noisy)))


def path_accuracy(network: Network, weights: Any, path: dict[str, Array], images: Array, labels: Array, key: Array) -> Array:
    """Accuracy, 0 to 1, of a sub-network with the supernet's weights. Nothing else of it runs; batch norm goes by the batch.

    Args:
      path: as of :func:`jaxnas.derive.one_hot_mixture`, may be traced: one program serves all.
    """
    mixture = {kind: {"weights": part, "active": part > 0} for kind, part in path.items()}
    return accuracy(network.forward(weights, mixture, images, key, {})[0], labels)


def best(
    genotypes: list[Genotype], space: Space, network: Network, weights: Any, dataset: Dataset, key: Array
) -> tuple[Genotype, np.ndarray]:
    """The genotype of the highest accuracy on a random batch of the validation half, and the accuracies of all.

    Batch norm goes by the batch.
    Ties go to the first.
    """
    paths = [jax.tree.map(jnp.asarray, one_hot_mixture(space, genotype)) for genotype in genotypes]
    split, batch = dataset.search_valid, min(IMAGES, len(dataset.search_valid.labels))
    keys = jax.random.split(key, len(genotypes))
    rows = np.asarray(lax.map(lambda k: jax.random.permutation(k, len(split.labels))[:batch], keys))

    @jax.jit
    def evaluate(weights: Any, path: Any, images: Array, labels: Array, k: Array) -> Array:
        x = augment(k, images, Augmentation(), dataset.mean, dataset.std)
        return path_accuracy(network, weights, path, x, labels, k)

    drawn = zip(paths, rows, keys, strict=True)
    found = np.array([evaluate(weights, path, np.asarray(split.images[row]), split.labels[row], k) for path, row, k in drawn])
    return genotypes[int(found.argmax())], found

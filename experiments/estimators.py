"""Bias and variance of every estimator of the gradient in the alphas, on a network whose every path can be enumerated.

    python experiments/estimators.py

writes ``estimators.md`` beside this file. The network has three edges of three candidates (none, the input, a linear layer
after ReLU with batch norm), hence 27 paths, batch norm before its classifier and a cross-entropy loss. What an estimator is
measured against is the exact gradient of the expected loss of a path drawn by the softmax of the alphas.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxnas import relaxations
from jaxnas.losses import mean_cross_entropy
from jaxnas.spaces import nb201_family

SPACE = nb201_family("three edges", ("none", "skip_connect", "nor_conv_1x1"), nodes=2)
EDGES, COLUMNS = 3, 3
SAMPLES = 20_000
Loss = Callable[[Any], Array]
Estimate = Callable[[Array, Array], Array]
"""``estimate(alphas [edges, columns], key) -> gradient``."""


def parts_of(seed: int) -> dict[str, np.ndarray]:
    """A random network with its batch."""
    rng = np.random.default_rng(seed)
    shapes = {"images": (8, 4), "kernels": (EDGES, 4, 4), "classifier": (4, 3)}
    return {"labels": rng.integers(0, 3, size=8), **{name: rng.normal(size=shape) for name, shape in shapes.items()}}


def network(seed: int) -> Loss:
    """Its loss as a function of the mixture."""
    return loss_of(parts_of(seed))


def loss_of(parts: dict[str, Any]) -> Loss:
    """The loss of a network, in every form of the mixture that a supernet takes."""
    images, labels, kernels, classifier = (jnp.asarray(parts[name]) for name in ("images", "labels", "kernels", "classifier"))

    def normalised(x: Array) -> Array:
        return (x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-2)

    def edge(parts: dict[str, Array], row: int, x: Array) -> Array:
        outputs = jnp.stack([jnp.zeros_like(x), x, normalised(jax.nn.relu(x) @ kernels[row])])
        everything = jnp.ones(COLUMNS, bool)
        active = parts["active"][row] if "active" in parts else everything
        probed = parts["probed"][row] if "probed" in parts else ~everything
        # What is only probed is seen by the gradient in its weight, and by nothing else.
        seen = jnp.where(active[:, None, None], outputs, jnp.where(probed[:, None, None], lax.stop_gradient(outputs), 0.0))
        offset = parts["offset"][row] if "offset" in parts else 0.0
        return jnp.tensordot(parts["weights"][row], seen, 1) + offset

    def loss(mixture: Any) -> Array:
        parts = mixture["cell"] if isinstance(mixture["cell"], dict) else {"weights": mixture["cell"]}
        first = edge(parts, 0, images)
        last = edge(parts, 1, images) + edge(parts, 2, first)
        return mean_cross_entropy(normalised(last + images) @ classifier, labels)

    return loss


def every_path() -> np.ndarray:
    """One-hot mixtures ``[27, edges, columns]``."""
    return np.stack([np.eye(COLUMNS)[list(path)] for path in itertools.product(range(COLUMNS), repeat=EDGES)])


def exact_gradient(loss: Loss, alphas: Array) -> Array:
    """Of the expected loss of a path drawn by the softmax of the alphas."""
    paths = jnp.asarray(every_path())
    losses = jax.vmap(lambda path: loss({"cell": path}))(paths)

    def expectation(alphas: Array) -> Array:
        logs = jax.nn.log_softmax(alphas)
        return (jnp.exp((paths * logs).sum((1, 2))) * losses).sum()

    return jax.grad(expectation)(alphas)


def by_relaxation(loss: Loss, relax: relaxations.Relax, **scalars: float) -> Estimate:
    """The gradient that a relaxation gives of one sample for the alphas' update."""
    values = {name: jnp.asarray(value) for name, value in scalars.items()}

    def objective(alphas: Array, key: Array) -> Array:
        return loss(relax({"cell": alphas}, key, values, "alphas")[0])

    return jax.grad(objective)


def by_score(loss: Loss, samples: int, baseline: relaxations.Baseline) -> Estimate:
    """REINFORCE. The running baseline is that of a long search: the mean of the losses under the same alphas."""
    over = relaxations.over_paths(lambda weights, path, *_: (loss(path), {}), baseline=baseline)
    relax = relaxations.sampled_paths(SPACE, samples)

    def objective(alphas: Array, key: Array) -> Array:
        mixture, _ = relax({"cell": alphas}, key, {}, "alphas")
        paths = jnp.asarray(every_path())
        p = jnp.exp((paths * jax.nn.log_softmax(alphas)).sum((1, 2)))
        level = lax.stop_gradient((p * jax.vmap(lambda path: loss({"cell": path}))(paths)).sum())
        return over(None, mixture, {"carry": level}, key, {})[0]

    return jax.grad(objective)


def estimators(loss: Loss) -> dict[str, Estimate]:
    """All of them by name."""
    of = functools.partial(by_relaxation, loss)
    return {
        "softmax (DARTS)": of(relaxations.softmax(SPACE)),
        "GDAS, tau 10, offsets": of(relaxations.hard_gumbel(SPACE), temperature=10.0),
        "GDAS, tau 1, offsets": of(relaxations.hard_gumbel(SPACE), temperature=1.0),
        "GDAS, tau 1, sampled only": of(relaxations.hard_gumbel(SPACE, "nothing"), temperature=1.0),
        "GDAS, tau 0.1, offsets": of(relaxations.hard_gumbel(SPACE), temperature=0.1),
        "soft Gumbel, tau 5": of(relaxations.soft_gumbel(SPACE), temperature=5.0),
        "soft Gumbel, tau 1": of(relaxations.soft_gumbel(SPACE), temperature=1.0),
        "soft Gumbel, tau 0.1": of(relaxations.soft_gumbel(SPACE), temperature=0.1),
        "gates, full": of(relaxations.binary_gates(SPACE, "full")),
        "gates, full_v2": of(relaxations.binary_gates(SPACE, "full_v2")),
        "gates, two": of(relaxations.binary_gates(SPACE, "two")),
        "Dirichlet (DrNAS)": of(relaxations.dirichlet(SPACE)),
        "SDARTS": of(relaxations.random_perturbation(SPACE), radius=0.03),
        "SETN": of(relaxations.uniform_path(SPACE)),
        "REINFORCE, 10 paths, others' mean": by_score(loss, 10, "others"),
        "REINFORCE, 10 paths, ProxylessNAS's baseline": by_score(loss, 10, "running"),
    }


def draws(estimate: Estimate, alphas: Array, samples: int, seed: int = 0) -> Array:
    """Gradients ``[samples, edges, columns]``."""
    return jax.jit(jax.vmap(estimate, (None, 0)))(alphas, jax.random.split(jax.random.key(seed), samples))


def alphas_of(kind: str) -> Array:
    """Where the gradient is taken: near the start of a search, or when it has made up its mind by half."""
    rng = np.random.default_rng(5)
    return jnp.asarray({"start": 1e-3, "midway": 1.0}[kind] * rng.normal(size=(EDGES, COLUMNS)))


def table(seeds: int = 5, samples: int = SAMPLES) -> str:
    """A row for each estimator and place: means over ``seeds`` networks."""
    lines = ["| estimator | alphas | bias | cosine | deviation of one sample |", "|---|---|---|---|---|"]
    networks = [parts_of(seed) for seed in range(seeds)]
    exact_of = jax.jit(lambda parts, alphas: exact_gradient(loss_of(parts), alphas))
    keys = jax.random.split(jax.random.key(0), samples)
    found_of = {}
    for name in estimators(network(0)):

        def many(parts: Any, alphas: Array, name: str = name) -> Array:
            return jax.vmap(estimators(loss_of(parts))[name], (None, 0))(alphas, keys)

        found_of[name] = jax.jit(many)
    for kind in ("start", "midway"):
        alphas = alphas_of(kind)
        for name, many in found_of.items():
            rows = []
            for parts in networks:
                exact, found = np.asarray(exact_of(parts, alphas)), np.asarray(many(parts, alphas))
                mean, size = found.mean(0), np.linalg.norm(exact)
                cosine = (mean * exact).sum() / (np.linalg.norm(mean) * size)
                spread = np.sqrt(((found - mean) ** 2).sum((1, 2)).mean())
                rows.append((np.linalg.norm(mean - exact) / size, cosine, spread / size))
            bias, cosine, spread = np.mean(rows, axis=0)
            lines.append(f"| {name} | {kind} | {bias:.3f} | {cosine:.3f} | {spread:.3f} |")
    return "\n".join(lines)


ABOUT = f"""# What each estimator estimates

Made by `python experiments/estimators.py`: 27 paths, 5 networks, {SAMPLES:,} samples each, in float64. Bias is the norm of the
mean gradient's difference from the exact gradient of the discrete expectation, deviation the root mean square distance of one
sample from its mean, both relative to the exact gradient's norm; cosine is between the mean and the exact gradient. "start":
alphas of deviation 1e-3, "midway" of 1. An unbiased estimator's bias is what is left of its deviation,
deviation / sqrt({SAMPLES:,}).

"""


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    path = Path(__file__).with_suffix(".md")
    path.write_text(ABOUT + table() + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))

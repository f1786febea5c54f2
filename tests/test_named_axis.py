"""What is computed in shares over a named axis, against the same of the whole batch.

``jax.vmap`` maps a named axis on one device as ``jax.shard_map`` maps one over many: means, places and their derivatives are
the same. That devices agree is shown by ``test_parallel.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnas.data.augment import Augmentation, augment
from jaxnas.hypergradients import conjugate_gradient, first_order, unrolled
from jaxnas.losses import cross_entropy
from jaxnas.named_axis import mean_over, replicated
from jaxnas.nets import Network
from jaxnas.nets.batch_norm import normalise_batch
from jaxnas.nets.derived import DartsNetwork
from jaxnas.nets.mobile import DropoutLinear
from jaxnas.nets.operations import Identity, Noise, Pass
from jaxnas.nets.rows import from_rows, to_rows

AXIS, SHARES, N = "batch", 4, 8
RNG = np.random.default_rng(0)


def in_shares(function: Callable[..., Any], *split: Any) -> Any:
    """The results of all shares, along a leading axis."""
    shares = [jnp.reshape(array, (SHARES, -1, *array.shape[1:])) for array in split]
    return jax.jit(jax.vmap(function, axis_name=AXIS))(*shares)


def joined(results: jax.Array) -> np.ndarray:
    return np.asarray(results).reshape(-1, *results.shape[2:])


def loss(weights: Any, alphas: Any, x: Any, axis: str | None) -> tuple[Any, dict[str, Any]]:
    """A network of one layer that normalises by the batch; its number has derivatives of any order in both levels."""
    weights, alphas = replicated(axis, (weights, alphas))
    y = jnp.tanh(x @ weights["kernel"]) * alphas
    rows, mean, _ = normalise_batch(y.T[None], axis=axis)
    value = ((rows[0].T + weights["bias"]) ** 3 * jnp.arange(4)).mean() + 0.5 * (mean**2).sum()
    return mean_over(axis, value), {}


WEIGHTS = {"kernel": jnp.asarray(RNG.normal(size=(5, 4))), "bias": jnp.ones(4)}
ALPHAS, X = jnp.asarray(RNG.normal(size=4)), RNG.normal(size=(N, 5))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "hypergradient",
    [
        first_order(has_aux=True),
        unrolled(steps=2, has_aux=True),
        conjugate_gradient(steps=3, damping=0.1, has_aux=True),
    ],
    ids=["first order", "unrolled, two steps", "products with the Hessian"],
)
def test_derivatives_are_those_of_the_whole_batch(hypergradient: Any) -> None:
    rate = optax.sgd(0.1, 0.9)
    weights, alphas, x = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), (WEIGHTS, ALPHAS, X))

    def of(x: Any, axis: str | None) -> Any:
        levels = lambda w, a: loss(w, a, x[:, ::-1], axis), lambda w, a: loss(w, a, x, axis)
        (value, _), gradient = hypergradient(*levels, weights, alphas, rate, rate.init(weights))
        gradients = jax.grad(loss, (0, 1), has_aux=True)(weights, alphas, x, axis)[0]
        return value, gradient, gradients

    whole = jax.jit(lambda x: of(x, None))(x)
    shares = in_shares(lambda x: of(x, AXIS), x)
    for share in range(SHARES):  # Every device has them all.
        jax.tree.map(lambda a, b, at=share: np.testing.assert_allclose(a[at], b, rtol=1e-11, atol=1e-12), shares, whole)


def test_what_is_not_differentiated_is_not_reduced() -> None:
    """Of the alphas alone the gradient is four numbers: the weights', which nobody wants, are not sent along."""

    def program(levels: int | tuple[int, int]) -> str:
        gradient = jax.grad(lambda weights, alphas: loss(weights, alphas, X, AXIS)[0], levels)
        return str(jax.make_jaxpr(gradient, axis_env=[(AXIS, SHARES)])(WEIGHTS, ALPHAS))

    assert "f32[28]" in program((0, 1)) and "f32[28]" not in program(1)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_are_those_of_the_whole_batch(offset: float) -> None:
    images = offset + RNG.normal(size=(N, 4, 4, 3))
    images[..., 2] = 7.0  # A channel without variance.
    y, mean, variance = normalise_batch(to_rows(jnp.asarray(images)))

    def share(x: Any) -> Any:
        y, mean, variance = normalise_batch(to_rows(x), axis=AXIS)
        return from_rows(y, len(x)), mean, variance

    shares, means, variances = in_shares(share, images)
    rtol = 1e-12 + 1e-15 * offset  # What the offset costs in digits, and no more.
    np.testing.assert_allclose(joined(shares), from_rows(y, N), rtol=rtol, atol=rtol)
    np.testing.assert_allclose(means, np.broadcast_to(mean, means.shape), rtol=1e-12)
    np.testing.assert_allclose(variances, np.broadcast_to(variance, variances.shape), rtol=rtol, atol=rtol)
    assert (np.asarray(variances) >= 0).all()


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(crop_padding=2, flip=True, cutout=4, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
        Augmentation(resized_crop=4, flip=True),
    ],
    ids=["crop, flip, colours, cutout", "resized crop"],
)
def test_augmentation_follows_the_place_in_the_batch(augmentation: Augmentation) -> None:
    images, key = RNG.integers(0, 256, (N, 8, 8, 3), np.uint8), jax.random.key(3)
    mean, std = (0.5,) * 3, (0.25,) * 3
    whole = jax.jit(lambda x: augment(key, x, augmentation, mean, std))(images)
    shares = in_shares(lambda x: augment(key, x, augmentation, mean, std, AXIS), images)
    np.testing.assert_allclose(joined(shares), whole, atol=1e-5)
    alone = jax.jit(lambda x: augment(key, x, augmentation, mean, std))(images[N // 2 :])
    assert not np.allclose(alone, whole[N // 2 :], atol=1e-2)


def test_draws_within_a_network_follow_the_place_in_the_batch() -> None:
    images, key = jnp.asarray(RNG.normal(size=(N, 4, 4, 3)), jnp.float32), jax.random.key(1)
    scalars = {"skip_dropout": jnp.float32(0.5), "dropout": jnp.float32(0.5), "drop_path": jnp.float32(0.5)}
    drop_path: Any = DartsNetwork.drop_path

    class Bare:
        cells = ()

    def drawn(x: Any, axis: str | None) -> Any:
        context = Pass(len(x), True, key, scalars, axis)
        dropped = DropoutLinear(3, 2).pooled(to_rows(x), context).T
        layers = [from_rows(layer(to_rows(x), context), len(x)) for layer in (Identity(), Noise(1), Noise(2))]
        return *layers, dropped, drop_path(Bare(), None, 3, jnp.float32, context).T

    whole = jax.jit(lambda x: drawn(x, None))(images)
    shares = in_shares(lambda x: drawn(x, AXIS), images)
    for share, expected in zip(shares, whole, strict=True):
        np.testing.assert_allclose(joined(share), expected, rtol=1e-6)


def parts_network() -> Network:
    """Logits whose moments are the images' means over the batch, taken off before a linear layer."""

    def forward(
        weights: Any, mixture: Any, images: Any, key: Any, scalars: Any, statistics: Any = None, axis: str | None = None
    ) -> Any:
        means = mean_over(axis, images.mean(0))
        return jnp.tanh((images - means).reshape(len(images), -1) @ weights) * mixture, means

    return Network(init=lambda key: ({}, {}), forward=forward, parameters=0)


@pytest.mark.usefixtures("float64")
def test_micro_batches() -> None:
    """Means over parts of every second image, each part a batch of its own, on one device and in shares."""
    rng = np.random.default_rng(2)
    weights, mixture = jnp.asarray(rng.normal(size=(12, 3))), jnp.asarray(rng.normal(size=3))
    batch = {"images": rng.normal(size=(N, 2, 2, 3)), "labels": rng.integers(0, 3, N)}
    plain = cross_entropy(parts_network())

    def slow(weights: Any, mixture: Any) -> Any:
        parts = [{name: jnp.asarray(array[first::2]) for name, array in batch.items()} for first in range(2)]
        found = [plain(weights, mixture, part, jax.random.key(0), {}) for part in parts]
        return sum(value for value, _ in found) / 2, jax.tree.map(lambda a, b: (a + b) / 2, found[0][1], found[1][1])

    def of(batch: Any, axis: str | None) -> Any:
        parts = cross_entropy(parts_network(), axis=axis, micro_batches=2)
        whole = jax.value_and_grad(lambda w, m: parts(w, m, batch, jax.random.key(0), {}), (0, 1), has_aux=True)
        return whole(weights, mixture)

    expected = jax.jit(jax.value_and_grad(slow, (0, 1), has_aux=True))(weights, mixture)
    found = jax.jit(lambda batch: of(batch, None))(batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)
    shares = in_shares(lambda *arrays: of(dict(zip(batch, arrays, strict=True)), AXIS), *batch.values())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, np.stack([b] * SHARES), rtol=1e-12), shares, expected)

"""Parts of mobile networks: how weights start, dropout, and the epsilon of batch norm."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.scipy.special import erf

from jaxnas.nets import ChainShape, derived
from jaxnas.nets.mobile import DropoutLinear
from jaxnas.nets.operations import BatchNorm, Pass
from jaxnas.spaces import BlockGenotype

GENOTYPE = BlockGenotype("proxyless", (64, 1), (("5x5_MBConv6", 64, 1),), 256)


def test_convolutions_start_normal_by_what_goes_out_of_them() -> None:
    weights, _ = derived(GENOTYPE, ChainShape(10, 8)).init(jax.random.key(0))
    operation = weights["blocks"][0]["mobile_inverted_conv"]
    for kernel, fan_out in [
        (weights["first_conv"]["conv"]["weight"], 9 * 64),
        (operation["inverted_bottleneck"]["conv"]["weight"], 384),
        (operation["depth_conv"]["conv"]["weight"], 25 * 384),
        (operation["point_linear"]["conv"]["weight"], 64),
        (weights["feature_mix_layer"]["conv"]["weight"], 256),
    ]:
        scaled = np.sort(np.asarray(kernel).ravel()) / np.sqrt(2 / fan_out)
        # Kolmogorov and Smirnov's distance from the standard normal distribution, for a chance of one in ten thousand.
        normal = 0.5 + 0.5 * np.asarray(erf(scaled / np.sqrt(2)))
        assert np.abs(normal - (np.arange(scaled.size) + 0.5) / scaled.size).max() < 2.2 / np.sqrt(scaled.size)
    bound = np.abs(np.asarray(weights["classifier"]["weight"])).max()
    assert 0.99 / 16 < bound <= 1 / 16
    assert not np.any(weights["classifier"]["bias"])
    assert np.all(weights["first_conv"]["bn"]["weight"] == 1) and not np.any(weights["first_conv"]["bn"]["bias"])


def test_the_lowest_draw_gives_a_finite_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    def lowest(key: Array, shape: tuple[int, ...], minval: float, maxval: float) -> Array:
        return jnp.full(shape, minval)

    monkeypatch.setattr(jax.random, "uniform", lowest)
    weights, _ = derived(GENOTYPE, ChainShape(10, 8)).init(jax.random.key(0))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(weights))


def test_dropout_clears_whole_channels_of_an_image_in_training_only() -> None:
    channels, batch = 40, 50
    layer = DropoutLinear(channels, channels)
    layer.weight[...] = jnp.eye(channels)
    x = jax.random.uniform(jax.random.key(0), (2, channels, 3 * batch), minval=1.0, maxval=2.0)
    means = np.asarray(x).reshape(2, channels, 3, batch).mean((0, 2)).T

    def out(training: bool, scalars: dict[str, Any]) -> np.ndarray:
        return np.asarray(layer(x, Pass(batch, training, jax.random.key(1), scalars)))

    np.testing.assert_allclose(out(True, {}), means, rtol=1e-6)
    np.testing.assert_allclose(out(False, {"dropout": 0.25}), means, rtol=1e-6)
    dropped = out(True, {"dropout": 0.25})
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], means[kept] / 0.75, rtol=1e-6)
    # 2,000 draws: five standard deviations.
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 2000)


def test_batch_norm_adds_its_own_epsilon_in_training_and_evaluation() -> None:
    x = jnp.array([[[1.0, 3.0]]])
    norm = BatchNorm(1, affine=False, epsilon=0.5)
    context = Pass(2, True, jax.random.key(0))
    np.testing.assert_allclose(norm(x, context), [[[-1 / 1.5**0.5, 1 / 1.5**0.5]]], rtol=1e-6)
    norm.var[...] = jnp.array([3.5])
    np.testing.assert_allclose(norm(x, Pass(2, False, jax.random.key(0))), [[[-0.5, 0.5]]], rtol=1e-6)

"""The optimizers against plain NumPy transcriptions of PyTorch's rules."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnas.optimizers import adam, clip_by_torch_norm, clipped, cosine, exponential, linear, rising, sgd

Arrays = dict[str, np.ndarray]
STEPS = 5


pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def problem() -> tuple[Arrays, list[Arrays]]:
    """Weights, and the gradients of each step: their global norm is about 1.7 in even steps and 17 in odd ones."""
    rng = np.random.default_rng(0)

    def arrays(scale: float) -> Arrays:
        return {"w": scale * rng.normal(size=(2, 3)), "b": scale * rng.normal(size=(3,))}

    return arrays(1.0), [arrays(0.6 if step % 2 == 0 else 6.0) for step in range(STEPS)]


def path(optimizer: optax.GradientTransformation, weights: Arrays, gradients: list[Arrays]) -> list[Arrays]:
    """The weights after each step."""
    update = jax.jit(optimizer.update)
    at, state, found = jax.tree.map(jnp.asarray, weights), optimizer.init(jax.tree.map(jnp.asarray, weights)), []
    for gradient in gradients:
        updates, state = update(gradient, state, at)
        at = optax.apply_updates(at, updates)
        found.append(jax.tree.map(np.asarray, at))
    return found


def torch_clip(gradient: Arrays, limit: float) -> Arrays:
    """torch.nn.utils.clip_grad_norm_."""
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradient.values()))
    scale = min(1.0, limit / (norm + 1e-6))
    return {name: g * scale for name, g in gradient.items()}


def torch_sgd(
    weights: Arrays,
    gradients: list[Arrays],
    rates: list[float],
    momentum: float,
    decay: float,
    nesterov: bool,
    limit: float | None,
) -> list[Arrays]:
    """torch.optim.SGD; the first step sets the buffer to the decayed gradient."""
    weights, buffers, found = dict(weights), {}, []
    for gradient, rate in zip(gradients, rates, strict=True):
        gradient = gradient if limit is None else torch_clip(gradient, limit)
        for name, w in weights.items():
            g = gradient[name] + decay * w
            buffers[name] = momentum * buffers[name] + g if name in buffers else g
            weights[name] = w - rate * (g + momentum * buffers[name] if nesterov else buffers[name])
        found.append(dict(weights))
    return found


def torch_adam(weights: Arrays, gradients: list[Arrays], rate: float, b1: float, b2: float, decay: float) -> list[Arrays]:
    """torch.optim.Adam with its weight_decay, eps 1e-8."""
    weights, found = dict(weights), []
    first, second = ({name: np.zeros_like(w) for name, w in weights.items()} for _ in range(2))
    for step, gradient in enumerate(gradients, 1):
        for name, w in weights.items():
            g = gradient[name] + decay * w
            first[name] = b1 * first[name] + (1 - b1) * g
            second[name] = b2 * second[name] + (1 - b2) * g * g
            denominator = np.sqrt(second[name]) / math.sqrt(1 - b2**step) + 1e-8
            weights[name] = w - rate / (1 - b1**step) * first[name] / denominator
        found.append(dict(weights))
    return found


def assert_equal_paths(ours: list[Arrays], theirs: list[Arrays]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        for name in b:
            assert a[name].dtype == np.float64
            np.testing.assert_allclose(a[name], b[name], rtol=1e-12, atol=1e-13)


@pytest.mark.quick
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("limit", [None, 5.0])
def test_sgd_equals_torch(problem: tuple[Arrays, list[Arrays]], nesterov: bool, limit: float | None) -> None:
    optimizer = sgd(0.1, momentum=0.9, weight_decay=0.03, nesterov=nesterov)
    ours = path(optimizer if limit is None else clipped(limit, optimizer), *problem)
    assert_equal_paths(ours, torch_sgd(*problem, [0.1] * STEPS, 0.9, 0.03, nesterov, limit))


def test_sgd_follows_a_schedule_from_step_0(problem: tuple[Arrays, list[Arrays]]) -> None:
    ours = path(sgd(cosine(0.1, 0.02, epochs=3, steps_per_epoch=2), 0.9, 0.03), *problem)
    rates = [0.02 + 0.04 * (1 + math.cos(math.pi * epoch / 3)) for epoch in (0, 0, 1, 1, 2)]
    assert_equal_paths(ours, torch_sgd(*problem, rates, 0.9, 0.03, False, None))


@pytest.mark.quick
@pytest.mark.parametrize(("b1", "decay"), [(0.5, 1e-3), (0.9, 0.3), (0.0, 0.0)])
def test_adam_equals_torch(problem: tuple[Arrays, list[Arrays]], b1: float, decay: float) -> None:
    assert_equal_paths(path(adam(3e-4, b1, 0.999, decay), *problem), torch_adam(*problem, 3e-4, b1, 0.999, decay))


def test_clipping_is_torchs_and_not_optaxs(problem: tuple[Arrays, list[Arrays]]) -> None:
    def clip(transformation: optax.GradientTransformation, gradient: Any) -> Any:
        return transformation.update(gradient, transformation.init(gradient))[0]

    small, large = problem[1][:2]
    ours, optaxs = clip(clip_by_torch_norm(5.0), large), clip(optax.clip_by_global_norm(5.0), large)
    for name in small:
        np.testing.assert_array_equal(clip(clip_by_torch_norm(5.0), small)[name], small[name])
        np.testing.assert_allclose(ours[name], torch_clip(large, 5.0)[name], rtol=1e-14)
        assert np.abs(ours[name] / optaxs[name] - 1).min() > 1e-8


def test_the_state_behind_the_clip_serves_the_unclipped_step(problem: tuple[Arrays, list[Arrays]]) -> None:
    """DARTS's virtual step reads the real optimizer's momentum: 0.9 buffer + g + decay w, at the present rate."""
    weights, (_, large, gradient, *_) = problem
    rate = cosine(0.1, 0.02, epochs=3, steps_per_epoch=1)
    optimizer = clipped(5.0, sgd(rate, 0.9, 0.03, nesterov=True))
    state: Any = optimizer.update(large, optimizer.init(weights), weights)[1]
    updates: Any = sgd(rate, 0.9, 0.03).update(gradient, state[1], weights)[0]
    for name, w in weights.items():
        buffer = torch_clip(large, 5.0)[name] + 0.03 * w
        np.testing.assert_allclose(updates[name], -0.08 * (0.9 * buffer + gradient[name] + 0.03 * w), rtol=1e-12)


@pytest.mark.quick
def test_the_cosine_of_darts() -> None:
    rate = cosine(0.025, 0.001, epochs=50, steps_per_epoch=390)
    last = 0.001 + 0.012 * (1 - math.cos(math.pi / 50))  # cos(49 pi / 50) = -cos(pi / 50)
    for epoch, expected in ((0, 0.025), (25, 0.013), (49, last), (50, 0.001)):
        for step in (390 * epoch, 390 * epoch + 389):
            assert rate(jnp.asarray(step)) == pytest.approx(expected, rel=1e-14)
    assert rate(jnp.asarray(10**6)) == pytest.approx(0.001, rel=1e-14)


def test_cosine_in_every_step_goes_on_within_an_epoch() -> None:
    # AutoDL-Projects: (1 + cos(pi * (epoch + step / steps) / epochs)) / 2 between the two rates.
    rate = cosine(0.025, 0.001, epochs=4, steps_per_epoch=10, every="step")
    for epoch, step in ((0, 0), (1, 5), (3, 9)):
        expected = 0.001 + 0.024 * (1 + np.cos(np.pi * (epoch + step / 10) / 4)) / 2
        np.testing.assert_allclose(rate(epoch * 10 + step), expected, rtol=1e-5)


def test_the_warm_up_of_autodl_projects() -> None:
    """Its scheduler: the 5 + 295 epochs of GDAS, of which the last five run at the end rate."""

    def theirs(epoch: int, fraction: float) -> float:
        warmup, period, base, end = 5, 295, 0.025, 0.001
        if epoch < warmup:
            return (epoch / warmup + fraction / warmup) * base
        if epoch < period:
            return end + (base - end) * (1 + math.cos(math.pi * (epoch - warmup) / period)) / 2
        return end

    rate: Any = cosine(0.025, 0.001, epochs=300, steps_per_epoch=4, warmup_epochs=5)
    for epoch in (0, 1, 4, 5, 6, 150, 294, 295, 299):
        for step in range(4):
            np.testing.assert_allclose(rate(4 * epoch + step), theirs(epoch, step / 4), rtol=1e-12)


@pytest.mark.quick
def test_the_rising_rate_of_pc_darts() -> None:
    """Loop of train_search_imagenet.py, which sets the rate of five epochs and lets its scheduler go on."""
    rate: Any = rising(cosine(0.5, 0.0, epochs=50, steps_per_epoch=3), 0.5, epochs=5, steps_per_epoch=3)
    for epoch in range(50):
        expected = 0.5 * (epoch + 1) / 5 if epoch < 5 else 0.5 * (1 + math.cos(math.pi * epoch / 50)) / 2
        for step in (3 * epoch, 3 * epoch + 2):
            np.testing.assert_allclose(rate(jnp.asarray(step)), expected, rtol=1e-12)


@pytest.mark.quick
@pytest.mark.parametrize(("warmup", "epochs"), ((0, 250), (5, 250), (5, 7)))
def test_the_linear_schedule_of_pc_darts(warmup: int, epochs: int) -> None:
    rate: Any = linear(0.5, epochs, steps_per_epoch=3, warmup_epochs=warmup)
    for epoch in range(epochs):
        if epochs - epoch > 5:
            expected = 0.5 * (epochs - 5 - epoch) / (epochs - 5)
        else:
            expected = 0.5 * (epochs - epoch) / ((epochs - 5) * 5)
        if epoch < warmup:
            expected *= (epoch + 1) / 5
        np.testing.assert_allclose([rate(3 * epoch), rate(3 * epoch + 2)], expected, rtol=1e-12)


@pytest.mark.quick
def test_the_exponential_schedule_of_darts() -> None:
    rate: Any = exponential(0.1, 0.97, epochs=250, steps_per_epoch=2)
    expected = 0.1
    for epoch in range(250):
        np.testing.assert_allclose([rate(2 * epoch), rate(2 * epoch + 1)], expected, rtol=1e-12)
        expected *= 0.97

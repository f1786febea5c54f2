"""The controller against an independent NumPy implementation, and sums over all architectures."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.controller import ZOPH_AND_LE, Controller, initial, operations_only, read
from jaxnas.errors import UserError

pytestmark = pytest.mark.usefixtures("float64")


def parameters_of(values: Controller, decisions: Any, scale: float = 10.0) -> dict[str, Any]:
    """Larger than at the start, so that distributions are far from level; the bias as it is."""
    found = initial(values, decisions, jax.random.key(3))
    return {name: array if name == "bias" else scale * array for name, array in found.items()}


class Slow:
    """The controller as a loop over Python numbers and vectors, with one method for each kind of decision."""

    def __init__(self, values: Controller, parameters: dict[str, Any]) -> None:
        self.values, self.p = values, {name: np.asarray(array) for name, array in parameters.items()}
        self.hidden = [np.zeros(values.size) for _ in range(values.layers)]
        self.memory = [np.zeros(values.size) for _ in range(values.layers)]
        self.log_probability, self.entropy = 0.0, 0.0

    def lstm(self, x: np.ndarray) -> np.ndarray:
        def sigmoid(y: np.ndarray) -> np.ndarray:
            return 1 / (1 + np.exp(-y))

        size = self.values.size
        for layer in range(self.values.layers):
            y = np.concatenate([x, self.hidden[layer]]) @ self.p["lstm"][layer]
            i, f, o, g = (y[k * size : (k + 1) * size] for k in range(4))
            self.memory[layer] = sigmoid(i) * np.tanh(g) + sigmoid(f) * self.memory[layer]
            self.hidden[layer] = x = sigmoid(o) * np.tanh(self.memory[layer])
        return x

    def decide(self, logits: dict[int, float], choice: int) -> None:
        powers = {which: np.exp(logit) for which, logit in logits.items()}
        shares = {which: power / sum(powers.values()) for which, power in powers.items()}
        self.log_probability += np.log(shares[choice])
        self.entropy -= sum(share * np.log(share) for share in shares.values())

    def operation(
        self, x: np.ndarray, allowed: list[int], choice: int, bonus: np.ndarray | None = None, step: int = 0
    ) -> np.ndarray:
        one = {name: self.p[name] if self.values.shared else self.p[name][step] for name in ("operations", "bias", "embedding")}
        scores = (self.lstm(x) @ one["operations"] + one["bias"]) / self.values.temperature
        if self.values.tanh_constant > 0:
            scores = self.values.tanh_constant / self.values.operation_tanh_reduce * np.tanh(scores)
        scores = scores if bonus is None else scores + bonus
        self.decide({which: scores[which] for which in allowed}, choice)
        return one["embedding"][choice]


@pytest.mark.quick
@pytest.mark.parametrize("values", [Controller(size=5), dataclasses.replace(ZOPH_AND_LE, size=4)], ids=["ENAS", "Zoph and Le"])
def test_operations_against_a_slow_implementation(values: Controller) -> None:
    present = np.array([[True, True, True], [True, True, False], [False, True, True]])
    decisions = operations_only(present)
    parameters = parameters_of(values, decisions)
    read_it, total = jax.jit(lambda choices: read(values, decisions, parameters, choices)), 0.0
    for choices in itertools.product(*(np.flatnonzero(row) for row in present)):
        slow, x = Slow(values, parameters), np.asarray(parameters["start"])
        for step, (row, choice) in enumerate(zip(present, choices, strict=True)):
            x = slow.operation(x, np.flatnonzero(row).tolist(), int(choice), step=step)
        found = read_it(jnp.array(choices))
        np.testing.assert_allclose((found.log_probability, found.entropy), (slow.log_probability, slow.entropy), rtol=1e-12)
        total += float(np.exp(found.log_probability))
    np.testing.assert_allclose(total, 1.0, rtol=1e-12)


def test_values_that_cannot_be() -> None:
    with pytest.raises(UserError, match="temperature must be positive, got 0"):
        Controller(temperature=0.0)
    with pytest.raises(UserError, match="tanh_constant must be a finite number, got nan"):
        Controller(tanh_constant=float("nan"))

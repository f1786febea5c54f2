"""A hypergradient for a bilevel problem of one's own: how strongly each weight of a regression is held, by validation.

    python examples/own_bilevel.py

The lower level is solved exactly here; any optimizer that ends near its minimum will do. Nothing of jaxnas but this one piece.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxnas.hypergradients import conjugate_gradient

KEYS = jax.random.split(jax.random.key(0), 4)
TRUE = jnp.array([2.0, -1.0, 0.0, 0.0, 0.0, 0.0])  # Four of six features say nothing.
X, XV = jax.random.normal(KEYS[0], (12, 6)), jax.random.normal(KEYS[1], (200, 6))
Y, YV = X @ TRUE + jax.random.normal(KEYS[2], (12,)), XV @ TRUE + jax.random.normal(KEYS[3], (200,))


def train_loss(weights: jax.Array, penalties: jax.Array) -> jax.Array:
    return jnp.mean((X @ weights - Y) ** 2) + jnp.sum(jnp.exp(penalties) * weights**2)


def valid_loss(weights: jax.Array, penalties: jax.Array) -> jax.Array:
    return jnp.mean((XV @ weights - YV) ** 2)


def fit(penalties: Any) -> jax.Array:
    return jnp.linalg.solve(X.T @ X / len(X) + jnp.diag(jnp.exp(penalties)), X.T @ Y / len(X))


def gradient(penalties: jax.Array) -> tuple[jax.Array, jax.Array]:
    hypergradient = conjugate_gradient(steps=6)  # As many as there are weights: exact.
    (value, _), found = hypergradient(train_loss, valid_loss, fit(penalties), penalties, optax.sgd(0.1), None)
    return value, found


if __name__ == "__main__":
    penalties, adam = jnp.zeros(6), optax.adam(0.1)
    state = adam.init(penalties)
    for step in range(101):
        value, found = jax.jit(gradient)(penalties)
        updates, state = adam.update(found, state)
        penalties = optax.apply_updates(penalties, updates)
        if step % 50 == 0:
            print(f"step {step}: validation error {value:.3f}, weights {fit(penalties).round(2)}")

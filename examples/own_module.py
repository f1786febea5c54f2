"""A mixed operation in a Flax module of one's own: which kernel sees an echo in signals, searched in one's own optax loop.

python examples/own_module.py
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxnas.relaxations import initial_alphas, softmax
from jaxnas.spaces import nb201_family

SPACE = nb201_family("kernels", (("nor_conv_1x1", "nor_conv_3x3", "dil_conv_3x3"),), nodes=1)


class Detector(nn.Module):
    @nn.compact
    def __call__(self, signals: jax.Array, shares: jax.Array) -> jax.Array:
        candidates = [nn.Conv(8, (1,)), nn.Conv(8, (3,)), nn.Conv(8, (3,), kernel_dilation=4)]
        mixed = sum(share * candidate(signals) for share, candidate in zip(shares, candidates, strict=True))
        return nn.Dense(1)(jnp.mean(mixed**2, axis=1))[:, 0]


def signals(key: Any, count: int = 128) -> tuple[jax.Array, jax.Array]:
    noise, labels = jax.random.normal(key, (count, 64)), jnp.arange(count) % 2
    return jnp.where(labels[:, None] == 1, (noise + jnp.roll(noise, 4, 1)) / jnp.sqrt(2), noise)[..., None], labels


def loss(weights: Any, alphas: Any, batch: Any) -> jax.Array:
    mixture, _ = softmax(SPACE)(alphas, jax.random.key(0), {}, "weights")
    return optax.sigmoid_binary_cross_entropy(Detector().apply(weights, batch[0], mixture["cell"][0]), batch[1]).mean()


def search(steps: int = 150, seed: int = 0) -> tuple[str, Any]:
    key, optimizer = jax.random.key(seed), optax.adam(0.02)
    levels = [Detector().init(key, signals(key)[0], jnp.ones(3)), initial_alphas(SPACE, key)]
    states = [optimizer.init(level) for level in levels]

    @jax.jit
    def move(levels: Any, states: Any, step: jax.Array) -> Any:
        for level in (1, 0):  # The alphas by other signals than the weights.
            gradient = jax.grad(loss, level)(*levels, signals(jax.random.fold_in(key, 2 * step + level)))
            updates, states[level] = optimizer.update(gradient, states[level])
            levels[level] = optax.apply_updates(levels[level], updates)
        return levels, states

    for step in range(steps):
        levels, states = move(levels, states, step)
    return SPACE.cell("cell").operations[0][int(levels[1]["cell"][0].argmax())], levels


if __name__ == "__main__":
    print(search()[0])

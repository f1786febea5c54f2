"""A supernet in an optax loop of one's own, with the expected multiply-adds of what it stands for in the alphas' loss.

python examples/own_loop.py
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxnas.data import load, normalise
from jaxnas.derive import derive
from jaxnas.latency.counted import multiply_adds
from jaxnas.latency.terms import expected
from jaxnas.nets import Shape, supernet
from jaxnas.relaxations import initial_alphas, softmax
from jaxnas.spaces import Genotype, nb201_family

SPACE = nb201_family("small", ("skip_connect", "nor_conv_1x1", "nor_conv_3x3"), nodes=2)
SHAPE = Shape(channels=4, cells=1, classes=10, image_size=8)
NETWORK, RELAX, COST = supernet(SPACE, SHAPE), softmax(SPACE), expected(SPACE, multiply_adds(SPACE, SHAPE))


def loss(weights: Any, alphas: Any, images: Any, labels: Any, price: Any) -> jax.Array:
    mixture, probabilities = RELAX(alphas, jax.random.key(0), {}, "weights")
    logits, _ = NETWORK.forward(weights, mixture, images, jax.random.key(0), {})
    task = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return task + price * COST(probabilities)


def search(steps: int, price: float, batch: int = 32) -> tuple[Genotype, Any]:
    digits, optimizers = load("digits"), [optax.sgd(0.05, 0.9), optax.adam(0.1)]
    levels = [NETWORK.init(jax.random.key(0))[0], initial_alphas(SPACE, jax.random.key(1))]
    states = [optimizer.init(level) for optimizer, level in zip(optimizers, levels, strict=True)]
    gradients = jax.jit(jax.grad(loss, (0, 1)))
    for step in range(steps):
        for level, half in ((1, digits.search_valid), (0, digits.search_train)):
            rows = slice(step * batch % 600, step * batch % 600 + batch)
            images = normalise(jnp.asarray(half.images[rows]), digits.mean, digits.std)
            gradient = gradients(*levels, images, half.labels[rows], price)[level]
            updates, states[level] = optimizers[level].update(gradient, states[level])
            levels[level] = optax.apply_updates(levels[level], updates)
    return derive(SPACE, levels[1]), levels[1]


if __name__ == "__main__":
    print("free     ", search(100, 0.0)[0])
    print("expensive", search(100, 1e-4)[0])

"""The supernet by GDAS's conventions: in what it differs from DARTS's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.nets import Shape, supernet
from jaxnas.spaces import darts, darts_family, gdas


def test_it_has_a_last_batch_norm_more_than_darts() -> None:
    # Two cells a stage are six here: the references' third and fifth halve the image. The last one gives out 4 x 64 channels.
    shape = Shape(channels=16, cells=6, classes=10)
    assert supernet(gdas(), shape).parameters == supernet(darts(), shape).parameters + 2 * 256


def test_pools_are_bare_and_batch_norm_and_relu_come_before_the_classifier() -> None:
    names = ("max_pool_3x3", "skip_connect")
    ours, theirs = (darts_family("pools", names, nodes=1, conventions=conventions) for conventions in ("gdas", "darts"))
    shape = Shape(channels=2, cells=3, classes=3, image_size=4)
    net = supernet(ours, shape)
    weights, statistics = net.init(jax.random.key(0))
    _, of_darts = supernet(theirs, shape).init(jax.random.key(0))
    assert "max_pool_3x3" in of_darts["cells"][0]["between_nodes"]["stacks"]
    assert "max_pool_3x3" not in statistics["cells"][0].get("between_nodes", {}).get("stacks", {})

    # Without a scale the last batch norm gives out its shift, and that the classifier's ReLU cuts.
    shift = jnp.linspace(-1, 1, 8)
    weights["lastact"][0] = {"weight": jnp.zeros(8), "bias": shift}
    mixture = {kind: jnp.full((2, 2), 0.5) for kind in ("normal", "reduce")}
    images = jax.random.normal(jax.random.key(1), (2, 4, 4, 3))
    logits, _ = jax.jit(net.forward)(weights, mixture, images, jax.random.key(2), {})
    classifier = weights["classifier"]
    expected = classifier["weight"] @ jnp.maximum(shift, 0) + classifier["bias"]
    np.testing.assert_allclose(logits, jnp.broadcast_to(expected, (2, 3)), rtol=1e-5)

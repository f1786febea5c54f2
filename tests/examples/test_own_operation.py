"""The documented example of one's own operation: what it computes, in a supernet and in the network that is derived."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnas.counting import multiply_adds
from jaxnas.derive import derive, one_hot_mixture
from jaxnas.nets import Pass, Style, add_operation, derived, supernet
from jaxnas.nets.rows import from_rows, to_rows
from jaxnas.spaces import from_text, to_text

pytestmark = pytest.mark.quick


def test_it_takes_fewer_than_40_lines(lines_of_code: int) -> None:
    assert 0 < lines_of_code < 40


def test_the_operation_is_a_convolution_of_the_swish(example: Any) -> None:
    module = example.swish_conv(4, 2, Style(affine=False))
    kernel = jax.random.normal(jax.random.key(0), module.op[1].weight.shape)
    module.op[1].weight.set_value(kernel)
    images = jax.random.normal(jax.random.key(1), (3, 8, 8, 4))
    out = from_rows(module(to_rows(images), Pass(3, True, jax.random.key(2))), 3)
    expected = lax.conv_general_dilated(
        images * jax.nn.sigmoid(images), kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "OIHW", "NHWC")
    )
    expected = (expected - expected.mean((0, 1, 2))) / jnp.sqrt(expected.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("float64")
def test_its_gradient_reaches_the_alphas_and_what_is_derived_has_it(example: Any) -> None:
    net = supernet(example.SPACE, example.SHAPE)
    weights = jax.tree.map(lambda leaf: leaf.astype("float64"), net.init(jax.random.key(0))[0])
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3), "float64")

    def first_logit(share: Any) -> jax.Array:
        mixture = {"cell": jnp.stack([1 - share, share])[None]}
        return net.forward(weights, mixture, images, jax.random.key(2), {})[0][0, 0]

    slope = jax.jit(jax.grad(first_logit))(0.5)
    step = 1e-6
    np.testing.assert_allclose(slope, (first_logit(0.5 + step) - first_logit(0.5 - step)) / (2 * step), rtol=1e-6)
    found = derive(example.SPACE, {"cell": jnp.array([[0.0, 1.0]])})
    assert from_text(to_text(found)) == found and "swish_conv_3x3" in to_text(found)
    assert one_hot_mixture(example.SPACE, found)["cell"].tolist() == [[0.0, 1.0]]
    # Its kernels are those of a 3x3 convolution in each of the three stages, and counted.
    plain = from_text(to_text(found).replace("swish_conv_3x3", "nor_conv_3x3"))
    networks = [derived(genotype, example.SHAPE) for genotype in (found, plain)]
    assert networks[0].parameters == networks[1].parameters
    assert multiply_adds(networks[0], 8) == multiply_adds(networks[1], 8)


def test_names_that_are_taken_or_no_words_are_refused(example: Any) -> None:
    with pytest.raises(ValueError, match="There is an operation 'swish_conv_3x3' already"):
        add_operation("swish_conv_3x3", example.swish_conv)
    with pytest.raises(ValueError, match="a word of letters, digits and _, got 'swish conv'"):
        add_operation("swish conv", example.swish_conv)

"""One's own operation among the candidates of one's own cell, searched, derived and built as a network of its own.

    python examples/own_operation.py

A module maps rows ``[H, C, W*N]`` to rows; made of jaxnas's layers it runs as fast as the others, and is counted.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnas.derive import derive
from jaxnas.nets import BatchNorm, Convolution, Pass, Sequence, Shape, Style, add_operation, derived, supernet
from jaxnas.relaxations import softmax
from jaxnas.spaces import nb201_family


class Swish(nnx.Module):
    def __call__(self, x: jax.Array, context: Pass) -> jax.Array:
        return jax.nn.swish(x)


def swish_conv(channels: int, stride: int, style: Style) -> Sequence:
    kernel = Convolution(channels, channels, (3, 3), stride=(stride, stride))
    return Sequence(Swish(), kernel, BatchNorm(channels, style.affine))


add_operation("swish_conv_3x3", swish_conv)
SPACE = nb201_family("mine", ("skip_connect", "swish_conv_3x3"), nodes=1)
SHAPE = Shape(channels=4, cells=1, classes=10, image_size=8)

if __name__ == "__main__":
    alphas = {"cell": jnp.array([[0.0, 1.0]])}
    net = supernet(SPACE, SHAPE)
    mixture, _ = softmax(SPACE)(alphas, jax.random.key(0), {}, "weights")
    logits, _ = net.forward(net.init(jax.random.key(1))[0], mixture, jnp.ones((2, 8, 8, 3)), jax.random.key(2), {})
    found = derive(SPACE, alphas)
    print(found, logits.shape, derived(found, SHAPE).parameters)

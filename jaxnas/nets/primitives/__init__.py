"""The operations on rows that every network here is made of, as JAX primitives closed under differentiation.

**Why own primitives.** XLA runs grouped convolutions and ``reduce_window`` slowly on a CPU, and its derivatives of
convolutions 35 to 50 times slower inside ``scan`` and ``cond`` (jax issue 12868). Here every operation is a sum or a
maximum of shifted slices, or a matrix product of them. Autodiff would turn each slice into a padded addition, so the
bilinear operations come in triples - value, gradient in the images, gradient in the kernel - each of which is
bilinear again and has the other two as its transposes. They can thus be differentiated in either mode, any number
of times. Every lowering is in this folder.

Convolutions pad symmetrically by ``dilation * (kernel - 1) // 2``, as the PyTorch references do; kernels are in PyTorch's
order, depthwise ``[C, K, L]``, dense ``[C_out, C_in, K, L]``.
"""

from jaxnas.nets.primitives.dense_convolution import convolution
from jaxnas.nets.primitives.depthwise_convolution import depthwise
from jaxnas.nets.primitives.pooling import avg_pool, max_pool

__all__ = ["avg_pool", "convolution", "depthwise", "max_pool"]

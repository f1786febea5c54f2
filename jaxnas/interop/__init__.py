"""Weights by the names of PyTorch's reference implementations; conformance with their records is in ``golden``."""

from jaxnas.interop.torch_names import Leaf as Leaf
from jaxnas.interop.torch_names import from_state_dict as from_state_dict
from jaxnas.interop.torch_names import to_state_dict as to_state_dict
from jaxnas.interop.torch_names import torch_names as torch_names

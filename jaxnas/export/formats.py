"""The formats that a trained network is exported to, each compared with the network before it is handed out."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import nnx
from jax import Array

from jaxnas.errors import UserError, did_you_mean
from jaxnas.export.flax_file import network_module, network_source
from jaxnas.export.folding import fold
from jaxnas.export.trained_network import TrainedNetwork, writer
from jaxnas.spaces import Genotype, to_json, to_text

Format = Literal["genotype", "safetensors", "flax", "stablehlo", "onnx"]

GENOTYPE, WEIGHTS, FLAX, STABLEHLO, ONNX = (
    "genotype.json", "weights.safetensors", "network.py", "network.stablehlo", "network.onnx",
)  # fmt: skip
PREPROCESSING = "preprocessing.json"

FILES: dict[Format, tuple[str, ...]] = {
    "genotype": (GENOTYPE,),
    "safetensors": (WEIGHTS, PREPROCESSING),
    "flax": (FLAX, WEIGHTS, PREPROCESSING),
    "stablehlo": (STABLEHLO, PREPROCESSING),
    "onnx": (ONNX, PREPROCESSING),
}
"""The files of each format."""

LIMIT = 1e-4
"""How far outputs may be from the network's own, in parts of its largest output: both are sums in float32, in other orders."""

PLATFORMS = ("cpu", "cuda", "tpu")


@dataclasses.dataclass(frozen=True)
class Export:
    """What an export leaves.

    Attributes:
      files: contents by name.
      differences: of each format that computes, the largest difference of an output from the network's, in parts of its
        largest output.
    """

    files: Mapping[str, bytes]
    differences: Mapping[Format, float]

    @property
    def passed(self) -> bool:
        """Whether all outputs are within :data:`LIMIT`; not where one is no number."""
        return all(difference <= LIMIT for difference in self.differences.values())


def check_formats(names: Sequence[str]) -> list[Format]:
    """The formats of these names, without repetitions.

    Raises:
      UserError: an unknown name, none, or ONNX where its packages are missing.

    >>> check_formats(["stablehlo", "genotype", "genotype"])
    ['genotype', 'stablehlo']
    """
    if not names:
        raise UserError(f"To which formats? Give --to and one or more of {', '.join(FILES)}.")
    for name in names:
        if name not in FILES:
            raise UserError(f"Unknown format {name!r}. {did_you_mean(name, FILES)}")
    if "onnx" in names:
        _require_onnx()
    return [name for name in FILES if name in names]


def files_of(formats: Sequence[Format]) -> list[str]:
    """Names of all their files.

    >>> files_of(["flax", "onnx"])
    ['network.py', 'weights.safetensors', 'preprocessing.json', 'network.onnx']
    """
    return list(dict.fromkeys(name for format in formats for name in FILES[format]))


def genotype_file(genotype: Genotype) -> bytes:
    """The genotype's JSON, as in the folder of a run."""
    return _json(to_json(genotype, genotype.family))


def export(trained: TrainedNetwork, formats: Sequence[Format], images: np.ndarray) -> Export:
    """A trained network in several formats.

    - ``genotype``: JSON.
    - ``safetensors``: weights and running statistics by the names, and in the layout, of PyTorch's reference implementation.
    - ``flax``: one Python file of plain Flax, which needs jax, flax and safetensors; it loads those weights.
    - ``stablehlo``: what ``jax.export.deserialize`` reads, float32 images ``[N, H, W, 3]`` to logits for any N, the weights
      inside, for CPU, CUDA and TPU.
    - ``onnx``: the same function, with an input ``images`` and an output ``logits``.

    In the last two batch norms are folded into the convolutions before them. All get normalised images; ``preprocessing.json``
    says how.

    Args:
      trained: the network.
      formats: what to make.
      images: float32 ``[N, H, W, 3]``, normalised: on these the outputs are compared with the network's.

    Raises:
      UserError: a network whose outputs are random, or that has an operation of one's own, to a format that computes.
    """
    arrays = trained.arrays()
    files: dict[str, bytes] = {}
    computed: dict[Format, np.ndarray] = {}
    if "genotype" in formats:
        files[GENOTYPE] = genotype_file(trained.genotype)
    if any(WEIGHTS in FILES[name] for name in formats):
        files[WEIGHTS] = safetensors.numpy.save(arrays, _metadata(trained))
    computing = [name for name in formats if name in ("flax", "stablehlo", "onnx")]
    if computing:
        source = network_source(trained, WEIGHTS)
        network = _network(source, arrays)
        if "flax" in formats:
            files[FLAX] = source.encode()
            computed["flax"] = np.asarray(jax.jit(_function(network))(images))
        fold(network)
        if "stablehlo" in formats:
            files[STABLEHLO] = stablehlo(_function(network), images.shape[1:])
            computed["stablehlo"] = np.asarray(jax.export.deserialize(bytearray(files[STABLEHLO])).call(images))
        if "onnx" in formats:
            from jaxnas.export.onnx_graph import onnx_bytes  # Its packages are an extra.

            files[ONNX] = onnx_bytes(_function(network), images.shape[1:], "network")
            computed["onnx"] = run_onnx(files[ONNX], images)
    if any(PREPROCESSING in FILES[name] for name in formats):
        files[PREPROCESSING] = _json(trained.preprocessing())
    if not computed:
        return Export(files, {})
    logits = np.asarray(jax.jit(trained.logits)(images))
    largest = np.abs(logits).max()
    return Export(files, {name: float(np.abs(found - logits).max() / largest) for name, found in computed.items()})


def stablehlo(function: Callable[[Array], Array], shape: tuple[int, ...]) -> bytes:
    """What ``jax.export`` serializes of a function on any number of float32 images of a shape."""
    sizes = jax.export.symbolic_shape(f"batch, {', '.join(map(str, shape))}")
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(jax.ShapeDtypeStruct(sizes, jnp.float32))
    return bytes(exported.serialize())


def run_onnx(model: bytes, images: np.ndarray) -> np.ndarray:
    """The logits that ONNX Runtime computes on this machine's CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"images": images})[0])


def _network(source: str, arrays: Mapping[str, np.ndarray]) -> Any:
    """The network of an exported file, with weights."""
    module = network_module(source)
    network = nnx.eval_shape(lambda: module.build(nnx.Rngs(0)))
    module.load_weights(network, arrays)
    network.eval()
    return network


def _function(network: Any) -> Callable[[Array], Array]:
    """A network as a function of images, its weights of this moment inside."""
    graph, state = nnx.split(network)
    return lambda images: nnx.merge(graph, state)(images)


def _metadata(trained: TrainedNetwork) -> dict[str, str]:
    """What the file of weights says of itself; safetensors has text alone."""
    return {
        "written_by": writer(),
        "genotype": to_text(trained.genotype),
        "shape": json.dumps(dataclasses.asdict(trained.shape)),
        "preprocessing": json.dumps(trained.preprocessing()),
    }


def _json(document: Any) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()


def _require_onnx() -> None:
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"The format onnx needs {package}. Run: pip install onnx onnxruntime")

"""The plain Flax file of a network: the definitions of ``plain`` that it uses, its genotype, how images are prepared."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import textwrap
import types
from collections.abc import Iterable
from typing import Any

from jaxnas.errors import UserError
from jaxnas.export import plain
from jaxnas.export.trained_network import TrainedNetwork, writer
from jaxnas.nets import Shape
from jaxnas.spaces import BlockGenotype, Genotype, Nb201Genotype, mbconv, to_text

STYLES = {"proxyless": "MobileStyle(nnx.relu6, 1e-3, False)", "fbnet": "MobileStyle(nnx.relu, 1e-5, True)"}
"""The conventions of :data:`jaxnas.nets.mobile.STYLES`."""

_FILE = '''"""A network that {writer} found and trained, in plain Flax. It needs jax, flax and safetensors.

    network = load("{weights}")
    logits = network(preprocess(images))  # images: uint8 [N, {size}, {size}, 3], red, green, blue

{genotype}

The weights have the names of PyTorch's reference implementation. ``network.train()`` makes batch norms use the batch's moments,
of which Flax keeps the biased variance; drop path, dropout and auxiliary head of jaxnas's training are not in this file.
"""

{imports}

IMAGE_SIZE = {size}{cropped}
MEAN, STD = {mean}, {std}
CLASS_NAMES = {class_names}


{pieces}


{plan}


def preprocess(images: jax.Array | np.ndarray) -> jax.Array:
    """Pixels 0..255 as the network was trained on: float32 of the same shape."""
    return (jnp.asarray(images, jnp.float32) / 255 - jnp.asarray(MEAN, jnp.float32)) / jnp.asarray(STD, jnp.float32)


def build(rngs: nnx.Rngs) -> {network}:
    """The network with new weights."""
    return {construction}


def load(path: str) -> {network}:
    """The network with the weights of a safetensors file, in evaluation mode."""
    network = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    load_weights(network, safetensors.numpy.load_file(path))
    network.eval()
    return network
'''


def network_source(trained: TrainedNetwork, weights: str) -> str:
    """The file, as text.

    Args:
      trained: the network.
      weights: name of the safetensors file beside it, for its first lines.

    Raises:
      UserError: a genotype with noise, whose outputs are drawn anew for every batch, or with an operation of one's own.
    """
    construction, plan, used = _construction(trained)
    network = construction.partition("(")[0]
    tail = {
        "writer": writer(),
        "weights": weights,
        "size": trained.shape.image_size,
        "genotype": textwrap.fill(to_text(trained.genotype), 120, initial_indent="    ", subsequent_indent="    "),
        "cropped": "  # the centre of the data set's images" if trained.cropped else "",
        "mean": tuple(trained.mean),
        "std": tuple(trained.std),
        "class_names": _tuple(map(json.dumps, trained.class_names)),
        "plan": plan,
        "network": network,
        "construction": construction,
    }
    pieces = "\n\n\n".join(_pieces({network, "load_weights", *used}))
    body = _FILE.format(imports="", pieces=pieces, **tail)
    return _FILE.format(imports=_imports(body), pieces=pieces, **tail)


def network_module(source: str) -> Any:
    """The file's text as a module."""
    module = types.ModuleType("exported_network")
    exec(compile(source, "<exported network>", "exec"), module.__dict__)
    return module


def _construction(trained: TrainedNetwork) -> tuple[str, str, set[str]]:
    """How the network is built, the constants for it, and which definitions both use."""
    genotype, shape = trained.genotype, trained.shape
    _check(genotype)
    if isinstance(genotype, BlockGenotype):
        blocks = [f"({_block(name)}, {channels}, {stride})" for name, channels, stride in genotype.blocks]
        plan = f"STYLE = {STYLES[genotype.style]}\nBLOCKS = {_tuple(blocks)}"
        call = f"MobileNetwork(STYLE, {genotype.stem}, BLOCKS, {genotype.head}, {shape.classes}, rngs)"
        return call, plan, {"MobileStyle", *("mbconv" if mbconv(name) else "skip" for name, _, _ in genotype.blocks)}
    assert isinstance(shape, Shape)
    sizes = f"channels={shape.channels}, cells={shape.cells}, classes={shape.classes}, rngs=rngs"
    operations = {name for cell in genotype.cells.values() for name, _, _ in cell}
    if isinstance(genotype, Nb201Genotype):
        return f"NasBench201(NODES, {sizes})", f"NODES = {_tuple(map(_edges, genotype.nodes))}", operations
    network = "DartsImageNet" if shape.template == "imagenet" else "DartsCifar"
    plans = [
        f"{name} = CellPlan({_tuple([f'edges={_edges(edges)}', f'concat={concat}'])[1:-1]})"
        for name, edges, concat in (
            ("NORMAL", genotype.normal, genotype.normal_concat),
            ("REDUCTION", genotype.reduce, genotype.reduce_concat),
        )
    ]
    return f"{network}(NORMAL, REDUCTION, {sizes})", "\n".join(plans), operations


def _check(genotype: Genotype) -> None:
    if isinstance(genotype, BlockGenotype):
        return
    names = {name for cell in genotype.cells.values() for name, _, _ in cell}
    if "noise" in names:
        raise UserError(
            "The genotype has the operation 'noise', which draws its outputs anew for every batch: no function of images that "
            "could be exported or compared. Its genotype and weights can: --to genotype safetensors."
        )
    own = sorted(name for name in names if not _is_operation(name))
    if own:
        raise UserError(
            f"The genotype has the operation {own[0]!r} of your own, which cannot be written in plain Flax, nor in StableHLO "
            "or ONNX, which are made of it. Its genotype and weights can be exported: --to genotype safetensors."
        )


def _is_operation(name: str) -> bool:
    function = getattr(plain, name, None)
    return inspect.isfunction(function) and tuple(inspect.signature(function).parameters) == ("channels", "stride", "rngs")


def _block(name: str) -> str:
    operation = mbconv(name)
    if operation is None:
        return "skip"
    groups = f", groups={operation.groups}" if operation.groups > 1 else ""
    return f"mbconv(kernel={operation.kernel}, expansion={operation.expansion}{groups})"


def _edges(pairs: Iterable[tuple[str, int]]) -> str:
    return _tuple(f"({name}, {source})" for name, source in pairs)


def _tuple(items: Iterable[str]) -> str:
    """A tuple's source, an item a line where it is long."""
    items = list(items)
    line = f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    return line if len(line) < 60 else "(\n" + textwrap.indent(",\n".join(items), "    ") + ",\n)"


@functools.cache
def _definitions() -> dict[str, tuple[str, frozenset[str]]]:
    """The top-level definitions of ``plain`` in order: source and the names that it mentions."""
    source = inspect.getsource(plain)
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            name = node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            (target,) = node.targets if isinstance(node, ast.Assign) else (node.target,)
            assert isinstance(target, ast.Name)
            name = target.id
        else:
            continue
        mentioned = frozenset(part.id for part in ast.walk(node) if isinstance(part, ast.Name))
        found[name] = (ast.get_source_segment(source, node) or "", mentioned)
    return found


def _pieces(wanted: set[str]) -> list[str]:
    """The source of these definitions and of all that they use."""
    definitions, todo, taken = _definitions(), set(wanted), set()
    while todo:
        name = todo.pop()
        taken.add(name)
        todo |= (definitions[name][1] & definitions.keys()) - taken
    return [source for name, (source, _) in definitions.items() if name in taken]


def _imports(body: str) -> str:
    """The imports that the file needs, in the order of isort."""
    mentioned = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    lines = []
    for module, names in (("collections.abc", ("Callable", "Mapping")), ("typing", ("Any", "NamedTuple"))):
        used = [name for name in names if name in mentioned]
        lines += [f"from {module} import {', '.join(used)}"] if used else []
    libraries = [
        "import jax",
        "import jax.numpy as jnp",
        "import numpy as np",
        "import safetensors.numpy",
        "from flax import nnx",
    ]
    return "\n".join([*lines, "", *libraries])

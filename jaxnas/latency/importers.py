"""Published tables of latencies in jaxnas's form."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from jaxnas.errors import UserError, did_you_mean
from jaxnas.latency.additive import Additive, fit, fitted_table
from jaxnas.latency.encodings import encode
from jaxnas.latency.graphs import GRAPHS, Graph, has_path
from jaxnas.latency.layers import Layer
from jaxnas.latency.measured import read_columns, read_measured
from jaxnas.latency.table import Row, Table, edge_key, shape_fields
from jaxnas.nets import ChainShape, Shape
from jaxnas.spaces import BlockSpace, Genotype, Space

_KEY = re.compile(
    r"(?P<name>\w+)-input:(?P<h>\d+)x(?P<w>\d+)x(?P<c>\d+)"
    r"-output:((?P<h_out>\d+)x(?P<w_out>\d+)x)?(?P<c_out>\d+)(?P<rest>(-\w+:\d+)*)"
)
_BLOCK = ("expand", "kernel", "stride", "idskip")
_LAYERS = {"Conv": "stem", "Conv_1": "head", "Logits": "classifier"}
_MOBILENET_V3_LAYERS = {
    "Conv": "stem",
    "Conv_1": "final_expansion",
    "AvgPool2D": "average_pool",
    "Conv_2": "head",
    "Logits": "classifier",
}


def proxylessnas(path: Path, device: str, batch: int | None = None, precision: str | None = None) -> Table:
    """A table of ProxylessNAS's (han-cai/files, proxylessnas/mobile_trim.yaml) or of Once-for-All's MobileNetV3 (ofa/note10).

    Times are means in milliseconds. The former's rows are those of space ``proxyless``; its logits include the pooling before.
    Once-for-All's blocks have squeeze-and-excitation and hard swish, and expansions in channels: no space of jaxnas has them,
    so its rows have a style of their own and no costs but their sums.

    Args:
      path: the YAML file.
      device: what was measured; the files do not say.

    Raises:
      UserError: a file that is no such table, an unknown key, a time that is negative or no number: the row is named.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no YAML file: {error}") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} is no table: it must be a mapping of rows to their mean, var or std, and count.")
    mobilenet_v3 = any("-se:" in str(key) for key in content)
    rows: dict[str, Row] = {}
    for key, value in content.items():
        try:
            rows[_layer(str(key), mobilenet_v3).key] = _row(value)
        except UserError as error:
            raise UserError(f"{path}, row {key}: {error}") from error
    space = "ofa_mobilenet_v3" if mobilenet_v3 else "proxyless"
    return Table("layers", space, device, batch, precision, rows, source=f"imported from {path.name}")


def _layer(key: str, mobilenet_v3: bool) -> Layer:
    found = _KEY.fullmatch(key)
    names = _MOBILENET_V3_LAYERS if mobilenet_v3 else _LAYERS
    if found is None or found["name"] not in (*names, "expanded_conv"):
        raise UserError(f"unknown row. Known are NAME-input:HxWxC-output:HxWxC... of {', '.join((*names, 'expanded_conv'))}.")
    numbers = {name: int(number) for name, number in (part.split(":") for part in found["rest"].split("-")[1:])}
    h, w, c, c_out = (int(found[part]) for part in ("h", "w", "c", "c_out"))
    style = "mobilenet_v3" if mobilenet_v3 else "proxyless"
    if found["name"] != "expanded_conv":
        stride = -(-h // int(found["h_out"])) if found["h_out"] else 1
        layer = Layer(style, names[found["name"]], c, c_out, h, w, stride)
    else:
        needed = (*_BLOCK, "se", "hs") if mobilenet_v3 else _BLOCK
        if tuple(numbers) != needed:
            raise UserError(f"a block has {', '.join(needed)}, in this order.")
        if numbers["idskip"] != (numbers["stride"] == 1 and c == c_out):
            raise UserError("idskip must be 1 where the block keeps its shape, and 0 elsewhere.")
        operation = f"{numbers['kernel']}x{numbers['kernel']}_MBConv"
        if mobilenet_v3:
            operation += f"_channels{numbers['expand']}_se{numbers['se']}_hs{numbers['hs']}"
        else:
            operation += str(numbers["expand"])
        layer = Layer(style, operation, c, c_out, h, w, numbers["stride"])
    if found["h_out"] and layer.output != (int(found["h_out"]), int(found["w_out"])):
        raise UserError(f"a stride of {layer.stride} gives {layer.output[0]}x{layer.output[1]} pixels, not those of the row.")
    return layer


def _row(value: Any) -> Row:
    if not isinstance(value, dict) or "mean" not in value or not {"mean", "var", "std", "count"} >= set(value):
        raise UserError(f"it must have a mean, and may have var or std, and count; got {value!r}.")
    spread = value.get("std")
    if "var" in value:
        # A variance that is no number stays what it is, for the row to refuse.
        spread = math.sqrt(value["var"]) if isinstance(value["var"], int | float) and value["var"] >= 0 else value["var"]
    try:
        return Row(value["mean"], spread, value.get("count"))
    except UserError as error:
        raise UserError(f"{error}.") from error


def fbnet_json(
    path: Path,
    device: str,
    space: BlockSpace,
    shape: ChainShape,
    batch: int | None = None,
    precision: str | None = None,
) -> Table:
    """A device's table of a JSON file of additive tables: ``base`` and ``delta`` ``[blocks][operations]``, in milliseconds.

    HW-NAS-Bench's tables of FBNet's space (Li et al., 2021) are published in sums only; the file has what these determine,
    every operation's time beyond the last one's, which is skip.

    Raises:
      UserError: a file of another form, an unknown device, other blocks or operations than the space's, a time that is negative
        or no number: the row is named.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise UserError(f"{path} is no JSON file: {error}.") from error
    if not isinstance(content, dict) or not {"devices", "ops", "unit"} <= set(content):
        raise UserError(f"{path} is no file of additive tables: it must have unit, ops and devices.")
    if content["unit"] != "ms":
        raise UserError(f"{path}: the unit is {content['unit']!r}, it must be 'ms'.")
    if device not in content["devices"]:
        raise UserError(f"{path} has no device {device!r}. {did_you_mean(device, content['devices'])}")
    found = content["devices"][device]
    if not isinstance(found, dict) or not {"base", "delta"} <= set(found):
        raise UserError(f"{path}: the device {device} must have base and delta.")
    rows = _edge_rows(path, content["ops"], found["delta"], space)
    if not isinstance(found["base"], int | float):
        raise UserError(f"{path}: the base of {device} is {found['base']!r}, it must be a number of milliseconds.")
    return Table(
        "edges",
        space.name,
        device,
        batch,
        precision,
        rows,
        intercept=abs(found["base"]) if found["base"] == 0 else found["base"],  # Recovered sums have a zero of either sign.
        shape=shape_fields(space, shape),
        source=f"imported from {path.name}",
    )


_FBNET_NAMES = ("ir_k3_e1", "ir_k3_s2", "ir_k3_e3", "ir_k3_e6", "ir_k5_e1", "ir_k5_s2", "ir_k5_e3", "ir_k5_e6", "skip")


def fbnet_csv(
    path: Path,
    device: str,
    space: BlockSpace,
    shape: ChainShape,
    batch: int | None = None,
    precision: str | None = None,
) -> Table:
    """A table of FBNet's operations by block (AnnaAraslanova/FBNet, lookup_table.txt), in microseconds.

    It has no fixed part: the sums leave out the first and the last convolution and the classifier. ``s2`` in its names are
    groups of two, the space's ``g2``.

    Args:
      path: a CSV file, a line for each block.
      device: what was measured; the file does not say.
      space: whose blocks these are; the lines are taken in its order.
      shape: of its networks; the file does not say.

    Raises:
      UserError: a file of another form, other blocks or operations than the space's, a time that is negative or no number.
    """
    columns = read_columns(path)
    names = [name for name in columns if name != "layer"]
    values = [list(row) for row in zip(*(columns[name] for name in names), strict=True)]
    operations = [_fbnet_name(path, name) for name in names]
    rows = _edge_rows(path, operations, values, space, per_millisecond=1000)
    fields = shape_fields(space, shape)
    source = f"imported from {path.name}; without a fixed part"
    return Table("edges", space.name, device, batch, precision, rows, shape=fields, source=source)


def _fbnet_name(path: Path, name: str) -> str:
    if name not in _FBNET_NAMES:
        raise UserError(f"{path}: unknown operation {name!r}. {did_you_mean(name, _FBNET_NAMES)}")
    return "skip_connect" if name == "skip" else re.sub(r"^ir_(k\d)_s2$", r"\1_e1_g2", name).removeprefix("ir_")


def _edge_rows(path: Path, names: list[str], values: Any, space: BlockSpace, per_millisecond: int = 1) -> dict[str, Row]:
    """Rows of a matrix ``[blocks][operations]``."""
    names = ["skip_connect" if name == "skip" else name for name in names]
    if len(values) != len(space.blocks):
        raise UserError(f"{path} has {len(values)} blocks, space {space.name!r} has {len(space.blocks)}.")
    rows = {}
    for i, (row, block) in enumerate(zip(values, space.blocks, strict=True)):
        if set(names) != set(block.operations) or len(row) != len(names):
            raise UserError(
                f"{path}: block {i} has {len(row)} times of {', '.join(names)}; in space {space.name!r} it has "
                f"{', '.join(block.operations)}."
            )
        for name, value in zip(names, row, strict=True):
            key = edge_key("blocks", i, name)
            try:
                rows[key] = Row(float(value) / per_millisecond)
            except (TypeError, ValueError) as error:
                raise UserError(f"{path}, row {key}: {value!r} is no time that is not negative.") from error
    return rows


def per_architecture(
    path: Path,
    device: str,
    space: Space,
    shape: Shape | ChainShape,
    architectures: Path | None = None,
    batch: int | None = None,
    precision: str | None = None,
    software: Mapping[str, str] | None = None,
) -> Table:
    """A table that is fitted to the milliseconds of whole architectures (see :func:`jaxnas.latency.measured.read_measured`).

    Its graph is the one, of those that a compiler may have left, by which the fit's squared error is least.
    A tenth of the networks, at least 20, is held out of the fit and checks it; architectures without a path from the input to
    the output take part in neither, as some devices do not run them at all.

    Args:
      path: the CSV file.
      device: its column of the device.
      space: of the architectures.
      shape: of the networks that were measured.

    Raises:
      UserError: a file that does not read so, too few networks, a measured latency of 0.
    """
    genotypes, latencies = read_measured(path, device, space, architectures)
    with_path = np.array([has_path(genotype) for genotype in genotypes])
    without = int((~with_path).sum())
    genotypes = [genotype for genotype, kept in zip(genotypes, with_path, strict=True) if kept]
    latencies = latencies[with_path]
    held = max(20, len(genotypes) // 10)
    if len(genotypes) <= held + 1:
        raise UserError(
            f"{path} has {len(genotypes)} networks with a path: too few to fit a table and hold out {held} to check it."
        )
    order = np.random.default_rng(0).permutation(len(genotypes))
    checked, fitted = order[:held], order[held:]
    graph, encoding, found = _fitted(space, genotypes, latencies, fitted)
    return fitted_table(
        found,
        shape,
        (encoding[checked], latencies[checked], "held out of those that it is fitted to"),
        device,
        batch,
        precision,
        software,
        f"fitted to {len(fitted)} networks of {path.name}, column {device}"
        + (f"; {without} without a path from input to output left out" if without else ""),
        graph,
    )


def _fitted(
    space: Space, genotypes: Sequence[Genotype], latencies: np.ndarray, fitted: np.ndarray
) -> tuple[Graph, np.ndarray, Additive]:
    """The graph that explains best what was measured, since the files do not say what ran, with its encoding and fit."""
    found = []
    for graph in GRAPHS if space.family == "nb201" else GRAPHS[:1]:
        encoding = encode(space, genotypes, graph).kept
        additive = fit(space, encoding[fitted], latencies[fitted])
        found.append((float(((latencies[fitted] - additive.predict(encoding[fitted])) ** 2).sum()), graph, encoding, additive))
    _, graph, encoding, additive = min(found, key=lambda one: one[0])
    return graph, encoding, additive

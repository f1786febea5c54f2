"""Parameters and multiply-adds of published networks, against the figures of papers and of the reference implementations."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jaxnas.counting import COUNTERS, by_layer
from jaxnas.errors import UserError
from jaxnas.nets import ChainShape, Shape, derived, supernet
from jaxnas.spaces import PUBLISHED, BlockSpace, CellSpace, Genotype, Space, darts, from_text, nb201


@dataclasses.dataclass(frozen=True)
class Row:
    """A network and what is known of it; ``None`` is not known.

    Attributes:
      name: for the report.
      cells: a genotype for its derived network, a space for its supernet.
      shape: size of the network.
      reference: where the figures are from.
      parameters: weights, those of the auxiliary head not counted.
      multiply_adds: by the counter ``conv_linear``.
      nasbench201_flops: by the counter ``nasbench201``.
      auxiliary_parameters: weights of the auxiliary head.
    """

    name: str
    cells: Genotype | Space
    shape: Shape | ChainShape
    reference: str
    parameters: int | None = None
    multiply_adds: int | None = None
    nasbench201_flops: int | None = None
    auxiliary_parameters: int | None = None


@dataclasses.dataclass(frozen=True)
class Figure:
    """One comparison."""

    name: str
    ours: int
    expected: int

    @property
    def passed(self) -> bool:
        return self.ours == self.expected


def check(row: Row) -> tuple[Figure, ...]:
    """Compares all that is known of a row.

    >>> [figure.passed for figure in check(Row("wrong", nb201(), Shape(16, 5, 10), "nobody", parameters=1))]
    [False]
    """
    if isinstance(row.cells, CellSpace | BlockSpace):
        space, net = row.cells, supernet(row.cells, row.shape)
    else:
        space, net = None, derived(row.cells, row.shape, auxiliary=row.auxiliary_parameters is not None)
    figures = [("parameters", net.parameters, row.parameters)]
    if row.multiply_adds is not None or row.nasbench201_flops is not None:
        layers = by_layer(net, row.shape.image_size, space)
        expected = {"conv_linear": row.multiply_adds, "nasbench201": row.nasbench201_flops}
        figures += [
            (f"multiply-adds, {name}", sum(layers[kind] for kind in kinds), expected[name]) for name, kinds in COUNTERS.items()
        ]
    if row.auxiliary_parameters is not None:
        weights, _ = jax.eval_shape(net.init, jax.random.key(0))
        head = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(weights["auxiliary_head"]))
        figures.append(("parameters of the auxiliary head", head, row.auxiliary_parameters))
    return tuple(Figure(name, ours, expected) for name, ours, expected in figures if expected is not None)


def verify_published(json_path: Path | None, say: Callable[[str], None] = print) -> bool:
    """Compares every row of :data:`ROWS`; equal means to the last digit.

    Args:
      json_path: where to write the comparison as JSON, if anywhere.
      say: what prints a line.

    Returns:
      Whether all figures are equal.

    Raises:
      UserError: the JSON file cannot be written.
    """
    results = []
    for row in ROWS:
        figures = check(row)
        results.append((row, figures))
        say(f"{row.name}: {row.reference}")
        for figure in figures:
            verdict = "pass" if figure.passed else "FAIL"
            say(f"  {verdict}  {figure.name:<34} ours {figure.ours:>11,}  expected {figure.expected:>11,}")
    equal = sum(figure.passed for _, figures in results for figure in figures)
    total = sum(len(figures) for _, figures in results)
    say(f"{equal} of {total} figures of {len(results)} networks are equal.")
    if json_path is not None:
        _write(json_path, {"passed": equal == total, "networks": [_as_json(row, figures) for row, figures in results]})
    return equal == total


def _as_json(row: Row, figures: tuple[Figure, ...]) -> dict[str, Any]:
    return {
        "name": row.name,
        "reference": row.reference,
        "figures": [{**dataclasses.asdict(figure), "passed": figure.passed} for figure in figures],
    }


def _write(path: Path, content: Any) -> None:
    try:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}. Name a file in a folder that exists.") from error


# The rows.

_DARTS = "quark0/darts f276dd3"
_PC_DARTS = "yuhuixu1993/PC-DARTS b74702f"
_PDARTS = "chenxin061/pdarts b880e87"
_DRNAS = "xiangning-chen/DrNAS f2caa4d"
_SNAS = "SNAS-Series/SNAS-Series"
_SDARTS = "xiangning-chen/SmoothDARTS d3dbfed"
_AUTODL = "D-X-Y/AutoDL-Projects f46486e"
_PROXYLESS = "mit-han-lab/proxylessnas bf58b5c"
_COUNTED = "counted on the reference's network"
_PRINTED = {"DARTS_V2": 574, "PDARTS": 557, "PC_DARTS_image": 597}
"""Millions of multiply-adds on ImageNet that papers print and no counting of their networks' convolutions gives."""

_CIFAR10 = Shape(channels=36, cells=20, classes=10)
_IMAGENET = Shape(channels=48, cells=14, classes=1000, image_size=224, template="imagenet")


def _sized(genotype: str, data: str, shape: Shape, reference: str, **figures: int | None) -> Row:
    name = f"{genotype}, {data}, C={shape.channels}, {shape.cells} cells"
    printed = f" (the paper prints {_PRINTED[genotype]}M)" if shape == _IMAGENET and genotype in _PRINTED else ""
    return Row(name, PUBLISHED[genotype], shape, f"{_COUNTED}, {reference}{printed}", **figures)


def _both(
    genotype: str,
    reference: str,
    cifar: tuple[int, int | None],
    imagenet: tuple[int, int | None],
    auxiliary: tuple[int | None, int | None] = (None, None),
) -> tuple[Row, Row]:
    """A genotype in both templates at the papers' sizes: parameters, multiply-adds, and the auxiliary heads' parameters."""
    first, second = (
        _sized(genotype, data, shape, reference, parameters=known[0], multiply_adds=known[1], auxiliary_parameters=head)
        for data, shape, known, head in (
            ("CIFAR-10", _CIFAR10, cifar, auxiliary[0]),
            ("ImageNet", _IMAGENET, imagenet, auxiliary[1]),
        )
    )
    return first, second


def _nb201(
    cells: str, parameters: int, multiply_adds: int | None, flops: int | None, classes: int = 10, image_size: int = 32
) -> Row:
    data = {10: "CIFAR-10", 100: "CIFAR-100", 120: "ImageNet16-120"}[classes]
    shape = Shape(channels=16, cells=5, classes=classes, image_size=image_size)
    reference = f"{_COUNTED}, {_AUTODL}, and by the closed form of NAS-Bench-201's published FLOPs"
    return Row(f"{cells}, {data}", from_text(cells), shape, reference, parameters, multiply_adds, flops)


def _nb201_of(operation: str) -> str:
    """The cell that has one operation everywhere.

    >>> _nb201_of("none")
    '|none~0|+|none~0|none~1|+|none~0|none~1|none~2|'
    """
    return "+".join("|" + "".join(f"{operation}~{source}|" for source in range(node)) for node in (1, 2, 3))


def _proxyless(genotype: str, parameters: int, multiply_adds: int) -> Row:
    reference = f"{_COUNTED}, {_PROXYLESS}"
    return Row(f"{genotype}, ImageNet", PUBLISHED[genotype], ChainShape(1000), reference, parameters, multiply_adds)


def _fbnet(genotype: str, millions: int, parameters: int, multiply_adds: int) -> Row:
    """The implementations differ in biases, and in whether an expansion of 1 has a first convolution: none has the figures."""
    more = multiply_adds / (millions * 1e6) - 1
    reference = (
        f"closed form of the blocks; Wu et al. (2019) print {millions}M multiply-adds, from which these differ by {more:+.1%}"
    )
    return Row(f"{genotype}, ImageNet", PUBLISHED[genotype], ChainShape(1000), reference, parameters, multiply_adds)


# NAS-Bench-201's FLOPs on CIFAR-10: of the network around the cells, and of one operation in all of them. The benchmark's
# published figures are sums of these to the last digit; ImageNet16-120's images of 16 pixels take a quarter for an operation.
_BASE, _CONV_3X3, _CONV_1X1, _POOL = 7_943_872, 35_819_520, 4_362_240, 1_290_240
_BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
_RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
_THREE_CONVS = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|"

ROWS: tuple[Row, ...] = (
    *_both("DARTS_V1", _DARTS, (3_169_414, 500_987_520), (4_510_432, 505_864_704)),
    *_both("DARTS_V2", _DARTS, (3_349_342, 528_359_040), (4_718_752, 529_911_552), (476_426, 1_260_776)),
    *_both("NASNet", _DARTS, (3_830_950, 603_452_448), (5_564_320, 604_031_616)),
    *_both("AmoebaNet", _DARTS, (3_145_078, 488_931_552), (4_627_360, 526_746_624), (457_994, 1_236_200)),
    *_both("PC_DARTS_cifar", _PC_DARTS, (3_634_678, 556_670_592), (5_270_560, 571_137_408)),
    *_both("PC_DARTS_image", _PC_DARTS, (3_721_510, 570_466_944), (5_342_464, 581_627_328)),
    *_both("PDARTS", _PDARTS, (3_433_798, 532_174_464), (4_944_352, 542_819_328)),
    *_both("DrNAS_cifar10", _DRNAS, (4_099_294, 635_135_616), (5_738_464, 633_832_320)),
    *_both("DrNAS_imagenet", _DRNAS, (4_048_750, 617_938_560), (5_726_368, 624_405_504)),
    *_both("SNAS_mild", _SNAS, (2_661_382, 422_218_368), (3_939_328, None)),
    *_both("SNAS_moderate", _SNAS, (2_847_358, 440_687_232), (4_312_576, 465_607_872)),
    *_both("SDARTS_RS", _SDARTS, (3_606_166, None), (5_120_320, None)),
    *_both("SDARTS_PGD", _SDARTS, (3_344_806, None), (4_768_864, None)),
    *_both("GDAS_V1", _AUTODL, (3_368_782, 519_428_736), (4_969_216, 537_597_888)),
    _sized(
        "GDAS_V1",
        "ImageNet",
        dataclasses.replace(_IMAGENET, channels=50),
        f"{_AUTODL}, 581M in Dong and Yang (2019)",
        parameters=5_345_075,
        multiply_adds=581_009_000,
    ),
    _sized("NASNet", "CIFAR-10", Shape(33, 20, 10), _DARTS, parameters=3_245_989),
    _sized("NASNet", "CIFAR-10", Shape(32, 20, 10), _DARTS, parameters=3_061_738),
    _sized("DARTS_V2", "CIFAR-10", Shape(16, 20, 10), _DARTS, parameters=710_682),
    _sized("DARTS_V2", "CIFAR-100", Shape(36, 20, 100), f"{_DARTS}, plus 90 x 577 weights", parameters=3_349_342 + 51_930),
    Row(
        "DARTS supernet, C=16, 8 cells, 10 classes",
        darts(),
        Shape(16, 8, 10),
        f"{_COUNTED}, {_DARTS}, whose logs say 1.930618MB",
        1_930_618,
        300_255_744,
    ),
    Row("DARTS supernet, C=16, 8 cells, 100 classes", darts(), Shape(16, 8, 100), f"{_COUNTED}, {_DARTS}", 1_953_748),
    Row(
        "P-DARTS supernet of the first stage, C=16, 5 cells",
        darts(),
        Shape(16, 5, 10),
        f"{_COUNTED}, {_PDARTS}",
        1_275_834,
    ),
    Row("NAS-Bench-201 supernet, C=16, N=5", nb201(), Shape(16, 5, 10), f"{_COUNTED}, {_AUTODL}", 1_692_826, 243_712_640),
    _proxyless("proxyless_mobile", 4_080_512, 320_427_584),
    _proxyless("proxyless_cpu", 4_361_648, 439_243_864),
    _proxyless("proxyless_gpu", 7_119_848, 465_260_160),
    _proxyless("proxyless_mobile_14", 6_857_568, 580_883_408),
    _fbnet("FBNet_A", 249, 4_321_464, 249_921_848),
    _fbnet("FBNet_B", 295, 4_813_048, 296_614_728),
    _fbnet("FBNet_C", 375, 5_572_200, 384_960_160),
    _nb201(_BEST, 1_073_466, 153_272_960, _BASE + 4 * _CONV_3X3 + _CONV_1X1),
    _nb201(_BEST, 1_079_316, None, 7_949_632 + 4 * _CONV_3X3 + _CONV_1X1, classes=100),
    _nb201(_BEST, 1_080_616, 38_325_760, 1_993_792 + (4 * _CONV_3X3 + _CONV_1X1) // 4, classes=120, image_size=16),
    _nb201(_RESNET, 559_386, 78_561_920, _BASE + 2 * _CONV_3X3),
    _nb201(_THREE_CONVS, 802_426, 113_951_360, _BASE + 3 * _CONV_3X3 + _POOL),
    _nb201(_nb201_of("nor_conv_3x3"), 1_531_546, 220_119_680, _BASE + 6 * _CONV_3X3),
    _nb201(_nb201_of("nor_conv_1x1"), 241_306, 31_376_000, _BASE + 6 * _CONV_1X1),
    _nb201(_nb201_of("avg_pool_3x3"), 73_306, 7_783_040, _BASE + 6 * _POOL),
    _nb201(_nb201_of("skip_connect"), 73_306, 7_783_040, _BASE),
    _nb201(_nb201_of("none"), 73_306, 7_783_040, _BASE),
)
"""Every figure known of a network that these operations make."""

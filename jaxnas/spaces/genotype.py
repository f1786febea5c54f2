"""Genotypes: the discrete networks that a search ends with, and their notations."""

from __future__ import annotations

import ast
import dataclasses
import json
import operator
import pathlib
import re
from typing import Any, ClassVar

from jaxnas.errors import UserError, did_you_mean
from jaxnas.spaces.block_genotype import BlockGenotype
from jaxnas.spaces.cell import Family
from jaxnas.spaces.operations import OPERATIONS

Pairs = tuple[tuple[str, int], ...]
"""``(operation, state that it is applied to)`` of each edge."""

_FORMAT = "jaxnas.genotype"
_VERSION = 1
_NB201_EDGE = re.compile(r"\s*([^~]*[^~\s])\s*~\s*([0-9]{1,9})\s*")


@dataclasses.dataclass(frozen=True)
class DartsGenotype:
    """A normal and a reduction cell of two inputs, every node the sum of two operations (quark0/darts, genotypes.py).

    States 0 and 1 are the outputs of the two cells before, 2, 3, ... the nodes. Lists are taken for tuples.

    Attributes:
      normal: two ``(operation, input state)`` pairs per node, node by node.
      normal_concat: states whose concatenation the cell gives out.
      reduce: the same as ``normal`` for the reduction cell.
      reduce_concat: the same as ``normal_concat`` for the reduction cell.

    Raises:
      UserError: an unknown operation, an odd number of pairs, a state that does not come before the node or does not exist.

    >>> cell = (("sep_conv_3x3", 0), ("skip_connect", 1))
    >>> DartsGenotype(cell, (2,), cell, (2,)).cells["normal"]
    (('sep_conv_3x3', 0, 2), ('skip_connect', 1, 2))
    """

    family: ClassVar[Family] = "darts"
    normal: Pairs
    normal_concat: tuple[int, ...]
    reduce: Pairs
    reduce_concat: tuple[int, ...]

    def __post_init__(self) -> None:
        for kind in ("normal", "reduce"):
            pairs = _checked_pairs(getattr(self, kind), kind)
            if not pairs or len(pairs) % 2:
                raise UserError(f"{kind} needs two (operation, input) pairs for each node, got {len(pairs)} pairs: {pairs}.")
            for position, (name, source) in enumerate(pairs):
                target = 2 + position // 2
                if not 0 <= source < target:
                    raise UserError(f"{kind}: state {target} takes {name!r} from state {source}, not from 0 to {target - 1}.")
            concat = _checked_concat(getattr(self, f"{kind}_concat"), f"{kind}_concat", states=2 + len(pairs) // 2)
            object.__setattr__(self, kind, pairs)
            object.__setattr__(self, f"{kind}_concat", concat)

    @property
    def cells(self) -> dict[str, tuple[tuple[str, int, int], ...]]:
        """``(operation, source, target)`` of each edge, by kind of cell."""
        return {
            kind: tuple((name, source, 2 + position // 2) for position, (name, source) in enumerate(pairs))
            for kind, pairs in (("normal", self.normal), ("reduce", self.reduce))
        }


@dataclasses.dataclass(frozen=True)
class Nb201Genotype:
    """A cell of one input in which every node sums an operation of every state before it (Dong and Yang, 2020).

    State 0 is the input, 1, 2, ... the nodes; the last one is the output. Lists are taken for tuples.

    Attributes:
      nodes: per node its ``(operation, source state)`` pairs, one for each state before it, in their order.

    Raises:
      UserError: an unknown operation, a source missing, repeated or out of order.

    >>> Nb201Genotype(((("none", 0),), (("skip_connect", 0), ("nor_conv_3x3", 1)))).cells["cell"]
    (('none', 0, 1), ('skip_connect', 0, 2), ('nor_conv_3x3', 1, 2))
    """

    family: ClassVar[Family] = "nb201"
    nodes: tuple[Pairs, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.nodes, (list, tuple)) or not self.nodes:
            raise UserError(f"nodes needs at least one node's list of (operation, source) pairs, got {self.nodes!r}.")
        nodes = tuple(_checked_pairs(pairs, f"state {target}") for target, pairs in enumerate(self.nodes, start=1))
        for target, pairs in enumerate(nodes, start=1):
            sources = [source for _, source in pairs]
            if sources != list(range(target)):
                raise UserError(
                    f"State {target} needs an operation from each of {list(range(target))}, got them from {sources}."
                )
        object.__setattr__(self, "nodes", nodes)

    @property
    def cells(self) -> dict[str, tuple[tuple[str, int, int], ...]]:
        """``(operation, source, target)`` of each edge, by kind of cell."""
        return {
            "cell": tuple((name, source, target) for target, pairs in enumerate(self.nodes, start=1) for name, source in pairs)
        }


Genotype = DartsGenotype | Nb201Genotype | BlockGenotype

_CLASSES: dict[str, type[Genotype]] = {"darts": DartsGenotype, "nb201": Nb201Genotype, "blocks": BlockGenotype}
_CALLS: dict[str, type[DartsGenotype | BlockGenotype]] = {"Genotype": DartsGenotype, "Blocks": BlockGenotype}
"""Notations that are written as the call of a constructor with its fields by name."""


def _fields(cls: type[Genotype]) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _checked_pairs(pairs: Any, where: str) -> Pairs:
    if not isinstance(pairs, (list, tuple)):
        raise UserError(f"{where} is a list of (operation, input) pairs, got {pairs!r}.")
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise UserError(f"{where}: an edge is a pair (operation, input) such as ('skip_connect', 0), got {pair!r}.")
        if pair[0] not in OPERATIONS:
            raise UserError(f"{where}: unknown operation {pair[0]!r}. {did_you_mean(pair[0], OPERATIONS)}")
    return tuple((name, _checked_state(state, where)) for name, state in pairs)


def _checked_state(state: Any, where: str) -> int:
    try:
        if isinstance(state, bool):
            raise TypeError
        return operator.index(state)
    except TypeError:
        raise UserError(f"{where}: a state is an integer, got {state!r}.") from None


def _checked_concat(concat: Any, where: str, states: int) -> tuple[int, ...]:
    if not isinstance(concat, (list, tuple, range)) or not concat:
        raise UserError(f"{where} is a list of at least one state, such as [2, 3, 4, 5], got {concat!r}.")
    checked: list[int] = []
    for state in concat:  # one by one: a range may be far too long to be expanded
        state = _checked_state(state, where)
        if not 0 <= state < states:
            raise UserError(f"{where} names state {state}, but the cell has the states 0 to {states - 1}.")
        if state in checked:
            raise UserError(f"{where} names state {state} twice: {concat!r}.")
        checked.append(state)
    return tuple(checked)


def to_text(genotype: Genotype) -> str:
    """The genotype in the notation of its family's reference.

    >>> to_text(Nb201Genotype(((("none", 0),), (("skip_connect", 0), ("nor_conv_3x3", 1)))))
    '|none~0|+|skip_connect~0|nor_conv_3x3~1|'
    >>> cell = (("sep_conv_3x3", 1), ("skip_connect", 0))
    >>> to_text(DartsGenotype(cell, (2,), cell, (0, 2)))[-72:]
    "reduce=[('sep_conv_3x3', 1), ('skip_connect', 0)], reduce_concat=[0, 2])"
    >>> to_text(BlockGenotype("fbnet", (16, 2), (("k3_e1", 16, 1), ("k5_e6", 24, 2)), 1984))
    "Blocks(style='fbnet', stem=(16, 2), blocks=[('k3_e1', 16, 1), ('k5_e6', 24, 2)], head=1984)"
    """
    if isinstance(genotype, Nb201Genotype):
        return "+".join("|" + "".join(f"{name}~{source}|" for name, source in pairs) for pairs in genotype.nodes)
    if isinstance(genotype, BlockGenotype):
        return f"Blocks(style={genotype.style!r}, stem={genotype.stem}, blocks={list(genotype.blocks)}, head={genotype.head})"
    return (
        f"Genotype(normal={list(genotype.normal)}, normal_concat={_concat_text(genotype.normal_concat)}, "
        f"reduce={list(genotype.reduce)}, reduce_concat={_concat_text(genotype.reduce_concat)})"
    )


def _concat_text(concat: tuple[int, ...]) -> str:
    contiguous = range(concat[0], concat[-1] + 1)
    return str(contiguous if concat == tuple(contiguous) else list(concat))


def from_text(text: str) -> Genotype:
    """The genotype that ``Genotype(normal=[...], ...)``, ``Blocks(...)`` or ``|op~0|+...`` denotes; nothing is evaluated.

    White space, line breaks, lists for tuples and ``range(a, b)`` or a list after ``concat`` make no difference.

    Raises:
      UserError: the text does not parse (with the place), or what it denotes is no genotype.

    >>> from_text("|none~0| + |skip_connect~0|nor_conv_3x3~1|").nodes[1]
    (('skip_connect', 0), ('nor_conv_3x3', 1))
    """
    text = text.strip()
    if text.startswith("|"):
        return _parse_nb201(text)
    for name in _CALLS:
        if text.startswith(name):
            return _parse_call(text, name)
    raise UserError(
        "A genotype begins with 'Genotype(' (DARTS), '|' (NAS-Bench-201) or 'Blocks(' (mobile networks), this text begins "
        f"with {text[:40]!r}."
    )


def _parse_nb201(text: str) -> Nb201Genotype:
    nodes = []
    for number, node in enumerate((part.strip() for part in text.split("+")), start=1):
        if len(node) < 3 or node[0] != "|" or node[-1] != "|":
            raise UserError(f"Node {number} of the genotype is written |operation~source|...|, got {node!r}.")
        pairs = []
        for edge in node[1:-1].split("|"):
            found = _NB201_EDGE.fullmatch(edge)
            if not found:
                raise UserError(f"An edge of node {number} is written operation~source, got {edge!r} in {node!r}.")
            pairs.append((found[1], int(found[2])))
        nodes.append(tuple(pairs))
    return Nb201Genotype(tuple(nodes))


def _parse_call(text: str, name: str) -> Genotype:
    try:
        call = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise UserError(f"The genotype does not parse: {error.msg}, line {error.lineno}, column {error.offset}.") from None
    except (ValueError, MemoryError, RecursionError) as error:  # null bytes; brackets nested without end
        raise UserError(f"The genotype does not parse: {str(error) or 'nested too deeply'}.") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != name or call.args:
        fields = ", ".join(f"{field}=..." for field in _fields(_CALLS[name]))
        raise UserError(f"A genotype is written {name}({fields}) with its fields by name, got {text[:80]!r}.")
    names = [keyword.arg or "**" for keyword in call.keywords]
    _check_fields(names, _fields(_CALLS[name]), f"{name}(...)")
    return _CALLS[name](**{field: _literal(word.value, field, text) for field, word in zip(names, call.keywords, strict=True)})


def _literal(node: ast.expr, where: str, text: str) -> Any:
    try:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and not node.keywords:
            start, stop = (_checked_state(ast.literal_eval(argument), where) for argument in node.args)
            return range(start, stop)
        return ast.literal_eval(node)
    except UserError:
        raise
    except (ValueError, TypeError, MemoryError, RecursionError):
        found = (ast.get_source_segment(text, node) or "")[:80]
        raise UserError(f"{where}, line {node.lineno}, is neither a list nor range(first, end): {found!r}.") from None


def _check_fields(names: list[str], known: list[str], where: str) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"{where} has the unknown field {name!r}. {did_you_mean(name, known)}")
        if names.count(name) > 1:
            raise UserError(f"{where} gives the field {name!r} twice.")
    missing = [name for name in known if name not in names]
    if missing:
        raise UserError(f"{where} lacks the field{'s' * (len(missing) > 1)} {', '.join(missing)}.")


def to_json(genotype: Genotype, space_name: str) -> dict[str, Any]:
    """The genotype as a document for ``json.dumps``; ``space_name`` is the ``CellSpace.name`` that it was found in.

    >>> to_json(Nb201Genotype(((("skip_connect", 0),),)), "one edge")["nodes"]
    [[['skip_connect', 0]]]
    """
    header = {"format": _FORMAT, "version": _VERSION, "family": genotype.family, "space": space_name}
    return header | {name: _lists(getattr(genotype, name)) for name in _fields(type(genotype))}


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, tuple) else value


def from_json(document: dict[str, Any]) -> Genotype:
    """The genotype of a document of :func:`to_json`.

    Raises:
      UserError: another format, version or family; a field that is missing, unknown or not of its form.

    >>> from_json(to_json(Nb201Genotype(((("skip_connect", 0),),)), "one edge"))
    Nb201Genotype(nodes=((('skip_connect', 0),),))
    """
    if not isinstance(document, dict):
        raise UserError(f"A genotype's JSON is an object, got {document!r}.")
    found = document.get("format")
    if found != _FORMAT:
        raise UserError(f"A genotype's JSON has the format {_FORMAT!r}, got {found!r}.")
    version = document.get("version")
    if isinstance(version, bool) or version != _VERSION:
        raise UserError(f"This jaxnas reads version {_VERSION} of {_FORMAT}, got version {version!r}.")
    family = document.get("family")
    if not isinstance(family, str) or family not in _CLASSES:
        raise UserError(f"Unknown family {family!r} of genotype. {did_you_mean(str(family), _CLASSES)}")
    cls = _CLASSES[family]
    _check_fields(list(document), ["format", "version", "family", "space", *_fields(cls)], "A genotype's JSON")
    if not isinstance(document["space"], str):
        raise UserError(f"A genotype's space is the name of a space, got {document['space']!r}.")
    return cls(**{name: document[name] for name in _fields(cls)})


def read(path: str | pathlib.Path) -> Genotype:
    """The genotype in a file that holds the JSON of :func:`to_json` or a text that :func:`from_text` takes.

    Raises:
      UserError: the file cannot be read, or holds no genotype.

    >>> read("no such file")
    Traceback (most recent call last):
    jaxnas.errors.UserError: Cannot read the genotype no such file: No such file or directory.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot read the genotype {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"Cannot read the genotype {path}: it is not a text in UTF-8.") from None
    try:
        return from_json(json.loads(text)) if text.lstrip().startswith("{") else from_text(text)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON: {error}.") from None

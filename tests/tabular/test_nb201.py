"""Architectures of NAS-Bench-201: numbers, strings, one-hot and classes."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.spaces import Nb201Genotype, from_text
from jaxnas.tabular import nb201


def test_every_architecture_goes_round() -> None:
    choices, numbers = nb201.all_choices(), np.arange(15_625)
    texts = nb201.strings(choices)
    assert len(set(texts.tolist())) == 15_625
    np.testing.assert_array_equal(nb201.indices_of_strings(texts), numbers)
    np.testing.assert_array_equal(nb201.indices(choices), numbers)
    np.testing.assert_array_equal(nb201.indices(nb201.from_one_hot(nb201.one_hot(choices))), numbers)
    for number in (0, 1, 777, 15_624):  # The parser of genotypes, which knows nothing of numbers.
        genotype = from_text(str(texts[number]))
        assert isinstance(genotype, Nb201Genotype)
        cell = genotype.cells["cell"]
        assert [(source, target) for _, source, target in cell] == list(nb201.EDGES)
        assert [nb201.OPERATIONS.index(name) for name, _, _ in cell] == choices[number].tolist()


def test_the_numbers_are_the_benchmarks(nb201_table: Path) -> None:
    with np.load(nb201_table) as published:
        np.testing.assert_array_equal(nb201.strings(nb201.all_choices()), published["arch_str"].astype(str))
        np.testing.assert_array_equal(nb201.classes(), published["isomorph_rep"])


def _value(choices: np.ndarray) -> object:
    """What a cell computes, as a nested multiset: sums are flattened, what is nothing is left out."""
    states: dict[int, tuple] = {0: ("input",)}
    for target in (1, 2, 3):
        terms: list = []
        for (source, end), choice in zip(nb201.EDGES, choices.tolist(), strict=True):
            if end == target and choice != 0 and states[source]:
                terms += states[source] if choice == 1 else [(choice, states[source])]
        states[target] = tuple(sorted(terms, key=repr))
    return states[3]


def test_classes() -> None:
    classes = nb201.classes()
    assert len(np.unique(classes)) == 6_466
    assert (classes <= np.arange(15_625)).all() and (classes[classes] == classes).all()
    # Isomorphic architectures compute the same; those that compute the same without the rule's quirks are 4,930 groups.
    values = [_value(row) for row in nb201.all_choices()]
    assert len(set(values)) == 4_930
    by_class = collections.defaultdict(set)
    for number, value in zip(classes, values, strict=True):
        by_class[number].add(value)
    assert {len(group) for group in by_class.values()} == {1}


def test_other_white_space_is_the_same_architecture() -> None:
    plain = "|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|"
    assert nb201.indices_of_strings([plain.replace("+", " + "), plain]).tolist() == [nb201.indices_of_strings([plain])[0]] * 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("|none~0|", "has 1 nodes"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|sep_conv_3x3~2|", "sep_conv_3x3"),
        ("8:8:8:16:32", "begins with '8:8:8:16:32'"),  # NATS-Bench's size space
        ("22212220", "begins with '22212220'"),
    ],
)
def test_a_string_of_another_space(text: str, said: str) -> None:
    with pytest.raises(UserError, match="Architecture 1 of 2 is not of NAS-Bench-201") as refused:
        nb201.indices_of_strings([str(nb201.strings(nb201.all_choices()[0])), text])
    assert said in str(refused.value)


def test_arrays_that_are_no_architectures() -> None:
    with pytest.raises(UserError, match="6 integers"):
        nb201.indices(np.zeros((2, 5), int))
    with pytest.raises(UserError, match="6 integers"):
        nb201.indices(np.zeros(6))
    with pytest.raises(UserError, match="0 to 4, got 5"):
        nb201.strings(np.array([0, 0, 5, 0, 0, 0]))
    with pytest.raises(UserError, match="shape"):
        nb201.from_one_hot(np.zeros((5, 6)))
    with pytest.raises(UserError, match="single 1"):
        nb201.from_one_hot(np.zeros((6, 5)))

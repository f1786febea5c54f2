"""Which hypergradients an estimator goes with."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from jaxnas.composition import TAKES_SECOND_DERIVATIVES, check_pair
from jaxnas.errors import UserError
from jaxnas.methods import HYPERGRADIENTS
from jaxnas.recipe import SearchRecipe

pytestmark = pytest.mark.quick


def test_the_table_has_every_hypergradient_of_the_recipes() -> None:
    assert set(TAKES_SECOND_DERIVATIVES) == set(HYPERGRADIENTS)
    assert set(TAKES_SECOND_DERIVATIVES) == set(get_args(get_type_hints(SearchRecipe)["hypergradient"]))


@pytest.mark.parametrize("hypergradient", ["first_order", "unrolled", "finite_difference", "neumann", "conjugate_gradient"])
def test_only_first_order_goes_with_what_is_not_smooth(hypergradient: str) -> None:
    check_pair("softmax", True, "", hypergradient)
    if hypergradient == "first_order":
        check_pair("gdas", False, "its gradient is another function's", hypergradient)
        return
    message = f"hypergradient={hypergradient} does not go with estimator=gdas: .* its gradient is another function's. Choose"
    with pytest.raises(UserError, match=message):
        check_pair("gdas", False, "its gradient is another function's", hypergradient)


def test_unknown_hypergradient() -> None:
    with pytest.raises(UserError, match="Unknown hypergradient 'neuman'. Did you mean neumann"):
        check_pair("softmax", True, "", "neuman")

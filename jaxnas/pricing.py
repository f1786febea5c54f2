"""The costs that a recipe's alphas pay for: tables and counts become terms of a method's objective."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from jax import Array

from jaxnas import relaxations
from jaxnas.bilevel import Method
from jaxnas.cost_terms import COSTS, CostTerm, LatencyTerm
from jaxnas.data import Dataset
from jaxnas.errors import UserError
from jaxnas.latency import Table, check_matches, check_software, constrained, costs, counted, read, terms, warning
from jaxnas.nets import ChainShape, Shape
from jaxnas.recipe import Recipe, SearchRecipe, TrainRecipe
from jaxnas.spaces import BlockSpace, Space
from jaxnas.training import network_image_size

MICROSECONDS = 1000.0
"""Of a millisecond: FBNet's logarithm is of microseconds."""


def terms_of(search: SearchRecipe) -> dict[str, CostTerm]:
    """The terms that a recipe has, by name of the cost."""
    return {name: getattr(search, name) for name in COSTS if getattr(search, name).form != "none"}


def deployed_shape(space: Space, recipe: TrainRecipe, dataset: Dataset) -> Shape | ChainShape:
    """The size of the network that a recipe trains, which is what costs are of."""
    size = network_image_size(recipe.augmentation, dataset)
    if isinstance(space, BlockSpace):
        return ChainShape(dataset.classes, size)
    return Shape(recipe.channels, recipe.cells, dataset.classes, size, template=recipe.template)


def latency_cost(table: Table, space: Space, shape: Shape | ChainShape) -> terms.Cost:
    """A table's latency, of the graph that ran where it was measured.

    Raises:
      UserError: as :func:`jaxnas.latency.costs`.
    """
    by_kind, fixed = costs(table, space, shape)
    return terms.Cost("latency", "ms", by_kind, fixed, graph=table.graph)


@dataclasses.dataclass(frozen=True)
class Prices:
    """The costs of a recipe's networks.

    Attributes:
      wanted: the recipe's terms, by name of the cost.
      costs: the costs, by name.
      table: the latency's.
      shape: of the networks.
    """

    wanted: dict[str, CostTerm]
    costs: dict[str, terms.Cost]
    table: Table | None
    shape: Shape | ChainShape

    @property
    def warning(self) -> str | None:
        """What to show wherever the latencies are."""
        return self.table and warning(self.table)

    @property
    def limits(self) -> list[constrained.Limit]:
        """The targets that what is derived must meet."""
        return [(self.costs[name], term.target) for name, term in self.wanted.items() if term.form == "target"]

    @property
    def priced(self) -> list[terms.Term]:
        """The terms of the objective."""
        return [_term(self.wanted[name], cost) for name, cost in self.costs.items()]

    @property
    def duals(self) -> dict[str, Any]:
        """Those that a search starts at."""
        return terms.initial_duals(self.priced)

    def method(self, method: Method, space: Space) -> Method:
        """The method whose alphas pay for these costs."""
        fields = terms.fields(space, self.priced)
        for name, term in self.wanted.items():
            if term.form == "reward":
                value = relaxations.accuracy_over_latency(
                    functools.partial(_of_path, terms.expected(space, self.costs[name])), term.reference, term.number("power")
                )
                fields["alpha_loss"] = functools.partial(relaxations.over_paths, value=value)
        return dataclasses.replace(method, **fields)

    def expected(self, space: Space, method: Method, alphas: Any, key: Array, step: Array) -> dict[str, float]:
        """The expected costs of alphas by the method's own probabilities."""
        _, probabilities = method.relax(alphas, key, method.scalars(step), "alphas")
        return {name: float(terms.expected(space, cost)(probabilities)) for name, cost in self.costs.items()}


def _of_path(expectation: Any, path: Any) -> Array:
    """The cost of the path that a mixture runs."""
    return expectation({kind: part["weights"] for kind, part in path.items()})


def _term(wanted: CostTerm, cost: terms.Cost) -> terms.Term:
    match wanted.form:
        case "target":
            return terms.held(cost, wanted.target, wanted.ascent, wanted.damping)
        case "weight":
            return terms.weighted(cost, wanted.factor or 0.0)
        case "additive":
            return terms.additive(cost, wanted.reference, wanted.number("factor"))
        case "multiplicative":
            return terms.multiplicative(cost, wanted.reference, wanted.number("factor"), wanted.number("power"))
        case "fbnet":
            scale = MICROSECONDS if cost.unit == "ms" else 1.0
            return terms.fbnet(cost, wanted.number("factor"), wanted.number("power"), scale)
    return terms.reported(cost)


def prices(search: SearchRecipe, train: TrainRecipe, dataset: Dataset, space: Space) -> Prices | None:
    """The costs of a recipe's networks; None where its alphas pay for nothing.

    Raises:
      UserError: a table that cannot be read, or lacks rows.
    """
    wanted = terms_of(search)
    if not wanted:
        return None
    shape, table, found = deployed_shape(space, train, dataset), None, {}
    for name, term in wanted.items():
        if isinstance(term, LatencyTerm):
            table = read(Path(term.table))
            found[name] = latency_cost(table, space, shape)
        else:
            found[name] = (counted.parameters if name == "parameters" else counted.multiply_adds)(space, shape)
    return Prices(wanted, found, table, shape)


def check_prices(recipe: Recipe, dataset: Dataset) -> None:
    """Refuses terms that could not be minimised or targets that could not be met, before anything runs.

    Raises:
      UserError: as :func:`prices`; a target below the cheapest or above the dearest architecture; a logarithm of a cost that
        may be below 1; candidates to be measured that the table is not of; a table of this device, measured with other
        versions of what compiles.
    """
    space = recipe.search.build_space()
    found = prices(recipe.search, recipe.train, dataset, space)
    if found is None:
        return
    for name, term in found.wanted.items():
        cost = found.costs[name]
        if term.form == "target":
            constrained.check_reachable(space, cost, term.target)
        if term.form in ("multiplicative", "fbnet"):
            (least, _), _ = constrained.extremes(space, cost)
            per_unit, unit = (MICROSECONDS, "us") if term.form == "fbnet" and cost.unit == "ms" else (1.0, cost.unit)
            lowest = min(least * per_unit, term.reference or least * per_unit)
            if lowest <= 1:
                raise UserError(
                    f"{name}.form={term.form} takes the logarithm of {unit}, which must be above 1, but the least cost and the "
                    f"reference go down to {lowest:.6g} {unit}. Choose another form, such as target."
                )
        if isinstance(term, LatencyTerm):
            assert found.table is not None
            _check_measured(found.table, term.form == "target" and term.measured > 0)


def _check_measured(table: Table, candidates: bool) -> None:
    """Refuses a table of this device by other software, and one of another device where candidates are measured here."""
    if not table.software and not candidates:
        return
    from jaxnas.latency import deployed  # Not above: it takes a second to import, for this alone.

    if candidates:
        try:
            check_matches(table, device=deployed.device_name())
            deployed.deployment_of(table)
        except UserError as error:
            raise UserError(
                f"{error} To search for that device without measuring candidates on this one: --search.latency.measured 0 "
                "(jaxnas derive: --measured 0)"
            ) from error
    if table.device == deployed.device_name():
        check_software(table, deployed.compiling_versions())

"""Optuna beside our searchers, both ways: its studies ask one of ours, and its samplers are searchers as ours are.

Optuna is an extra: ``pip install 'jaxnas[optuna]'``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxnas.blackbox.ask_tell import Asking, Open, Trial
from jaxnas.blackbox.searcher import checked
from jaxnas.errors import UserError

try:
    import optuna
except ImportError as error:
    raise UserError("Optuna is not installed. Type: pip install 'jaxnas[optuna]'") from error

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState


class SearcherSampler(optuna.samplers.BaseSampler):
    """For ``optuna.create_study(sampler=...)``: the study's trials are what a searcher of ours asks.

    The objective suggests each position by its name, ``trial.suggest_categorical(name, choices)``, and then finds the number of
    the budget that is asked for in ``sampler.asked[trial.number].budget``. A trial that fails or is pruned is told as
    ``worst``.

    Args:
      asking: the searcher.
      positions: names of what is chosen with their choices, in the searcher's order.
      worst: the worst value that the objective has, such as 0 for an accuracy.

    Raises:
      UserError: other numbers of choices than the searcher's. While a study runs: a searcher that waits for answers (fewer
        jobs help), a parameter that is no position or has other choices, several objectives.

    >>> from jaxnas.blackbox import AskTell, regularised_evolution
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> search = AskTell(regularised_evolution([2, 2]), seed=0)
    >>> sampler = SearcherSampler(search, {"first": ["none", "skip"], "second": ["none", "conv"]}, worst=0.0)
    >>> study = optuna.create_study(direction="maximize", sampler=sampler)
    >>> study.optimize(lambda trial: float(trial.suggest_categorical("second", ["none", "conv"]) == "conv"), n_trials=20)
    >>> study.best_value, study.best_params["second"]
    (1.0, 'conv')
    """

    def __init__(self, asking: Asking, positions: Mapping[str, Sequence[Any]], worst: float) -> None:
        found = tuple(len(choices) for choices in positions.values())
        if found != asking.cardinality:
            raise UserError(f"A searcher of {asking.cardinality} choices, and the positions have {found}.")
        self.asked: dict[int, Trial] = {}
        self._asking, self._worst = asking, worst
        self._space: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(choices) for name, choices in positions.items()
        }

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All positions: Optuna asks for them together."""
        if len(study.directions) > 1:
            raise UserError(f"The study has {len(study.directions)} objectives; a searcher has one value to make large.")
        return self._space

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """The choices of the searcher's next trial."""
        asked = self._asking.ask()
        if asked is None:
            raise UserError("The searcher waits for answers to what is open. Let fewer trials run at once (n_jobs).")
        self.asked[trial.number] = asked
        return {
            name: distribution.to_external_repr(choice)
            for (name, distribution), choice in zip(search_space.items(), asked.choices, strict=True)
        }

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never a position of the searcher's."""
        raise UserError(f"{param_name!r} is no position of the searcher, or has other choices: {', '.join(self._space)}.")

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Tells the searcher, with the sign that makes the value one to be made large."""
        if trial.number not in self.asked:
            return
        value = self._worst if state != TrialState.COMPLETE or values is None else values[0]
        self._asking.tell(self.asked[trial.number], -value if study.directions[0] == StudyDirection.MINIMIZE else value)


class OptunaSearch:
    """A sampler of Optuna's as a searcher of ours, for tables (:func:`jaxnas.blackbox.ask_table`) or trainings.

    Args:
      cardinality: how many choices each position has.
      sampler: of Optuna's, with its seed.
      budget: the number of the budget at which all are trained.

    Raises:
      UserError: nothing to choose; from :meth:`tell` as :meth:`jaxnas.blackbox.AskTell.tell`.

    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> search = OptunaSearch([2, 3], optuna.samplers.TPESampler(seed=0))
    >>> trial = search.ask()
    >>> search.tell(trial, 1.0)
    >>> search.best == (trial, 1.0)
    True
    """

    def __init__(self, cardinality: Sequence[int], sampler: optuna.samplers.BaseSampler, budget: int = 0) -> None:
        self.cardinality, self._budget = checked(cardinality), budget
        self._space: dict[str, BaseDistribution] = {
            str(position): CategoricalDistribution(range(number)) for position, number in enumerate(self.cardinality)
        }
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._open, self._trials = Open(), dict[Trial, list[optuna.Trial]]()

    def ask(self) -> Trial:
        """The next architecture; several may be asked before one is told."""
        asked = self._study.ask(self._space)
        trial = Trial(tuple(asked.params[name] for name in self._space), self._budget)
        self._trials.setdefault(trial, []).append(asked)
        return self._open.add(trial)

    def tell(self, trial: Trial, value: float) -> None:
        """The value of one that was asked, to be made large."""
        self._open.close(trial, value)
        self._study.tell(self._trials[trial].pop(0), value)

    @property
    def best(self) -> tuple[Trial, float] | None:
        """The best answer, the first of equal ones; None before the first."""
        return self._open.best

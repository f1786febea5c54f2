"""Ask and tell: one interface to every searcher, for whoever trains the architectures."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxnas.blackbox.searcher import Question, Searcher, State
from jaxnas.errors import UserError


class Trial(NamedTuple):
    """An architecture that is to be trained.

    Attributes:
      choices: the number of the choice at each position.
      budget: how long to train it, as a number of the list of budgets.
    """

    choices: tuple[int, ...]
    budget: int


class Asking(Protocol):
    """What our searchers and those of libraries look like from outside.

    Attributes:
      cardinality: how many choices each position has.
    """

    cardinality: tuple[int, ...]

    def ask(self) -> Trial | None:
        """The next architecture; None where an answer is waited for. Several may be asked before one is told."""
        ...

    def tell(self, trial: Trial, value: float) -> None:
        """The value of one that was asked, which is to be made large, as a validation accuracy is."""
        ...


class AskTell:
    """One of our searchers, asked and told from Python.

    It is determined by its seed and by the order of questions and answers: repeated from a log, they bring it back where it
    was. Told each answer before the next question, it asks what :func:`jaxnas.blackbox.search_table` asks with the same key.

    Raises:
      UserError: from :meth:`tell`, a value that is not finite, or an answer to what was not asked or is answered.

    >>> from jaxnas.blackbox import regularised_evolution
    >>> search = AskTell(regularised_evolution([2, 3]), seed=0)
    >>> for _ in range(30):
    ...     trial = search.ask()
    ...     search.tell(trial, value=float(sum(trial.choices)))
    >>> search.best
    (Trial(choices=(1, 2), budget=0), 3.0)
    """

    def __init__(self, searcher: Searcher, seed: int) -> None:
        self.cardinality = searcher.cardinality
        self._ask, self._tell = jax.jit(searcher.ask), jax.jit(searcher.tell)
        self._key, self._questions, self._open = jax.random.key(seed), 0, Open()
        self._state: State = searcher.init(init_key(self._key))

    def ask(self) -> Trial | None:
        """The next architecture; None where an answer is waited for, as between the rungs of successive halving."""
        after, question = self._ask(self._state, question_key(self._key, jnp.int32(self._questions)))
        if int(question.budget) < 0:
            return None
        self._state, self._questions = after, self._questions + 1
        trial = Trial(tuple(np.asarray(question.choices).tolist()), int(question.budget))
        return self._open.add(trial)

    def tell(self, trial: Trial, value: float) -> None:
        """The value of one that was asked. A training that failed is told as the worst value that there is, such as 0 %."""
        self._open.close(trial, value)
        question = Question(jnp.asarray(trial.choices, jnp.int32), jnp.int32(trial.budget))
        self._state = self._tell(self._state, question, jnp.float32(value))

    @property
    def best(self) -> tuple[Trial, float] | None:
        """The best answer at the largest budget that was answered, the first of equal ones; None before the first."""
        return self._open.best


class Open:
    """What was asked and is not answered yet, and the best answer.

    >>> asked = Open()
    >>> asked.close(asked.add(Trial((0, 1), 0)), 0.5)
    >>> asked.best
    (Trial(choices=(0, 1), budget=0), 0.5)
    """

    def __init__(self) -> None:
        self.waiting: list[Trial] = []
        self.best: tuple[Trial, float] | None = None

    def add(self, trial: Trial) -> Trial:
        """Notes that this was asked, and hands it on."""
        self.waiting.append(trial)
        return trial

    def close(self, trial: Trial, value: float) -> None:
        """Notes the answer.

        Raises:
          UserError: the value is not finite, or the trial is not open.
        """
        if not math.isfinite(value):
            raise UserError(
                f"The value of {trial} is {value}. Tell a number: of a training that failed the worst that there is."
            )
        if trial not in self.waiting:
            raise UserError(f"{trial} is told, but was not asked, or was told before.")
        self.waiting.remove(trial)
        if self.best is None or (trial.budget, value) > (self.best[0].budget, self.best[1]):
            self.best = trial, value


def init_key(key: Array) -> Array:
    """The key of a search's beginning."""
    return jax.random.fold_in(key, 0)


def question_key(key: Array, number: Array) -> Array:
    """The key of a question by its number, from 0: each search is determined by one key, in both drivers."""
    return jax.random.fold_in(key, number + 1)

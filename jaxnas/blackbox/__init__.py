"""Black-box searchers: each a few pure functions, run on tables inside jit or asked and told from Python."""

from jaxnas.blackbox.ask_tell import Asking, AskTell, Open, Trial
from jaxnas.blackbox.evolution import regularised_evolution
from jaxnas.blackbox.local_search import local_search
from jaxnas.blackbox.random_search import random_search
from jaxnas.blackbox.searcher import Question, Searcher

__all__ = [
    "AskTell",
    "Asking",
    "Open",
    "Question",
    "Searcher",
    "Trial",
    "local_search",
    "random_search",
    "regularised_evolution",
]

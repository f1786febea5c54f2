"""Black-box searchers: each a few pure functions, run on tables inside jit or asked and told from Python.

Those of libraries are imported from their own files, as they take long to import or are not installed.
"""

from jaxnas.blackbox.ask_tell import Asking, AskTell, Open, Trial
from jaxnas.blackbox.evolution import regularised_evolution
from jaxnas.blackbox.halving import rung_sizes, successive_halving
from jaxnas.blackbox.local_search import local_search
from jaxnas.blackbox.random_search import random_search
from jaxnas.blackbox.reinforce import INDEPENDENT_RATE, LSTM_RATE, Policy, independent, lstm, policy_loss, reinforce
from jaxnas.blackbox.search_table import Arrays, Trace, arrays_of, ask_table, search_seeds, search_table
from jaxnas.blackbox.searcher import Question, Searcher

__all__ = [
    "INDEPENDENT_RATE",
    "LSTM_RATE",
    "Arrays",
    "AskTell",
    "Asking",
    "Open",
    "Policy",
    "Question",
    "Searcher",
    "Trace",
    "Trial",
    "arrays_of",
    "ask_table",
    "independent",
    "local_search",
    "lstm",
    "policy_loss",
    "random_search",
    "regularised_evolution",
    "reinforce",
    "rung_sizes",
    "search_seeds",
    "search_table",
    "successive_halving",
]

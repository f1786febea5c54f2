"""Ray Tune asks one of our searchers: an adapter of 20 lines, and a search with it.

pip install 'ray[tune]'
python examples/ray_tune.py
"""

from __future__ import annotations

from typing import Any

from ray import tune
from ray.tune.search import Searcher

from jaxnas.blackbox import Asking, AskTell, Trial, regularised_evolution


class Ours(Searcher):
    """The searcher's choices as the trial's config; None lets Ray wait where the searcher does."""

    def __init__(self, asking: Asking, metric: str, worst: float) -> None:
        super().__init__(metric=metric, mode="max")
        self.asking, self.worst, self.open = asking, worst, dict[str, Trial]()

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        trial = self.asking.ask()
        if trial is None:
            return None
        self.open[trial_id] = trial
        return {"choices": trial.choices, "budget": trial.budget}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        value = self.worst if error or not result else result[self.metric]
        self.asking.tell(self.open.pop(trial_id), value)


def train(config: dict[str, Any]) -> dict[str, float]:
    """In place of a training: the more of the last choice, the better."""
    return {"accuracy": sum(choice == 4 for choice in config["choices"]) / len(config["choices"])}


def search(samples: int) -> tuple[Asking, Any]:
    """The searcher, told everything, and what Ray knows of the trials."""
    asking = AskTell(regularised_evolution([5] * 6), seed=0)
    config = tune.TuneConfig(search_alg=Ours(asking, "accuracy", worst=0.0), num_samples=samples, max_concurrent_trials=1)
    return asking, tune.Tuner(train, tune_config=config).fit()


if __name__ == "__main__":
    print(search(50)[1].get_best_result("accuracy", "max").config)

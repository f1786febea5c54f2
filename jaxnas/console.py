"""What a person sees of a run: a first screen, a live line, a last screen."""

from __future__ import annotations

import time
from typing import Any

import jax
import psutil
import rich.console
import rich.progress
import rich.status
import rich.table
from jax.sharding import Mesh

from jaxnas.compiling import Compiled
from jaxnas.cost_terms import COSTS
from jaxnas.data import Dataset
from jaxnas.nets import Network
from jaxnas.recipes import NextStage, Recipe
from jaxnas.run_folder import RunFolder
from jaxnas.spaces import BLOCK_SPACES, Genotype, Space, to_text


class Console:
    """Prints to the terminal: a live line where it is one, a plain line an epoch where it is not; nothing where it is quiet."""

    def __init__(self, quiet: bool = False) -> None:
        # A live line would take the standard streams, also where it is quiet.
        terminal = False if quiet else None
        self.out = rich.console.Console(highlight=False, soft_wrap=True, quiet=quiet, force_terminal=terminal)
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None
        self._spinner: rich.status.Status | None = None
        self._epoch_steps = 0
        self._pace: tuple[str, int, float] | None = None  # Stage, and its step and time when it was first heard of.

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_live()  # A live line hides the cursor.

    def note(self, text: str) -> None:
        """One line, or a few."""
        self._stop_live()
        self.out.print(text, markup=False)

    def first_screen(
        self, name: str, recipe: Recipe, dataset: Dataset, space: Space, network: Network, mesh: Mesh | None
    ) -> None:
        """What is about to happen."""
        search = recipe.search
        splits = {
            "train (weights)": dataset.search_train,
            "valid (alphas)": dataset.search_valid,
            "test (not seen by the search)": dataset.test,
        }
        train, devices = recipe.train, jax.devices()
        used = 1 if mesh is None else mesh.size
        of_all = f" of {len(devices)}" if used < len(devices) else ""
        shared = f", {search.batch // used} images of each batch on each" if used > 1 else ""
        # A chain of blocks has its size from its genotype.
        size = "" if space.family == "blocks" else f"C={train.channels}, {train.cells} cells, "
        method = f"{search.estimator}, {search.hypergradient.replace('_', ' ')} hypergradient, {search.order.replace('_', ' ')}"
        rows = {
            "recipe": f"{name}, seed {recipe.seed}",
            "device": f"{used} x {devices[0].device_kind} ({devices[0].platform}){of_all}{shared}",
            "space": f"{space.name}: {space.size:,} genotypes, {space.alphas} alphas",
            "data": f"{dataset.name}: " + ", ".join(f"{len(split.labels):,} {what}" for what, split in splits.items()),
            "images": f"{dataset.image_size}x{dataset.image_size} pixels, {dataset.kept}",
            "method": f"{method}, {search.epochs} epochs, batch {search.batch}",
            "supernet": f"{search.size}, {network.parameters:,} parameters",
            **{f"stage {i}": _stage(stage) for i, stage in enumerate(search.next_stages, start=2)},
            "network": f"{size}{train.epochs} epochs, batch {train.batch}",
            "compared": f"with {recipe.random_cells} random {_kind(search.space)}s, trained alike",
        }
        if recipe.only_search:
            rows |= {"network": "not trained", "compared": "with nothing"}
        for key, value in rows.items():
            self.note(f"{key:<10}{value}")

    def compiling(self, stage: str) -> None:
        """Tells a terminal why nothing else is said for a while."""
        self._stop_live()
        if self.out.is_terminal:
            self._spinner = self.out.status(f"{stage}: compiling")
            self._spinner.start()

    def compiled(self, stage: str, compiled: Compiled) -> None:
        """The compiled program of a stage."""
        how = "loaded from the cache" if compiled.from_cache else "compiled"
        self.note(f"{stage}: traced in {compiled.trace_seconds:.1f} s, {how} in {compiled.compile_seconds:.1f} s")

    def progress(self, stage: str, epoch: int, epochs: int, step: int, steps: int, metrics: dict[str, float]) -> None:
        """Moves the live line."""
        self._epoch_steps = steps
        if not self.out.is_terminal:
            return
        now = epoch * steps + step
        if self._pace is None or self._pace[0] != stage:
            self._pace = stage, now, time.perf_counter()
        _, first, began = self._pace
        pace = f"{(now - first) / (time.perf_counter() - began):.1f} steps/s" if now > first else ""
        if self._bar is None:
            self._bar = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(bar_width=20),
                rich.progress.TextColumn("{task.percentage:>3.0f} %"),
                rich.progress.TextColumn("ETA"),
                rich.progress.TimeRemainingColumn(),
                rich.progress.TextColumn("{task.fields[pace]}"),
                console=self.out,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(stage, total=epochs * steps, pace="")
        assert self._task is not None
        self._bar.update(
            self._task,
            completed=now,
            description=f"{stage} {epoch + 1}/{epochs}  {metrics_line(metrics)}",
            pace=f"{pace} {device_memory()}",
        )
        if epoch + 1 == epochs and step == steps:
            self._stop_live()

    def epoch(self, stage: str, epoch: int, epochs: int, metrics: dict[str, float], seconds: float) -> None:
        """One line for each epoch."""
        left = time_line(seconds * (epochs - epoch - 1))
        pace = f", {self._epoch_steps / seconds:.1f} steps/s" if self._epoch_steps and seconds else ""
        line = (
            f"{stage} epoch {epoch + 1}/{epochs}  {metrics_line(metrics)}  {seconds:.1f} s{pace}, {device_memory()}, ETA {left}"
        )
        if self._bar is not None:
            self._bar.print(line, markup=False)
        else:
            self.note(line)

    def genotype(self, genotype: Genotype) -> None:
        """What was found."""
        self.note(f"found {to_text(genotype)}")

    def costs(self, costs: dict[str, dict[str, Any]]) -> None:
        """What a network costs, beside its targets."""
        for name, found in costs.items():
            numbers = [f"{what} {found[what]:.6g}" for what in ("target", "expected", "derived", "measured") if what in found]
            self.note(f"{name} in {found['unit']}: {', '.join(numbers)}")
            if "warning" in found:
                self.note(f"warning: {found['warning']}")

    def last_screen(self, result: dict[str, Any], folder: RunFolder) -> None:
        """Accuracies beside those of the random genotypes, the seconds, the genotype, the files."""
        found, random, seconds = result["found"], result["random"], result["seconds"]
        kind = _kind(result["space"])
        if "test_accuracy" in found:
            table = rich.table.Table(box=None, pad_edge=False)
            for column in (kind, "test accuracy", "parameters", "training s"):
                table.add_column(column, justify="left" if column == kind else "right")
            for row in (found, *random):
                accuracy, parameters = f"{row['test_accuracy']:.2%}", f"{row['parameters']:,}"
                table.add_row(row["cell"], accuracy, parameters, f"{row['train_seconds']:.1f}")
            self.out.print()
            self.out.print(table)
        if random:
            spread = (
                "" if result["random_std"] is None else f" +- {result['random_std']:.2%} (sample deviation of {len(random)})"
            )
            mean = result["random_mean"]
            difference = found["test_accuracy"] - mean
            self.note(f"random {kind}s {mean:.2%}{spread}; the found {kind} is {difference:+.2%} from their mean")
            self.note(f"the search itself took {seconds['search']:.1f} s that the random {kind}s did not need")
        stages = ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items())
        self.note(f"seconds: {stages}")
        self.note(f"\n{found['genotype']}\n")
        self.files(folder)

    def files(self, folder: RunFolder) -> None:
        """What a run left."""
        self.note(f"files: {folder.path}/ ({', '.join(folder.files())})")

    def _stop_live(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None


def _kind(space: str) -> str:
    """What is searched, in words."""
    return "network" if space in BLOCK_SPACES else "cell"


def _stage(stage: NextStage) -> str:
    share = f", one channel of {stage.share}" if stage.share > 1 else ""
    return f"{stage.epochs} epochs, {stage.cells} cells{share}, the {stage.operations} strongest candidates of each edge"


def time_line(seconds: float) -> str:
    """Seconds as a person says them.

    >>> [time_line(seconds) for seconds in (42.4, 185, 7260)]
    ['42 s', '3 min 05 s', '2 h 01 min']
    """
    minutes, left = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{left} s"
    return f"{minutes} min {left:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def device_memory() -> str:
    """What the first device has in use where it says; on a CPU, whose memory is the host's, what this process has."""
    used = (jax.local_devices()[0].memory_stats() or {}).get("bytes_in_use") or psutil.Process().memory_info().rss
    return f"{used / 2**20:,.0f} MiB"


def metrics_line(metrics: dict[str, float]) -> str:
    """Losses, accuracies and costs.

    >>> metrics_line({"train_loss": 0.5, "train_accuracy": 0.875, "alpha_gradient_norm": 1.0})
    'train loss 0.500 acc 0.875'
    """
    short = {"train_loss": "train loss", "train_accuracy": "acc", "valid_loss": "valid loss", "valid_accuracy": "acc"}
    said = [f"{label} {metrics[name]:.3f}" for name, label in short.items() if name in metrics]
    return " ".join(said + [f"{name} {metrics[name]:.4g}" for name in COSTS if name in metrics])

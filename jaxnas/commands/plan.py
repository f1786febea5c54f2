"""``jaxnas plan``: what a search would need, before it runs."""

# No "from __future__ import annotations" here: tyro reads the annotations of a nested function.

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro

from jaxnas import plan, recipes, run
from jaxnas.commands.arguments import JsonTarget, parse, recipe_first, take_name
from jaxnas.commands.json_output import json_output
from jaxnas.data import Dataset, load, stand_in
from jaxnas.errors import UserError
from jaxnas.parallel import mesh_for
from jaxnas.stages import Part, example_parts


def main(arguments: list[str]) -> int:
    """Prints the plan; 1 where it does not fit the device, else 0.

    The JSON is a ``Plan`` with ``total`` in its memory, ``fits`` (null where the device does not say) and ``data_missing``,
    why the data set's files were not read, or null. Of a search in stages there is a list ``stages`` of plans instead, and
    ``fits`` of all.
    """
    name, rest = take_name(arguments)
    name = recipes.MAIN if name is None else name
    recipe = recipes.find(name)

    def planned(
        recipe: Annotated[recipes.Recipe, tyro.conf.arg(name="")] = recipe,
        data_dir: Path | None = None,
        devices: int | None = None,
        json: JsonTarget = None,
    ) -> int:
        """What a search would need.

        Args:
          recipe: values of the recipe.
          data_dir: folder of the dataset's official files; without them their known shapes do.
          devices: how many devices share every batch, all by default; memory is that of each.
        """
        with json_output(json) as write:
            dataset, missing = _dataset(recipe, data_dir)
            run.check(recipe, dataset)
            mesh = mesh_for(recipe.search.batch, devices, recipe.search.micro_batches)
            if missing:
                print(f"data      planned with the shapes of {recipe.dataset} as it is published, since: {missing}", flush=True)
            parts, documents = example_parts(recipe.search, recipe.seed), []
            print(f"recipe    {name}, seed {recipe.seed}")
            print(f"images    {dataset.image_size}x{dataset.image_size} pixels, {dataset.kept}")
            for part in parts:
                if part.number:
                    print(f"\nstage {part.number + 1}, of candidates left by chance, since the search decides:")
                found = plan.plan(recipe, dataset, part, mesh)
                for line in _lines(part, found):
                    print(line)
                memory = {**dataclasses.asdict(found.memory), "total": found.memory.total}
                documents.append({**dataclasses.asdict(found), "memory": memory, "fits": found.fits})
            print("The training of what is found is not planned.")
            stages = {"stages": documents} if len(parts) > 1 else documents[0]
            fits = min((document["fits"] for document in documents), key=(False, None, True).index)
            write({**stages, "fits": fits, "data_missing": missing})
        return 1 if fits is False else 0

    about = (
        f"What a search with the recipe {name} would need: its step is compiled and not run, and nothing is written but the "
        f"cache of compiled programs, in which the search then finds it. Recipes: {', '.join(recipes.RECIPES)}."
    )
    return parse(planned, rest, f"plan {name}", about, recipe_first("plan", recipes.RECIPES))


def _dataset(recipe: recipes.Recipe, data_dir: Path | None) -> tuple[Dataset, str | None]:
    """The data set or, where it cannot be read, its shapes and why."""
    try:
        return load(recipe.dataset, data_dir, recipe.image_size), None
    except UserError as error:
        known = stand_in(recipe.dataset)
        if known is None:
            raise
        return known, str(error)


def _lines(part: Part, found: plan.Plan) -> Iterator[str]:
    search, memory = part.search, found.memory
    steps = found.epochs * found.steps_per_epoch
    how = "loaded from the cache" if found.from_cache else "compiled"
    yield f"device    {found.kind} ({found.platform})" + (f", {found.devices} of them" if found.devices > 1 else "")
    yield (f"supernet  {search.space}, {search.size}: {found.parameters:,} parameters, {found.alphas} alphas")
    yield (
        f"forward   {found.multiply_adds['conv_linear']:,} multiply-adds an image in convolutions and linear layers; "
        f"{found.multiply_adds['nasbench201']:,} as NAS-Bench-201 counts"
    )
    yield f"steps     {found.epochs} epochs of {found.steps_per_epoch:,}, {steps:,} in all, batch {found.batch}"
    yield f"program   traced in {found.trace_seconds:.1f} s, {how} in {found.compile_seconds:.1f} s"
    yield (
        f"memory    {_size(memory.total)}: arguments {_size(memory.arguments)} (of which data {_size(memory.data)}) "
        f"+ outputs {_size(memory.outputs)} + temporary {_size(memory.temporary)} - aliased {_size(memory.aliased)}"
    )
    if found.free is None:
        yield "fits      unknown: the device does not say how much memory it has"
    elif found.fits:
        yield f"fits      yes: {_size(found.free)} are free"
    else:
        yield f"fits      NO: {_size(found.free)} are free"
        for change in found.advice:
            yield f"          change: {change}"
        yield "          plan again with a change to see what it needs"


def _size(number: int) -> str:
    return f"{number / 2**20:,.1f} MiB"

"""The section of a run's page that others need to check it: the checklist, what it has cost, where and with what it ran."""

from __future__ import annotations

from collections.abc import Iterator

from jaxnas.card import checklist
from jaxnas.report.facts import Run
from jaxnas.report.page import Part, Section, Table
from jaxnas.run_folder import fields


def card_section(run: Run) -> Section:
    """What the run's card, environment and configuration say."""
    facts = {
        "recipe": run.name,
        "begun": run.environment.get("date"),
        "devices": ", ".join(map(str, run.environment.get("devices") or [])),
        "processors": run.environment.get("cpus"),
        "Python": run.environment.get("python"),
        "system": run.environment.get("platform"),
        **{str(name): version for name, version in (run.environment.get("packages") or {}).items()},
        "size of the space": run.result.get("genotypes_in_space"),
        "alphas": run.result.get("alphas"),
        "supernet's parameters": run.result.get("supernet_parameters"),
    }
    rows = [(name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in facts.items() if value]
    parts: list[Part] = [*_checked(run), Table("Where and with what it ran.", ("fact", "value"), rows)]
    if run.config:
        values = [(name, str(value)) for name, value in fields(run.config).items() if name != "recipe"]
        parts.append(Table("Every value of the configuration", ("name", "value"), values, True))
    return Section("card", "Run card", "", parts)


def _checked(run: Run) -> Iterator[Part]:
    """The checklist, and what the run has cost with all that worked on it; from its card."""
    if not run.card:
        return
    rows = [
        (f"{item.number}. {item.asked}", "yes" if item.answer else "no", item.answer or item.why)
        for item in checklist(run.card)
    ]
    asked = "Best practice for research on architecture search (Lindauer and Hutter, 2020): what card.json answers."
    yield Table(asked, ("item", "answered", "how, or why not"), rows)
    cost = run.card["cost"]
    spent = {**cost["device_seconds"], **{f"compilation: {kind}": value for kind, value in cost["compile_seconds"].items()}}
    sessions = len(cost["sessions"])
    caption = f"Device seconds, added up over {sessions} session{'s' if sessions > 1 else ''}; compilation is apart."
    caption += "" if cost["whole"] else " What was spent before the run had a card is not known."
    yield Table(caption, ("what", "seconds"), [(kind, f"{value:,.1f}") for kind, value in spent.items()])

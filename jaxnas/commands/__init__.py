"""The verbs: a module each, whose ``main(arguments)`` returns the exit code, imported when its verb is typed."""

import time

# The command line imports this before all that takes long: from here the seconds of a run's imports count.
STARTED = time.perf_counter()

VERBS = (
    "search",
    "resume",
    "sweep",
    "pareto",
    "baselines",
    "blackbox",
    "plan",
    "derive",
    "draw",
    "report",
    "compare",
    "card",
    "status",
    "list",
    "train",
    "evaluate",
    "export",
    "load",
    "trust",
    "profile",
    "latency",
    "table",
    "query",
    "data",
    "doctor",
    "verify",
    "reproduce",
)

"""Pages in a real browser: what is drawn, what moves, what is asked of the network, and whether everybody can read it.

Skipped by name where the system has no Chromium; nothing downloads one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jaxnas.cost_terms import LatencyTerm
from jaxnas.report import comparison, read_run, report, to_html

CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
WITHOUT_NETWORK = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
WITHOUT_NETWORK += [
    "--disable-component-update",
    "--disable-sync",
    *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
]
TARGET = LatencyTerm(form="target", target=4.0, table="table.json")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no system Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=WITHOUT_NETWORK)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(write_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    darts = write_run(folder / "darts", "darts-digits", epochs=5)
    runs = {"darts": darts, "nb201": write_run(folder / "nb201", "nb201-digits", epochs=5)}
    seeds = [write_run(folder / f"m{i}", "proxyless-mobile-digits", epochs=5, seed=i, latency=TARGET) for i in range(2)]
    documents = {name: report(read_run(run)) for name, run in {**runs, "mobile": seeds[0]}.items()}
    documents["compared"] = comparison([read_run(run) for run in (*seeds, darts)])
    unfinished = write_run(folder / "unfinished", "nb201-digits", epochs=3)
    for name in ("result.json", "genotype.json", "environment.json"):
        (unfinished / name).unlink()
    log = unfinished / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-10])
    documents["unfinished"] = report(read_run(unfinished))
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("{")
    documents["broken"] = report(read_run(folder / "broken"))
    for name, page in documents.items():
        (folder / f"{name}.html").write_text(to_html(page), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in documents}


class Opened:
    """A page, what its console said, and what it asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1200) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_function("document.documentElement.dataset.drawn === 'yes'")
        self.path = path


FIGURES = {
    "darts": {"summary", "network", "alphas", "search", "training", "skips", "card", "next"},
    "nb201": {"summary", "network", "alphas", "search", "training", "skips", "card", "next"},
    "mobile": {"summary", "network", "alphas", "search", "training", "costs", "trade", "latencies", "card", "next"},
    "compared": {"summary", "runs", "curves", "trade", "networks"},
    "unfinished": {"summary", "alphas", "search", "training", "skips", "card", "next"},
    "broken": {"summary", "card", "next"},
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_page(name: str, browser: Any, pages: dict[str, Path]) -> None:
    from axe_playwright_python.sync_playwright import Axe

    opened = Opened(browser, pages[name])
    page = opened.page
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [opened.path.as_uri()]
    assert set(page.eval_on_selector_all("main > section", "all => all.map(one => one.id)")) == FIGURES[name]
    # Every figure has marks, every drawing its words within their boxes.
    for chart in page.query_selector_all("[data-chart]"):
        box = chart.query_selector("svg").bounding_box()
        assert box["width"] > 100 and box["height"] > 100
        drawn = chart.query_selector_all(".mark-line path, .mark-symbol path, .mark-rect path")
        assert any((mark.get_attribute("d") or "") not in ("", "M0,0") for mark in drawn)
    outside = """all => all.filter(svg => svg.clientWidth).flatMap(svg =>
        [...svg.querySelectorAll('rect + text')].filter(text => {
        const box = text.previousElementSibling.getBBox(), letters = text.getBBox();
        return letters.x < box.x + 1 || letters.x + letters.width > box.x + box.width - 1;
    }).map(text => text.textContent))"""
    assert page.eval_on_selector_all("figure.drawing svg", outside) == []
    for link in page.query_selector_all("a"):
        target = (link.get_attribute("href") or "").removeprefix("#")
        assert page.query_selector(f"[id='{target}']") is not None
    serious = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == []
    page.close()


def test_the_slider_moves_the_picture_by_the_keyboard(browser: Any, pages: dict[str, Path]) -> None:
    page = Opened(browser, pages["darts"]).page
    numbers = r"all => all.map(one => one.textContent).filter(text => /^\d\.\d\d$/.test(text)).join(' ')"
    heat, last = "[data-chart='alphas-normal'] .mark-text text", ""
    for epoch in ("5", "4", "3", "2", "1"):
        assert page.inner_text("#moment-label") == epoch
        assert page.get_attribute("#moment", "aria-valuetext") == f"epoch {epoch}"
        now = page.eval_on_selector_all(heat, numbers)
        assert len(now.split()) == 14 * 8 and now != last
        assert page.locator(".frame:visible").count() == 1
        last = now
        page.focus("#moment")
        page.keyboard.press("ArrowLeft")
    # At the first epoch the alphas are a fifth of the last one's: by closed form.
    import numpy as np

    from jaxnas.history import moments, read_lines
    from jaxnas.recipes import find

    first = moments(find("darts-digits").search, read_lines(pages["darts"].parent / "darts" / "log.jsonl")[0])[0][0]
    shown = np.array([float(number) for number in last.split()]).reshape(14, 8)
    np.testing.assert_allclose(shown, first.strengths["normal"], atol=0.0056)
    page.close()


@pytest.mark.parametrize("name", ["mobile", "darts", "compared"])
def test_at_phone_width_nothing_is_wider_than_the_page(name: str, browser: Any, pages: dict[str, Path]) -> None:
    page = Opened(browser, pages[name], width=360).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    wide = "all => all.filter(one => one.getBoundingClientRect().right > 361).map(one => one.outerHTML.slice(0, 80))"
    assert page.eval_on_selector_all(".plot svg, p, h1, h2, .cards, .control, figcaption", wide) == []
    page.close()


def test_on_paper_the_controls_are_gone(browser: Any, pages: dict[str, Path]) -> None:
    page = Opened(browser, pages["mobile"]).page
    page.emulate_media(media="print")
    assert not page.is_visible("nav") and not page.is_visible("#moment") and page.is_visible("#network svg")
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()


def test_without_scripts_the_numbers_are_there(browser: Any, pages: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["mobile"].as_uri())
    assert page.locator("noscript p").count() == 1 and page.locator("details table").count() >= 5
    context.close()

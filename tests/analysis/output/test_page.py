"""The page: self-contained by its text, and alive in headless Chromium."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis import report
from tests.analysis.studies import write_study

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
VOID = {"meta", "br", "path", "use", "rect", "line", "circle", "image", "stop"}


class Outline(HTMLParser):
    """Collects ids and links, and fails on tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        found = dict(attrs)
        self.ids += [found["id"]] if found.get("id") else []  # type: ignore[list-item]
        self.links += [str(found[name]) for name in ("href", "src", "xlink:href") if found.get(name)]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        write_study(folder / "runs" / "demo", metrics=True)
        words = ["grid=demo", f"runs={folder / 'runs'}", f"out={folder / 'report'}", "reps=200"]
        assert report.main(words) == 0
    return folder / "report" / "index.html"


def test_the_page_is_well_formed_with_unique_ids_and_links_that_exist(page: Path) -> None:
    outline = Outline()
    outline.feed(page.read_text(encoding="utf-8"))
    assert not outline.open
    assert len(outline.ids) == len(set(outline.ids))
    assert all(link[1:] in outline.ids for link in outline.links if link.startswith("#"))
    others = [page.parent / link for link in outline.links if not link.startswith("#")]
    assert all(path.exists() for path in others) and sum(path.is_dir() for path in others) == 12
    files = {path for path in page.parent.rglob("*") if path.is_file()} - {page, page.parent / "report.json"}
    assert files - {page.parent / "report.md"} <= set(others)  # whatever was written is linked


def test_every_table_and_figure_of_the_report_is_on_the_page(page: Path) -> None:
    outline = Outline()
    outline.feed(page.read_text(encoding="utf-8"))
    for kind, ending in (("table", "csv"), ("figure", "svg")):
        files = {path.stem for path in (page.parent / f"{kind}s").glob(f"*.{ending}")}
        assert len(files) > 5 and {f"{kind}-{name}" for name in files} <= set(outline.ids)


def test_whatever_stands_in_names_and_reasons_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "extra.csv"
    odd = "<script>x</script>&\"'"
    quoted = odd.replace('"', '""')
    file.write_text(f'method,task,seed,frames,score\n"{quoted}",atari_pong,0,1,2\n"{quoted}",atari_nope,0,1,2\n')
    words = [f"extra={file}", "tasks=pong", f"out={tmp_path / 'report'}", "reps=200", "--force"]
    assert report.main(words) == 0
    for path in [tmp_path / "report/index.html", *(tmp_path / "report/tables").glob("*.html")]:
        text = path.read_text(encoding="utf-8")
        assert "<script>x" not in text
        if "per_task" in path.name or "index" in path.name:
            assert "&lt;script&gt;x&lt;/script&gt;&amp;" in text


def test_the_page_asks_nothing_of_the_network(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert all(
        re.match(r"https?://(www\.w3\.org|purl\.org|creativecommons\.org|matplotlib\.org)", url) for url in named
    )
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", text)
    assert "default-src 'none'" in text


def test_figures_follow_the_theme_and_carry_titles(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg ") == len(list((page.parent / "figures").glob("*.png"))) >= 8
    assert "var(--ink)" in text and "var(--c0)" in text and 'aria-label="' in text
    shown = text[text.index("<main>") : text.index("</main>")]
    assert "#ffffff" not in shown and "#0072b2" not in shown


def chromium(*words: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    base = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    return subprocess.run([*base, *words], capture_output=True, text=True, timeout=120, check=True)


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: chromium)")

PROBE = """
<script>
  const cells = () => [...document.querySelectorAll("#table-per_task tbody tr")].map(r => r.cells[0].textContent);
  const heads = document.querySelectorAll("#table-per_task thead button");
  const seen = {start: cells()};
  heads[0].click(); seen.up = cells();
  heads[0].click(); seen.down = cells();
  heads[1].click(); seen.best = cells();
  seen.aria = heads[1].closest("th").getAttribute("aria-sort");
  const ink = () => getComputedStyle(document.body).color;
  seen.light = ink(); document.getElementById("theme").click(); seen.dark = ink();
  seen.overflow = document.documentElement.scrollWidth - innerWidth;
  document.title = JSON.stringify(seen);
</script></body>"""


@pytest.mark.chromium
@needs_chromium
def test_tables_sort_and_the_theme_changes_without_console_errors(page: Path, tmp_path: Path) -> None:
    import json

    probe = tmp_path / "probe.html"
    probe.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    done = chromium("--window-size=390,844", "--dump-dom", probe.as_uri())
    assert "CONSOLE" not in done.stderr
    seen = json.loads(re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1].replace("&quot;", '"'))  # type: ignore[index]
    assert seen["start"] == ["Boxing", "Pong", "Catch"]
    assert seen["up"] == ["Boxing", "Pong", "Catch"] and seen["down"] == ["Catch", "Pong", "Boxing"]
    assert seen["best"] == ["Boxing", "Pong", "Catch"] and seen["aria"] == "descending"
    assert seen["light"] != seen["dark"]
    assert seen["overflow"] <= 0  # nothing wider than a phone: wide tables and figures scroll inside


@pytest.mark.chromium
@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", ["1280,3000", "390,3000"])
def test_the_page_draws_itself(page: Path, tmp_path: Path, size: str, dark: bool) -> None:
    from PIL import Image

    shot = tmp_path / "page.png"
    theme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = chromium(f"--window-size={size}", f"--screenshot={shot}", *theme, page.as_uri())
    assert "CONSOLE" not in done.stderr
    with Image.open(shot) as image:
        grey = image.convert("L")
        background = grey.getpixel((2, 2))
        used = sum(grey.histogram()[:100]) / (grey.width * grey.height)
    assert isinstance(background, (int, float))
    assert (background < 60) == dark and (used > 0.8 if dark else 0.01 < used < 0.3)


def test_a_card_below_zero_has_the_minus_sign_of_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_study(tmp_path / "runs" / "low", tasks=("atari_pong",), score=lambda task, method, seed, number: -21.0)
    words = ["grid=low", f"runs={tmp_path / 'runs'}", f"out={tmp_path / 'report'}", "reps=200", "--no-figures"]
    assert report.main(words) == 0
    cards = re.findall(r'class="card">.*?<b>(.*?)</b>', (tmp_path / "report" / "index.html").read_text())
    assert cards[0] == "−0.008"

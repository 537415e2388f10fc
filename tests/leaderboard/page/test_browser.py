"""The page in a browser: nothing goes wrong, sorting and choosing work, nothing overflows."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sleepshift.leaderboard.page import render_page
from sleepshift.leaderboard.results import Results

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")

DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"
TELEPHONE = 390

#: Before everything else: what goes wrong is kept.
WATCH = """<script>
const wrong = [];
addEventListener("error", (event) => wrong.push(String(event.message)));
addEventListener("unhandledrejection", (event) => wrong.push(String(event.reason)));
for (const kind of ["error", "warn"]) console[kind] = (...words) => wrong.push(words.join(" "));
</script>"""

#: Helpers of the checks: what is shown, and how well text stands out from its ground.
HELP = """
const all = (query, root = document) => [...root.querySelectorAll(query)];
const shown = (node) => node.getClientRects().length > 0;
const colour = (text) => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  canvas.fillStyle = text;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const over = (top, below) => [0, 1, 2].map((k) => top[3] * top[k] + (1 - top[3]) * below[k]);
const light = (rgb) => {
  const [r, g, b] = rgb.slice(0, 3).map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (node) => {
  const layers = [];
  for (let at = node; at; at = at.parentElement) {
    layers.push(colour(getComputedStyle(at).backgroundColor));
  }
  return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
};
const contrast = (node) => {
  const style = getComputedStyle(node), below = ground(node);
  const text = over(colour(node.closest("svg") ? style.fill : style.color), below);
  const [low, high] = [light(text), light(below)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};
"""


def look(page: str, check: str, folder: Path, *options: str) -> Any:
    """Open a page and give what `check`, the body of a function, returns in it."""
    return _verdict(_probed(page, check), folder, *options)


def on_a_telephone(page: str, check: str, folder: Path) -> Any:
    """The same in a frame as narrow as a telephone; a window cannot be made so narrow."""
    frame = html.escape(_probed(page, check))
    outer = f"""<!doctype html><body>
      <iframe width="{TELEPHONE}" height="800" style="border: 0" srcdoc="{frame}"></iframe>
      <script>addEventListener("message", (event) => {{
        const note = document.createElement("pre");
        note.id = "verdict";
        note.textContent = event.data;
        document.body.append(note);
      }});</script></body>"""
    return _verdict(outer, folder)


def _probed(page: str, check: str) -> str:
    """A page with a check at its end; its policy, which forbids scripts of others, taken out."""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    probe = f"""<script>addEventListener("load", () => {{
      {HELP}
      let found;
      try {{ found = (() => {{ {check} }})(); }} catch (error) {{ wrong.push(String(error)); }}
      const verdict = JSON.stringify({{found, wrong}});
      if (parent !== window) return parent.postMessage(verdict, "*");
      const note = document.createElement("pre");
      note.id = "verdict";
      note.textContent = verdict;
      document.body.append(note);
    }});</script></body>"""
    return page.replace("<head>", f"<head>{WATCH}", 1).replace("</body>", probe)


def _verdict(page: str, folder: Path, *options: str) -> Any:
    shown = _open(page, folder, "--virtual-time-budget=20000", *options).stdout
    found = re.findall(r'<pre id="verdict">(.*?)</pre>', shown, flags=re.DOTALL)
    assert found, "the page never finished"
    verdict = json.loads(html.unescape(found[-1]))
    assert verdict["wrong"] == []
    return verdict["found"]


def _open(page: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What the browser makes of a page on disk."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", *options]
    command += [f"--user-data-dir={folder / 'profile'}", "--window-size=1280,900"]
    command += ["--enable-logging=stderr", "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def page(everything: Results) -> str:
    return render_page(everything)[0]


def test_it_opens_from_disk_with_its_own_policy_and_nothing_goes_wrong(
    page: str, tmp_path: Path
) -> None:
    ran = _open(page, tmp_path)
    assert '<button type="button">' in ran.stdout, "the page's own script did not run"
    assert not re.findall(r".*CONSOLE.*", ran.stderr)


def test_its_policy_keeps_other_scripts_from_running(page: str, tmp_path: Path) -> None:
    ran = _open(page.replace('"use strict";', '"use strict"; '), tmp_path)
    assert '<button type="button">' not in ran.stdout
    assert re.search(r"CONSOLE.*Content Security Policy", ran.stderr)


def test_what_goes_wrong_is_noticed(tmp_path: Path) -> None:
    broken = "<!doctype html><html><head></head><body><script>nothing()</script></body></html>"
    with pytest.raises(AssertionError, match="nothing is not defined"):
        look(broken, "return 1", tmp_path)


def test_headings_sort_by_number_and_leave_what_has_none_at_the_end(
    page: str, tmp_path: Path
) -> None:
    found = look(
        page,
        """
        const table = document.querySelector('[data-method="teacher"]').closest("table.sortable");
        const heads = [...table.tHead.rows[0].cells];
        return heads.map((head, k) => {
          const values = () => [...table.tBodies[0].rows].map((row) =>
            head.classList.contains("n") ? Number(row.cells[k].dataset.v ?? NaN)
              : row.cells[k].textContent.trim().toLowerCase());
          const button = head.querySelector("button");
          button.focus();
          const before = document.activeElement === button;
          button.click();
          const [first, one] = [head.getAttribute("aria-sort"), values()];
          button.click();
          return {name: head.textContent.trim(), focused: before, first, one,
            second: head.getAttribute("aria-sort"), two: values(),
            marked: all("th[aria-sort]", table.tHead).length};
        });
        """,
        tmp_path,
    )
    assert len(found) > 12
    for column in found:
        assert column["focused"]
        assert column["marked"] == 1
        assert {column["first"], column["second"]} == {"ascending", "descending"}
        for way, values in ((column["first"], column["one"]), (column["second"], column["two"])):
            there = [value for value in values if value is not None]
            assert there == sorted(there, reverse=way == "descending"), column["name"]
            assert values[len(there) :] == [None] * (len(values) - len(there))
    by_name = {column["name"]: column for column in found}
    # Ranks come sorted, so a click turns them; the best figures come first, the least errors too.
    assert by_name["kappa"]["first"] == "descending"
    assert by_name["NLL"]["first"] == "ascending"
    assert by_name["rank"]["one"].count(None) == 1


def test_methods_are_found_by_part_of_their_name(page: str, tmp_path: Path) -> None:
    found = look(
        page,
        """
        const tools = document.querySelector(".tools");
        const type = (text) => {
          tools.elements.method.value = text;
          tools.elements.method.dispatchEvent(new Event("input", {bubbles: true}));
          const rows = all("main [data-method]").filter(shown).map((row) => row.dataset.method);
          return {names: [...new Set(rows)], said: tools.elements.found.value};
        };
        return [type("TEACH"), type("no such method"), type("<script>"), type("")];
        """,
        tmp_path,
    )
    teach, nobody, hostile, everyone = found
    assert sorted(teach["names"]) == ["kd-random-teacher", "teacher"]
    assert teach["said"] == "2 methods"
    assert nobody == {"names": [], "said": "0 methods"}
    assert hostile["names"] == ["<script>alert(1)</script>"]
    assert len(everyone["names"]) == 11
    assert everyone["said"] == ""


def test_groups_and_statistics_are_chosen(page: str, tmp_path: Path) -> None:
    found = look(
        page,
        """
        const tools = document.querySelector(".tools"), select = tools.elements.view;
        const sections = () => all("section.group").filter(shown).map((one) => one.dataset.view);
        const choose = (field, value) => {
          field.value = value;
          field.dispatchEvent(new Event("input", {bubbles: true}));
          field.dispatchEvent(new Event("change", {bubbles: true}));
        };
        const options = [...select.options].map((option) => option.value);
        const before = sections();
        choose(select, "t2g1");
        const one = sections(), tasks = all("section.task").filter(shown).length;
        const inside = document.querySelector('[data-view="t2g1"] .choose');
        const table = document.getElementById("t2g1-s");
        const rows = () => all("tbody tr", table).filter(shown).map((row) =>
          row.dataset.method + ": " + row.dataset.statistic);
        const [statistic, method] = all("select", inside), first = rows();
        choose(method, "");
        choose(statistic, "sleep efficiency, %");
        const efficiency = rows();
        choose(select, "");
        return {options, before, one, tasks, first, efficiency, after: sections()};
        """,
        tmp_path,
    )
    assert found["options"] == ["", *found["before"]]
    assert (found["one"], found["tasks"]) == (["t2g1"], 1)
    assert len({row.partition(":")[0] for row in found["first"]}) == 1
    assert len(found["first"]) > 5
    assert found["efficiency"] == [
        f"{method}: sleep efficiency, %"
        for method in ("features-logreg", "source-only", "majority")
    ]
    assert found["after"] == found["before"]


def test_everything_is_there_without_a_script(page: str, tmp_path: Path) -> None:
    silent = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    found = look(
        silent,
        """
        const hidden = all("tbody tr").filter((row) => !shown(row) && !row.closest("details"));
        return {rows: hidden.length, tools: shown(document.querySelector(".tools")),
                tables: all("table").length};
        """,
        tmp_path,
    )
    assert found["rows"] == 0
    assert not found["tools"]
    assert found["tables"] > 20


MEASURE = """
const root = document.documentElement;
for (const lid of all("details")) lid.open = true;
const edge = root.clientWidth + 1;
const outside = all("body *").filter((node) => shown(node) && !node.closest(".scroll, svg")
  && node.getBoundingClientRect().right > edge);
return {inner: innerWidth, scroll: root.scrollWidth, client: root.clientWidth,
        outside: outside.slice(0, 5).map((node) => node.outerHTML.slice(0, 120))};
"""


def test_nothing_overflows_on_a_telephone(page: str, tmp_path: Path) -> None:
    found = on_a_telephone(page, MEASURE, tmp_path)
    assert found["inner"] == TELEPHONE
    assert found["outside"] == []
    assert found["scroll"] <= found["client"]


def test_what_overflows_is_noticed(page: str, tmp_path: Path) -> None:
    wide = page.replace("<main", '<div style="width: 600px">wide</div><main', 1)
    found = on_a_telephone(wide, MEASURE, tmp_path)
    assert found["scroll"] > found["client"]
    assert "600px" in found["outside"][0]


def test_wide_tables_scroll_in_their_own_box_and_keep_their_methods_in_sight(
    page: str, tmp_path: Path
) -> None:
    found = on_a_telephone(
        page,
        """
        const box = document.getElementById("t1g2-t").parentElement;
        box.scrollLeft = 400;
        const name = box.querySelector("tbody th"), cell = name.nextElementSibling;
        const [left, moved] = [name, cell].map((one) => one.getBoundingClientRect().left);
        return {wide: box.scrollWidth > box.clientWidth, left, moved,
                edge: box.getBoundingClientRect().left, share: name.offsetWidth / box.clientWidth};
        """,
        tmp_path,
    )
    assert found["wide"]
    assert found["left"] == pytest.approx(found["edge"], abs=1)
    assert found["moved"] < 0
    assert found["share"] < 0.55


CONTRAST = """
for (const lid of all("details")) lid.open = true;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const parents = new Map();
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (walker.currentNode.data.trim() && shown(node) && !node.closest("script, option")) {
    const key = [node.tagName, node.className, getComputedStyle(node).color,
                 getComputedStyle(node).fill, node.getAttribute("style")].join("|");
    if (!parents.has(key)) parents.set(key, node);
  }
}
const worst = [...parents.values()].map((node) => [contrast(node), node.outerHTML.slice(0, 160)]);
worst.sort(([a], [b]) => a - b);
return {dark: matchMedia("(prefers-color-scheme: dark)").matches, n: worst.length,
        paper: light(ground(document.body)), worst: worst.slice(0, 5)};
"""


@pytest.mark.parametrize(("scheme", "dark"), [(LIGHT, False), (DARK, True)])
def test_text_stands_out_from_its_ground(
    page: str, tmp_path: Path, scheme: str, dark: bool
) -> None:
    found = look(page, CONTRAST, tmp_path, scheme)
    assert found["dark"] is dark
    assert (found["paper"] < 0.05) is dark
    assert found["n"] > 50
    assert found["worst"][0][0] >= 4.5, found["worst"]


def test_faint_text_is_noticed(page: str, tmp_path: Path) -> None:
    faint = page.replace("<main", '<p style="color: #999a">faint</p><main', 1)
    assert look(faint, CONTRAST, tmp_path, LIGHT)["worst"][0][0] < 4.5


def test_drawings_take_the_colour_of_the_text(page: str, tmp_path: Path) -> None:
    check = """
    const words = all("figure svg text").map((one) => getComputedStyle(one).fill);
    return {words: [...new Set(words)], body: getComputedStyle(document.body).color};
    """
    for scheme in (LIGHT, DARK):
        found = look(page, check, tmp_path, scheme)
        assert found["words"] == [found["body"]]


def test_a_keyboard_reaches_everything_and_sees_where_it_is(page: str, tmp_path: Path) -> None:
    found = look(
        page,
        """
        const kinds = "a[href], button, input, select, summary, [tabindex='0']";
        const reached = all(kinds).filter(shown);
        const lost = reached.filter((node) => {
          node.focus({focusVisible: true});
          const style = getComputedStyle(node);
          return document.activeElement !== node || style.outlineStyle === "none";
        });
        return {n: reached.length, lost: lost.map((node) => node.outerHTML.slice(0, 120)),
                boxes: all(".scroll").filter((box) => box.tabIndex !== 0).length};
        """,
        tmp_path,
    )
    assert found["n"] > 50
    assert found["lost"] == []
    assert found["boxes"] == 0

# SPDX-License-Identifier: GPL-3.0-or-later
"""The Grafana board asks for nothing that is not exported, and is one that Grafana can import."""

import itertools
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from flowgraph import until
from patience import WAIT_S
from served import Served

BOARD = Path(__file__).resolve().parents[2] / "docs" / "grafana" / "lighttune.json"


@pytest.fixture(scope="module")
def board():
    return json.loads(BOARD.read_text())


def queries(board):
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])] + [
        variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query"
    ]


def names(url):
    """Names that can occur in a scrape: with and without the suffixes of histograms."""
    text = urllib.request.urlopen(url, timeout=WAIT_S).read().decode()
    found = set(re.findall(r"^([a-z_]+)[ {]", text, re.MULTILINE))
    found |= {name for name, kind in re.findall(r"^# TYPE (\S+) (counter|gauge)$", text, re.MULTILINE)}
    return found


def test_every_metric_that_the_board_asks_for_is_exported(board):
    command = [sys.executable, "-m", "gnuradio.lighttune.cli", "monitor", "tcp://127.0.0.1:1"]
    monitor = subprocess.Popen(
        [*command, "--metrics-port", "0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        url = re.search(r"http://\S+", monitor.stderr.readline())[0]
        links = names(url)
        monitor.terminate()
        assert monitor.wait(WAIT_S) == 0
    finally:
        monitor.kill()
        monitor.stderr.close()
    with Served() as served:
        service = until(lambda: names(served.metrics_url))
    asked = {name for query in queries(board) for name in re.findall(r"\blighttune_\w+", query)}
    assert asked - links - service == set()
    for exported, least in ((links, 20), (service, 12)):  # and the board shows both
        assert len(asked & exported) >= least
    shown = {name for name in links if name.startswith("lighttune_")}
    assert shown - asked == set()  # what a monitor tells is all on the board


def test_ids_are_unique_and_panels_do_not_overlap(board):
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 15
    taken = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = set(itertools.product(
            range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"])
        ))  # fmt: skip
        assert grid["x"] + grid["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells


def test_every_panel_has_a_title_a_description_a_unit_and_the_chosen_data_source(board):
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    for panel in board["panels"]:
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        for holder in (panel, *panel["targets"]):
            assert holder["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    used = {name for query in queries(board) for name in re.findall(r"\$(\w+)", query)}
    assert used - set(variables) == {"__rate_interval"}
    assert board["uid"]
    assert "id" not in board  # the number of a board belongs to one Grafana

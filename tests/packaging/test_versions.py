# SPDX-License-Identifier: GPL-3.0-or-later
"""One version, one list of what is needed: every place that tells them tells the same."""

import datetime
import os
import re
import subprocess
import tomllib
from pathlib import Path

import rattler_build
import yaml
from gnuradio.lighttune import __version__

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The Python module, its package at PyPI, Debian and conda-forge.
NEEDED = {
    "numpy": ("numpy", "python3-numpy", "numpy"),
    "zmq": (None, "python3-zmq", "pyzmq"),  # Debian's in the tree's environment too
    "msgpack": ("msgpack", "python3-msgpack", "msgpack-python"),
    "rich": ("rich", "python3-rich", "rich"),
    "prometheus_client": ("prometheus_client", "python3-prometheus-client", "prometheus_client"),
    "matplotlib": ("matplotlib", "python3-matplotlib", "matplotlib-base"),
    "numba": ("numba", "python3-numba", "numba"),
    "gnuradio": (None, "gnuradio", "gnuradio-core"),
}


def release():
    """Version and date of the changelog's topmost heading."""
    text = (ROOT / "CHANGELOG.md").read_text()
    return re.search(r"^## \[(.+?)\](?: - (\S+))?$", text, re.MULTILINE).groups()


def recipe():
    loaded = rattler_build.Stage0Recipe.from_yaml((ROOT / "conda/recipe.yaml").read_text())
    (variant,) = loaded.render(rattler_build.VariantConfig(), rattler_build.RenderConfig())
    return variant.recipe


def debian(field):
    text = (ROOT / "debian/control").read_text()
    found = re.search(rf"^{field}:((?:.*\n)(?: .*\n)*)", text, re.MULTILINE).group(1)
    return {re.sub(r"[ (].*", "", word.strip()) for word in found.split(",")}


def test_the_version_is_that_of_the_package_everywhere(tmp_path):
    in_debian = re.match(r"gr-lighttune \((.+?)\)", (ROOT / "debian/changelog").read_text()).group(1)
    in_cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    subprocess.run(["cmake", "-S", ROOT, "-B", tmp_path], check=True, capture_output=True)
    cached = (tmp_path / "CMakeCache.txt").read_text()
    in_cmake = re.search(r"^CMAKE_PROJECT_VERSION:STATIC=(.+)$", cached, re.MULTILINE).group(1)
    assert {in_debian, in_cff, in_cmake, str(recipe().package.version)} == {__version__}
    assert PYPROJECT["dynamic"] == ["version"]
    assert release()[0] in (__version__, "Unreleased")


def test_a_release_has_one_date_everywhere():
    version, date = release()
    if version == "Unreleased":
        return
    datetime.date.fromisoformat(date)
    assert str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["date-released"]) == date
    stamp = (ROOT / "debian/changelog").read_text().rsplit("  ", 1)[1].strip()
    assert datetime.datetime.strptime(stamp, "%a, %d %b %Y %H:%M:%S %z").date().isoformat() == date


def test_pyproject_debian_conda_and_cmake_need_the_same():
    at_pypi = {re.split("[=<>]", requirement)[0] for requirement in PYPROJECT["dependencies"]}
    assert at_pypi == {pypi for pypi, _, _ in NEEDED.values() if pypi}
    in_debian = {name for name in debian("Depends") | debian("Recommends") if not name.startswith("$")}
    assert in_debian == {name for _, name, _ in NEEDED.values() if name}
    at_conda = {re.split("[ =<>]", str(name))[0] for name in recipe().requirements.to_dict()["run"]} - {
        "python"
    }
    assert at_conda == {name for _, _, name in NEEDED.values() if name}
    looked_for = re.search(r"foreach\(module IN ITEMS (.+?)\)", (ROOT / "CMakeLists.txt").read_text()).group(
        1
    )
    assert set(looked_for.split()) == NEEDED.keys()


def test_the_conda_recipe_s_script_installs_what_conda_packs(tmp_path):
    site = tmp_path / "lib/python3.11/site-packages"
    env = {**os.environ, "PREFIX": str(tmp_path), "SP_DIR": str(site), "PYTHON": "/usr/bin/python3"}
    lines = yaml.safe_load((ROOT / "conda/recipe.yaml").read_text())["build"]["script"]
    script = "\n".join(lines).replace("build/conda", str(tmp_path / "build"))
    subprocess.run(["bash", "-euc", script], cwd=ROOT, env=env, check=True, capture_output=True)
    assert (site / "gnuradio/lighttune/models/amc.safetensors").is_file()
    assert (tmp_path / "bin/lighttune").is_file()
    assert list((tmp_path / "share/gnuradio/grc/blocks").glob("*.yml"))


def test_the_citation_file_has_what_its_schema_asks_for():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cff["cff-version"] == "1.2.0"
    assert cff["license"] == "GPL-3.0-or-later"
    for work in (cff, *cff["references"]):
        assert all(isinstance(work[key], str) for key in ("title", "type"))
        assert all(
            author.keys() <= {"name", "given-names", "family-names", "orcid"} for author in work["authors"]
        )
    assert cff.keys() <= {
        "cff-version", "message", "title", "abstract", "type", "authors", "version", "date-released",
        "license", "keywords", "references", "repository-code", "url", "doi", "identifiers",
    }  # fmt: skip


def test_cgran_s_manifest_has_the_keys_that_cgran_reads():
    head, separator, text = (ROOT / "MANIFEST.md").read_text().partition("\n---\n")
    manifest = yaml.safe_load(head)
    assert separator
    assert text.startswith("gr-lighttune")
    assert manifest["title"] == "gr-lighttune"
    assert manifest["license"] == "GPL-3.0-or-later"
    assert manifest["gr_supported_version"] == "v3.10"
    for key in ("tags", "author", "copyright_owner"):
        assert manifest[key]
        assert all(isinstance(item, str) for item in manifest[key])
    assert isinstance(manifest["brief"], str)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing that was read from a file or a socket can become code: not one line of the package could do it."""

import ast
from pathlib import Path

import pytest
from gnuradio import lighttune

PACKAGE = Path(lighttune.__file__).parent
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "jsonpickle", "code"}
CALLS = {
    "eval", "exec", "compile", "torch.load", "np.load", "numpy.load", "pd.read_pickle", "yaml.unsafe_load",
    "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all", "torch.hub.load",
}  # fmt: skip


def offences(source: str) -> list[str]:
    tree = ast.parse(source)
    safe = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and [ast.unparse(base) for base in node.bases] == ["yaml.SafeLoader"]
    } | {"yaml.SafeLoader", "yaml.CSafeLoader"}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            found.append(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            loaders = [ast.unparse(a) for a in [*node.args[1:], *(k.value for k in node.keywords)]]
            if name in CALLS or (name == "yaml.load" and not set(loaders) & safe):
                found.append(name)
            found += [f"{name}(allow_pickle)" for k in node.keywords if k.arg == "allow_pickle"]
    return found


def test_the_package_never_unpickles_evaluates_or_loads_unsafely():
    sources = sorted(PACKAGE.rglob("*.py"))
    assert len(sources) > 100
    assert {p.name: o for p in sources if (o := offences(p.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from cloudpickle import loads", "torch.load(path)", "np.load(path)", "eval(text)",
        "yaml.load(text)", "yaml.load(text, yaml.Loader)", "yaml.load(text, Loader=yaml.FullLoader)",
        "np.lib.format.read_array(f, allow_pickle=True)",
    ],
)  # fmt: skip
def test_this_test_would_see_it(source):
    assert offences(source)


@pytest.mark.parametrize(
    "source",
    [
        "yaml.safe_load(text)",
        "yaml.load(text, yaml.SafeLoader)",
        "class L(yaml.SafeLoader): pass\nyaml.load(t, L)",
    ],
)
def test_safe_loaders_pass(source):
    assert not offences(source)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/licences.md: every package of requirements/*.lock, and torch, with the licence it declares."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))

COMPATIBLE = (
    "MIT", "MIT-CMU", "BSD", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "Apache-2.0", "Apache 2.0",
    "Apache Software", "Apache-2.0 WITH LLVM-exception", "ISC", "MPL-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)", "PSF-2.0", "PSFL", "Python Software Foundation", "BSL-1.0",
    "Zlib", "CC0-1.0", "HPND", "GNU Lesser General Public License v3 or later (LGPLv3+)",
)  # fmt: skip
"""Licences whose works may be combined with GPL-3.0-or-later, by the Free Software Foundation's list."""

NOT_DECLARED = {"atheris": "Apache-2.0"}
"""Packages whose metadata say nothing: from their source's LICENSE."""


def versions(lock: Path) -> dict[str, str]:
    """Versions of a lock's packages by name."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", lock.read_text(), re.MULTILINE))


def locked() -> dict[str, str]:
    """The same of all locks, by name: where they differ, all of them."""
    found: dict[str, dict[str, None]] = {}
    for lock in LOCKS:
        for name, version in versions(lock).items():
            found.setdefault(name, {})[version] = None
    return {name: ", ".join(found[name]) for name in sorted(found)}


def licence(name: str) -> str:
    """What a package that is installed declares: its expression, or its classifiers, or a short text.

    Raises:
        PackageNotFoundError: it is not installed.
        ValueError: it declares nothing.
    """
    about = metadata.metadata(name)
    expression = about.get("License-Expression")
    if expression:
        return expression
    said = [
        line.rpartition(":: ")[2]
        for line in about.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    if said:
        return " OR ".join(text.removesuffix(" License") for text in said)
    text = about.get("License") or NOT_DECLARED.get(name, "")
    if not text or len(text) > 60:
        raise ValueError(f"{name} declares no licence: see its source, and add it to NOT_DECLARED")
    return text


def compatible(expression: str) -> bool:
    """Whether one may combine it with GPL-3.0-or-later: all parts of an AND, any of an OR."""
    return any(
        all(part.strip(" ()") in COMPATIBLE or part.strip() in COMPATIBLE for part in choice.split(" AND "))
        for choice in expression.split(" OR ")
    )


def page() -> str:
    """The page."""
    packages = locked() | {"torch": metadata.version("torch").partition("+")[0]}
    rows = [f"| {name} | {packages[name]} | {licence(name)} |" for name in sorted(packages)]
    return "\n".join(
        [
            "<!-- written by `make licences`; do not edit -->",
            "# Licences",
            "",
            "gr-lighttune is free software under the GNU General Public License, version 3 or later, as GNU",
            "Radio itself. Of the packages below, which `make setup` installs, users need those that",
            "`pyproject.toml` lists under `dependencies`, and those of the extras that they use; the others",
            "serve tests and this manual. All may be combined with works under that licence. GNU Radio,",
            "ZeroMQ and Qt come from Debian or Ubuntu. Of several versions a machine gets that of its lock",
            "in `requirements/`.",
            "",
            "| package | version | licence |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    text = page()
    bad = [name for name in (*locked(), "torch") if not compatible(licence(name))]
    if bad:
        sys.exit(
            f"licences that are not known to be compatible: {', '.join(f'{n} ({licence(n)})' for n in bad)}"
        )
    PAGE.write_text(text)
    print(f"wrote {PAGE.relative_to(ROOT)}")

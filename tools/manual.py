# SPDX-License-Identifier: GPL-3.0-or-later
"""What MkDocs does for the manual beside its own work: whatever a page loads comes with the manual."""

import shutil
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

KATEX = Path("/usr/share/javascript/katex")
_SHIM = "https://unpkg.com/iframe-worker/shim"  # what Material's plugin `offline` would have pages load


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let every page load KaTeX, if it is here."""
    if not (KATEX / "katex.js").is_file():
        raise PluginError(f"no KaTeX in {KATEX}: 'apt-get install libjs-katex' (tools/setup.sh does it)")
    config.extra_css.append("katex/katex.min.css")
    config.extra_javascript += ["katex/katex.js", "assets/equations.js"]
    return config


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The search of a manual that is read from disk needs no file from elsewhere."""
    return output.replace(_SHIM, get_relative_url("assets/worker.js", page.url))


def on_post_template(output: str, template_name: str, config: MkDocsConfig) -> str:
    """The same for the page that tells that there is none."""
    return output.replace(_SHIM, "assets/worker.js")


def on_post_build(config: MkDocsConfig) -> None:
    """Copy KaTeX."""
    folder = Path(config.site_dir) / "katex"
    (folder / "fonts").mkdir(parents=True, exist_ok=True)
    for name in ("katex.js", "katex.min.css"):
        shutil.copy(KATEX / name, folder / name)
    for font in (KATEX / "fonts").glob("*.woff2"):
        shutil.copy(font, folder / "fonts" / font.name)

// SPDX-License-Identifier: GPL-3.0-or-later
// Arithmatex leaves \( \) and \[ \] in elements of its class; KaTeX sets them.
document.addEventListener("DOMContentLoaded", () => {
  for (const element of document.querySelectorAll(".arithmatex")) {
    const text = element.textContent.trim();
    katex.render(text.slice(2, -2), element, { displayMode: text.startsWith("\\["), throwOnError: false });
  }
});

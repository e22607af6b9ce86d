# SPDX-License-Identifier: GPL-3.0-or-later
"""How long tests wait: guards against a hang, not bounds of speed.

What is waited for is a condition, which is met at once on an idle machine: only a test that fails takes as
long.
"""

WAIT_S = 120.0
"""For what blocks and threads do: nothing takes a tenth of it even where other work keeps every core busy."""

HANG_S = 900.0
"""For a process that computes for a while: on an idle machine none takes a tenth of it."""

# SPDX-License-Identifier: GPL-3.0-or-later
"""The `lighttune` command: one module for each sub-command."""

# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of a link: written crash-safe, read with their debris, replayed, learnt from, reported."""

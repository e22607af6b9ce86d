# SPDX-License-Identifier: GPL-3.0-or-later
"""Offline training of the network: a wide family of links, and the one place that backpropagates (torch)."""

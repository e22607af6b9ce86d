# SPDX-License-Identifier: GPL-3.0-or-later
"""The tuner beyond the flowgraph's own process: wire format, service and client over ZeroMQ."""

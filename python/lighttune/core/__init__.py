# SPDX-License-Identifier: GPL-3.0-or-later
"""The algorithm: predictor, tuner, trigger, guards, selection. Knows no radio; needs numpy only."""

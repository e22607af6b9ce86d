# SPDX-License-Identifier: GPL-3.0-or-later
"""Seeds and sizes of the simulated benchmark, written down before anything was run on the test seeds.

Training draws its channels from seed 1 (`lighttune train`). Defaults of rules, trigger, guards, probing and
of every peer are chosen on the validation seeds alone (`bench/search.py`, `bench/peers.py`); the figures of
docs/results are those of the test seeds. Earlier looks used the seeds 1, 11, 41, 101, 202 and 90001 to 90004,
and 3001 to 3008, 4001 to 4008, 5001 to 5008, 6001 to 6008 and 7001 to 7008 were the test seeds until trigger,
guards or rates were changed after a look at their figures: none of them is a validation or test seed.
"""

from dataclasses import dataclass

TRAINING_SEED = 1
VALIDATION_SEEDS = (2001, 2002, 2003, 2004)
TEST_SEEDS = (9001, 9002, 9003, 9004, 9005, 9006, 9007, 9008)
FIELD_VALIDATION_SEEDS = (12001, 12002, 12003, 12004)  # of `bench/field.py`: what the core is chosen on
FIELD_TEST_SEEDS = (19001, 19002, 19003, 19004, 19005, 19006)
ADVERSARY_VALIDATION_SEEDS = (22001, 22002, 22003, 22004)  # of `bench/adversaries.py`, likewise
ADVERSARY_TEST_SEEDS = (29001, 29002, 29003, 29004, 29005, 29006)
"""Of the adversaries' fresh runs; the search of each draws from a stream of its own, named by the first."""
SHIFTED = ("snr_bias_jump", "doppler_shift", "interference", "impairment", "mixture")


@dataclass(frozen=True)
class Size:
    """Links and slots of every world of every seed."""

    links: int
    slots: int


FULL = Size(20, 6000)
PART = Size(20, 3000)  # where many settings are tried
SHORT = Size(2, 300)  # what CI runs, to see that it runs

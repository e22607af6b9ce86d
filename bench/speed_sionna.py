# SPDX-License-Identifier: GPL-3.0-or-later
"""Decision times of NVIDIA's Sionna SYS, for `bench/speed.py`: inner and outer loop link adaptation.

Runs in the environment that `bench/setup_linkgym.sh` makes; prints one line of JSON: by name, seconds of each
decision. One decision is one call, for one user, with the HARQ feedback of the last block (the outer loop's).
"""

import argparse
import json
import time
import warnings

import torch
from sionna.phy import config
from sionna.sys import InnerLoopLinkAdaptation, OuterLoopLinkAdaptation, PHYAbstraction

RESOURCE_ELEMENTS = 7488  # 12 subcarriers x 52 PRB x 12 symbols


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200, help="decisions of each")
    n = parser.parse_args().n
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config.device = "cpu"
    abstraction = PHYAbstraction()
    outer = OuterLoopLinkAdaptation(abstraction, num_ut=1)
    inner = InnerLoopLinkAdaptation(abstraction)
    allocated = torch.tensor([RESOURCE_ELEMENTS], dtype=torch.int32)
    sinr = 10 ** ((15 + 3 * torch.randn(n + 20, 1)) / 10)
    harq = (torch.rand(n + 20, 1) < 0.9).to(torch.int32)
    calls = {
        "Sionna SYS ILLA": lambda i: inner(sinr_eff=sinr[i], num_allocated_re=allocated),
        "Sionna SYS OLLA": lambda i: outer(allocated, harq[i], sinr[i]),
    }
    taken: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for i in range(n + 20):
            for name, call in calls.items():
                began = time.perf_counter()
                int(call(i)[0])
                taken[name].append(time.perf_counter() - began)
    print(json.dumps({name: seconds[20:] for name, seconds in taken.items()}))


if __name__ == "__main__":
    main()

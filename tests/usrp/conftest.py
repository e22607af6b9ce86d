# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in radio: a SoapySDR device that UHD opens, built here once and found through the environment."""

import os
import shutil
import subprocess
from glob import glob
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "soapy_loopback"


def _missing() -> str:
    if not glob("/usr/lib/*/uhd/modules/libsoapySupport.so"):
        return "uhd-soapysdr is not installed (tools/setup.sh does it)"
    if not Path("/usr/include/SoapySDR/Device.hpp").exists():
        return "libsoapysdr-dev is not installed (tools/setup.sh does it)"
    if not (shutil.which("cmake") and shutil.which("c++")):
        return "cmake or a C++ compiler is not installed (tools/setup.sh does it)"
    return ""


@pytest.fixture(scope="session", autouse=True)
def stand_in_radio():
    """Built if need be; a build that fails is a failure, not a reason to skip."""
    if reason := _missing():
        pytest.skip(reason)
    configure = ["cmake", "-S", ROOT / "tools" / "soapy_loopback", "-B", BUILD]
    for command in (configure, ["cmake", "--build", BUILD]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    os.environ["SOAPY_SDR_PLUGIN_PATH"] = str(BUILD)


@pytest.fixture
def radio(request):
    """Makes UHD's device arguments of a stand-in on an air of the test's own."""
    air = "".join(c for c in request.node.name if c.isalnum())

    def args(pacing: str = "virtual", **settings: object) -> str:
        settings = {"type": "soapy", "driver": "lighttune_loopback", "air": air, "pacing": pacing, **settings}
        return ",".join(f"{key}={value}" for key, value in settings.items())

    return args

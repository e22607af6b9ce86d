# SPDX-License-Identifier: GPL-3.0-or-later
"""A screen for tests that open windows: Xvfb, a real X server without hardware."""

import os
import subprocess


def start_xvfb() -> dict[str, str]:
    """Run Xvfb on a free display until this process ends; returns the environment of a Qt program for it.

    It must not end earlier: Qt takes a process down with its server, and a `QApplication` cannot be deleted
    safely while Python still has widgets.
    """
    read, write = os.pipe()
    subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", "Xvfb", "-displayfd", str(write), "-nolisten", "tcp",
         "-screen", "0", "1280x1024x24"],
        pass_fds=[write], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as display:
        number = display.readline().strip()  # empty if it ended
    assert number, "Xvfb did not start"
    return {"DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb"}

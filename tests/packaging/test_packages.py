# SPDX-License-Identifier: GPL-3.0-or-later
"""The set-up's choice of packages: by the Python that runs GNU Radio, and the NumPy that it was built for."""

import sys
from pathlib import Path

import numpy as np
import packages
import pytest
from gnuradio import gr


def found(python=(3, 11), gnuradio="3.10.5.1", numpy="1.24.2", built_for=1):
    return packages.Found(python, gnuradio, numpy, built_for)


@pytest.mark.parametrize(
    ("machine", "lock", "numpy"),
    [
        (found(), "py311-numpy1.lock", "numpy>=1,<2"),
        (found((3, 12), "3.10.9.2", "1.26.4"), "py312-numpy1.lock", "numpy>=1,<2"),
        (found((3, 13), "v3.10.12.0", "2.2.4", 2), "py313-numpy2.lock", "numpy>=2,<3"),
        # GNU Radio built for NumPy 2 works with NumPy 1 too: what it was built for counts.
        (found((3, 13), numpy="1.26.4", built_for=2), "py313-numpy2.lock", "numpy>=2,<3"),
        (found((3, 13), "3.11.0git-12-gabcdef", "2.2.4", 2), "py313-numpy2.lock", "numpy>=2,<3"),
        (found((3, 12), "3.10.12", "2.4.0", 2), None, "numpy>=2,<3"),
        (found((3, 14), "3.10.12", "2.4.0", 2), None, "numpy>=2,<3"),
        (found((3, 13), "3.10.9", "1.26.4", 1), None, "numpy>=1,<2"),
    ],
)
def test_each_supported_pair_has_a_lock_and_the_others_ranges(machine, lock, numpy):
    choice = packages.choose(machine)
    assert (choice.lock and choice.lock.name) == lock
    assert choice.numpy == numpy


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        (found(python=(3, 10)), "Python 3.10 is too old: 3.11 or later is needed"),
        (found(gnuradio="3.8.2.0"), "GNU Radio 3.8.2.0 is too old: 3.10 is needed"),
        (found(gnuradio="v3.9.8.0"), "GNU Radio v3.9.8.0 is too old"),
        (found(numpy="2.1.0"), "is built for NumPy 1 and cannot work with 2.1.0: remove that NumPy"),
        (found(numpy="3.0.0", built_for=2), "is built for NumPy 2 and cannot work with 3.0.0"),
        (found(numpy="3.0.0", built_for=3), "built for NumPy 3: 1 and 2 are supported"),
    ],
)
def test_what_cannot_work_says_why_and_what_to_do(machine, text):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        packages.choose(machine)
    assert text in str(error.value)


def test_the_gnu_radio_of_this_machine_is_looked_at():
    machine = packages.look()
    assert machine == found(sys.version_info[:2], gr.version(), np.__version__, machine.built_for)
    assert machine.built_for == int(np.__version__.partition(".")[0])
    folder = Path(gr.__file__).parent
    assert (
        packages.numpy_of(folder) == machine.built_for
    )  # by its compiled modules, not by the NumPy beside it


def test_what_a_compiled_module_was_built_for_is_read_from_it(tmp_path):
    assert packages.numpy_of(tmp_path) is None
    # NumPy's headers put these names into every module that uses them: `_import_array`.
    (tmp_path / "gr_python.so").write_bytes(b"\0\1numpy.core._multiarray_umath\0")
    assert packages.numpy_of(tmp_path) == 1
    (tmp_path / "gr_python.so").write_bytes(
        b"\0numpy._core._multiarray_umath\0numpy.core._multiarray_umath\0"
    )
    assert packages.numpy_of(tmp_path) == 2


def test_the_demo_needs_a_part_of_what_the_tests_need_and_neither_torch():
    demo, full = (set(packages.ranges(what)) for what in ("demo", "full"))
    assert demo < full
    assert not any(requirement.startswith("torch") for requirement in full)
    assert [requirement.partition("=")[0] for requirement in packages.ranges("train")] == ["torch"]

# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are whole or not there, whoever kills their writer, and whether or not the disk has room."""

import os

import pytest
from gnuradio.lighttune.core.files import replace, sweep

from fault_files import disk_full, killed_while_writing, writer


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def test_a_file_takes_the_place_of_another_which_is_kept_where_asked(old):
    previous = old.with_name("file.previous")
    replace(old, lambda file: file.write(b"new"), previous)
    assert (old.read_bytes(), previous.read_bytes()) == (b"new", b"old")
    replace(old, lambda file: file.write(b"newer"), previous)
    assert (old.read_bytes(), previous.read_bytes()) == (b"newer", b"new")
    assert sorted(p.name for p in old.parent.iterdir()) == ["file", "file.previous"]


def test_a_first_file_has_no_previous_one_and_the_permissions_that_were_asked_for(tmp_path):
    replace(tmp_path / "file", lambda file: file.write(b"x"), tmp_path / "file.previous", mode=0o600)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_writer_that_fails_leaves_everything_as_it_was(old):
    def fail(file):
        file.write(b"half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        replace(old, fail, old.with_name("file.previous"))
    assert [p.name for p in old.parent.iterdir()] == ["file"]
    assert old.read_bytes() == b"old"


def test_file_and_folder_are_synced_in_this_order(old, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(os.readlink(f"/proc/self/fd/{handle}")))
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("rename"), rename(*names)))
    replace(old, lambda file: file.write(b"new"))
    assert [name.rpartition(".")[2] if "part" in name else name for name in done] == [
        "part", "rename", str(old.parent),
    ]  # fmt: skip


def test_kill_9_in_mid_write_leaves_the_file_as_it_was(old):
    assert killed_while_writing(old, 200) == "the file is as it was"
    other = old.with_name(".file-2.abc.part")
    other.touch()
    assert len(list(old.parent.iterdir())) == 3  # and what was written so far beside it
    sweep(old)
    assert sorted(old.parent.iterdir()) == [other, old]


def test_a_full_disk_is_an_error_and_leaves_the_folder_as_it_was(old):
    assert disk_full(old) == "OSError: [Errno 27] File too large; the file is as it was"


def test_the_writer_of_these_tests_does_write(old):
    with writer(old, previous=old.with_name("file.previous")) as process:
        assert process.stdout.read().endswith("done\n")
    assert old.stat().st_size == 4096 * 1000
    assert old.with_name("file.previous").read_bytes() == b"old"

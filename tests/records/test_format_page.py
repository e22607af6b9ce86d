# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual's page on the format says what is written."""

import re
from pathlib import Path

from gnuradio.lighttune.net.fields import KINDS
from gnuradio.lighttune.records.columns import NAMES, TABLES
from gnuradio.lighttune.records.parquet import arrow_schema
from gnuradio.lighttune.records.writer import LogWriter

PAGE = (Path(__file__).resolve().parents[2] / "docs/records.md").read_text()


def test_every_table_and_column_is_in_the_page_with_its_type_and_its_meaning():
    text = PAGE.split("<!-- tables: begin -->")[1].split("<!-- tables: end -->")[0]
    tables = re.split(r"^\*\*`(\w+)`\*\*.*$", text, flags=re.MULTILINE)[1:]
    told = dict(zip(tables[::2], tables[1::2], strict=True))
    assert tuple(told) == NAMES
    for name, columns in TABLES.items():
        common = 0 if name == "csi" else 2  # told once
        rows = re.findall(r"^\| `(\w+)` \| `([^`]+)`(, or none)? \| (.+) \|$", told[name], re.MULTILINE)
        assert rows == [
            (c.name, c.kind, ", or none" if c.optional else "", c.about) for c in columns[common:]
        ]


def test_parquet_files_have_these_columns():
    for name, columns in TABLES.items():
        schema = arrow_schema(name)
        assert schema.names == [c.name for c in columns]
        assert [field.nullable for field in schema] == [c.optional for c in columns]
        for field, column in zip(schema, columns, strict=True):
            assert str(field.type).replace("item: ", "") == column.kind


def test_every_key_of_the_session_is_in_the_page(tmp_path):
    writer = LogWriter(tmp_path)
    writer.close()
    for key in writer._session:
        assert re.search(rf"^\|.*`{key}`.*\|$", PAGE, re.MULTILINE), key


def test_every_kind_of_message_has_a_table():
    assert set(KINDS) < set(NAMES)

# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m gnuradio.lighttune.cli`: the `lighttune` command where it is not on the PATH."""

from .main import main

raise SystemExit(main())

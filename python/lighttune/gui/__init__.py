# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows for Qt flowgraphs. Importing a module of this package needs PyQt5 and pyqtgraph."""

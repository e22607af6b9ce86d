# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference adaptive OFDM modem, in numpy around GNU Radio's convolutional code.

Stages bear the names of the standard's receivers: `sync_short` finds a burst, `sync_long` times it,
`channel_estimate` and `frame_equalizer` make soft bits, `header` and `framing` check them. Only `fec` and
`pmt_vectors` need GNU Radio.
"""

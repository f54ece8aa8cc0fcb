from __future__ import annotations

import numpy as np

from medmeta.data.signal_traces import HEIGHT, WIDTH, traces


def test_a_flat_lead_is_a_line_in_the_middle_of_its_band() -> None:
    picture = traces(np.zeros((1, 1, 1000), np.float16))[0, 0]
    dark = np.argwhere(picture == 0)
    assert set(dark[:, 1]) == set(range(WIDTH))
    assert set(dark[:, 0]) <= {HEIGHT // 2 - 1, HEIGHT // 2}


def test_a_spike_is_drawn_where_and_as_high_as_it_is() -> None:
    signal = np.zeros((1, 1, 192), np.float16)
    signal[0, 0, 50] = 6
    picture = traces(signal)[0, 0]
    assert picture[0].nonzero()[0].size == WIDTH - 1  # inked up to the top in one column
    assert picture[0, 50] == 0


def test_three_of_twelve_leads_and_short_signals() -> None:
    assert traces(np.zeros((2, 12, 7), np.float16)).shape == (2, 1, HEIGHT, WIDTH)
    lifted = np.zeros((1, 12, 300), np.float16)
    lifted[0, [0, 6, 11]] = 100  # the shown ones are clipped to the top of their bands
    picture = traces(lifted)[0, 0]
    assert (picture[[0, 32, 64]] == 0).all()

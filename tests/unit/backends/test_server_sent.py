"""Server-sent events, however the network cuts them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.backends.server_sent import EventReader

LINE = st.text("ab: dt\u4e16", max_size=8)
END = st.sampled_from(["\n", "\r\n", "\r"])


@given(
    events=st.lists(st.lists(LINE, min_size=1, max_size=3), max_size=5),
    end=END,
    cuts=st.lists(st.integers(0, 200), max_size=20),
)
def test_events_come_out_whole_wherever_the_stream_is_cut(
    events: list[list[str]], end: str, cuts: list[int]
) -> None:
    text = "".join("".join(f"data: {line}{end}" for line in event) + end for event in events).encode()
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    reader = EventReader()
    found = []
    for start, stop in itertools.pairwise(places):
        found += reader.feed(text[start:stop])
    assert found == ["\n".join(event).encode() for event in events]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b": keep-alive\n\ndata: a\n\n", [b"a"]),
        (b"event: x\nid: 7\ndata:a\n\n", [b"a"]),
        (b"data\n\ndata: \n\n", [b""]),
        (b"data: a\n", []),
        (b"\n\n\n", []),
    ],
)
def test_only_data_counts_and_only_of_complete_events(stream: bytes, events: list[bytes]) -> None:
    assert EventReader().feed(stream) == events

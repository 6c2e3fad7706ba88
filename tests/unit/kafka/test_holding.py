"""Records of paused partitions."""

from hypothesis import given
from hypothesis import strategies as st

from workers.core.records import Received, TopicPartition
from workers.kafka.holding import CHUNK, MAX_BYTES, MAX_RECORDS, Holding, ends_of

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


def records(place: TopicPartition, offsets: range, size: int = 1) -> list[Received]:
    return [Received(*place, offset, None, b"x" * size, (), 0) for offset in offsets]


def admit(holding: Holding, batch: list[Received]) -> list[Received]:
    return holding.admit(batch, ends_of(batch))


def test_with_nothing_paused_a_batch_passes_as_it_is() -> None:
    batch = records(A, range(3))
    assert admit(Holding(), batch) is batch


def test_a_paused_partition_is_kept_and_the_others_pass() -> None:
    holding = Holding()
    holding.pause([A])
    assert admit(holding, records(A, range(3)) + records(B, range(2))) == records(B, range(2))
    assert holding.release() == []


def test_what_comes_after_resume_waits_behind_what_was_kept() -> None:
    holding = Holding()
    holding.pause([A])
    admit(holding, records(A, range(3)))
    assert holding.resume([A])
    assert admit(holding, records(A, range(3, 5))) == []
    assert holding.release() == records(A, range(5))
    assert not holding.waiting


def test_a_release_is_a_chunk_so_that_the_listener_can_pause_again() -> None:
    holding = Holding()
    holding.pause([A])
    admit(holding, records(A, range(CHUNK + 1)))
    holding.resume([A])
    assert holding.release() == records(A, range(CHUNK))
    holding.pause([A])
    assert holding.release() == []
    assert not holding.waiting
    assert holding.resume([A])
    assert holding.release() == records(A, range(CHUNK, CHUNK + 1))


def test_a_full_partition_is_named_until_most_of_it_is_gone() -> None:
    holding = Holding()
    holding.pause([A])
    admit(holding, records(A, range(MAX_RECORDS - 1)))
    assert holding.full == frozenset()
    admit(holding, records(A, range(MAX_RECORDS - 1, MAX_RECORDS)))
    assert holding.full == {A}
    holding.resume([A])
    holding.release()
    assert holding.full == {A}
    holding.release()
    assert holding.full == frozenset()


def test_a_few_large_records_fill_a_partition_too() -> None:
    holding = Holding()
    holding.pause([A])
    admit(holding, records(A, range(2), size=MAX_BYTES // 2))
    assert holding.full == {A}


def test_a_forgotten_partition_leaves_nothing_behind() -> None:
    holding = Holding()
    holding.pause([A])
    admit(holding, records(A, range(MAX_RECORDS)))
    holding.forget([A])
    assert holding.full == frozenset()
    assert not holding.resume([A])
    assert holding.release() == []
    assert admit(holding, records(A, range(2))) == records(A, range(2))


@given(
    st.lists(st.tuples(st.sampled_from(["records", "pause", "resume", "release"]), st.sampled_from([A, B])))
)
def test_whatever_is_paused_and_resumed_each_record_passes_once_and_in_order(
    steps: list[tuple[str, TopicPartition]],
) -> None:
    holding, passed, next_offset = Holding(), list[Received](), {A: 0, B: 0}
    for step, place in steps:
        if step == "records":
            batch = records(place, range(next_offset[place], next_offset[place] + 300))
            next_offset[place] += 300
            admitted = admit(holding, batch)
            assert place not in holding.paused or not admitted
            passed += admitted
        elif step == "pause":
            holding.pause([place])
        elif step == "resume":
            holding.resume([place])
        else:
            passed += holding.release()
    holding.resume([A, B])
    while holding.waiting:
        passed += holding.release()
    for place in (A, B):
        mine = [record.offset for record in passed if record.partition == place.partition]
        assert mine == list(range(next_offset[place]))
    assert holding.full == frozenset()

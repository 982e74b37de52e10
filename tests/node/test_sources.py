from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savos_ros.node.sync import JUMP_NS, StampJoiner

MS = 1_000_000
CHANNELS = ("image", "instances")


def feed(joiner, events):
    """Feed (channel, stamp) events; messages are (channel, stamp, position)."""
    answers = []
    for position, (channel, stamp) in enumerate(events):
        answer = joiner.add(channel, stamp, (channel, stamp, position))
        if answer is not None:
            answers.append(answer.messages)
    return answers


def stamps(answers):
    return [answer[0][1] for answer in answers]


def balance(joiner, answers):
    """Every message is answered, counted as lost, or still waiting."""
    waiting = sum(len(entries) for entries in joiner._waiting.values())
    assert (
        sum(joiner.received.values())
        == sum(map(len, answers)) + sum(joiner.losses.values()) + waiting
    )


def test_pairs_in_either_order():
    joiner = StampJoiner(CHANNELS, 10)
    events = [("image", 1), ("instances", 1), ("instances", 2), ("image", 2)]
    answers = feed(joiner, events)
    assert stamps(answers) == [1, 2]
    assert all(answer[1][0] == "instances" for answer in answers)
    assert not joiner.losses


def test_masks_that_lag_by_several_frames():
    joiner = StampJoiner(CHANNELS, 10)
    events = [("image", k) for k in range(5)] + [("instances", k) for k in range(5)]
    assert stamps(feed(joiner, events)) == [0, 1, 2, 3, 4]


def test_missing_late_and_duplicate_messages_are_counted():
    joiner = StampJoiner(CHANNELS, 10)
    events = [("image", 10), ("image", 20), ("instances", 20)]  # the masks of 10 are missing
    events += [("instances", 10), ("image", 20), ("image", 30), ("image", 30), ("instances", 30)]
    assert stamps(feed(joiner, events)) == [20, 30]
    assert joiner.losses == {
        "image_unpaired": 1,
        "instances_late": 1,
        "image_duplicate": 2,
    }


def test_buffers_are_bounded():
    joiner = StampJoiner(CHANNELS, 4)
    assert feed(joiner, [("image", k) for k in range(100)]) == []
    assert len(joiner._waiting["image"]) == 4
    assert joiner.losses == {"image_unpaired": 96}


def test_a_bag_that_loops_continues_immediately():
    joiner = StampJoiner(CHANNELS, 10)
    once = [(channel, k * 100 * MS) for k in range(30) for channel in CHANNELS]
    assert len(feed(joiner, once + once)) == 60
    assert joiner.restarts == 1 and not joiner.losses


def test_a_short_bag_that_loops_continues_after_a_buffer():
    joiner = StampJoiner(CHANNELS, 3)
    once = [(channel, k * 100 * MS) for k in range(5) for channel in CHANNELS]  # 0.4 s
    answers = feed(joiner, once * 5)
    assert stamps(answers)[-1] == 400 * MS
    assert len(answers) > 15 and joiner.restarts == 4
    balance(joiner, answers)


@pytest.mark.parametrize("wild", [0, 10**18])
def test_one_wild_stamp_costs_no_good_frame(wild):
    joiner = StampJoiner(CHANNELS, 10)
    before = [(channel, 10**15 + k * 100 * MS) for k in range(5) for channel in CHANNELS]
    after = [(channel, 10**15 + k * 100 * MS) for k in range(5, 12) for channel in CHANNELS]
    pending = ("image", 10**15 + 500 * MS)
    events = [*before, pending, ("image", wild), ("instances", wild), *after[1:]]
    good = [stamp for stamp in stamps(feed(joiner, events)) if stamp != wild]
    lost = 0 if wild == 0 else 1  # the image that waited is older than an answer far ahead
    assert len(good) == 12 - lost


def test_clear_counts_what_waited():
    joiner = StampJoiner(CHANNELS, 10)
    feed(joiner, [("image", 5), ("image", 6)])
    joiner.clear()
    assert joiner.losses == {"image_unpaired": 2}
    assert stamps(feed(joiner, [("image", 1), ("instances", 1)])) == [1]


def test_slop_takes_the_nearest():
    joiner = StampJoiner(CHANNELS, 10, slop_ns=30 * MS)
    answers = feed(joiner, [("image", 100 * MS), ("image", 125 * MS), ("instances", 120 * MS)])
    assert stamps(answers) == [125 * MS]
    assert joiner.losses == {"image_unpaired": 1}


def test_gap_of_what_waits():
    joiner = StampJoiner(CHANNELS, 10)
    assert joiner.nearest_gap_ns() is None
    feed(joiner, [("image", 100), ("instances", 107)])
    assert joiner.nearest_gap_ns() == 7


def test_after_a_reset_of_simulated_time_masks_never_meet_an_image_of_the_old_run():
    joiner = StampJoiner(CHANNELS, 10)
    first = [(channel, k * 1000 * MS) for k in range(3) for channel in CHANNELS]
    feed(joiner, [*first, ("image", 3000 * MS)])  # the run ends before its masks came
    feed(joiner, first)
    assert joiner.add("image", 3000 * MS, "new image") is None
    joined = joiner.add("instances", 3000 * MS, "new masks")
    assert joined.messages == ("new image", "new masks")
    assert joiner.losses == {"image_duplicate": 1} and joiner.restarts == 1


def test_the_number_shows_whether_other_images_lie_between_two_sets():
    joiner, passed = StampJoiner(CHANNELS, 2), []
    for k in range(8):
        joiner.add("image", k, k)
        if k not in (2, 4, 5, 6):
            passed.append((k, joiner.add("instances", k, k).number))
    assert passed == [(0, 1), (1, 2), (3, 4), (7, 8)]


def test_three_channels():
    joiner = StampJoiner(("image", "instances", "flow"), 10)
    events = [
        ("flow", 1),
        ("image", 1),
        ("image", 2),
        ("instances", 1),
        ("flow", 2),
        ("instances", 2),
    ]
    answers = feed(joiner, events)
    assert [[part[1] for part in answer] for answer in answers] == [[1, 1, 1], [2, 2, 2]]


@pytest.mark.parametrize("depth, slop", [(0, 0), (1, -1)])
def test_settings_are_checked(depth, slop):
    with pytest.raises(ValueError, match=f"^depth .* {depth} and {slop}"):
        StampJoiner(CHANNELS, depth, slop)


event = st.tuples(st.sampled_from(CHANNELS), st.integers(0, 12).map(lambda k: k * 50 * MS))


@given(st.lists(event, max_size=60), st.integers(1, 8), st.sampled_from([0, 20 * MS, 60 * MS]))
def test_no_message_is_used_twice_or_lost_without_a_count(events, depth, slop):
    joiner = StampJoiner(CHANNELS, depth, slop)
    answers = feed(joiner, events)
    balance(joiner, answers)
    used = [part[2] for answer in answers for part in answer]
    assert len(used) == len(set(used))
    for image, instances in answers:
        assert (image[0], instances[0]) == CHANNELS
        assert abs(image[1] - instances[1]) <= slop
    back = sum(later <= earlier for earlier, later in pairwise(stamps(answers)))
    assert back <= joiner.restarts
    assert all(len(entries) <= depth for entries in joiner._waiting.values())


@given(st.data(), st.integers(2, 30), st.integers(1, 9))
@pytest.mark.slow
def test_all_frames_come_out_when_the_lag_fits_the_buffer(data, frames, depth):
    """In-order topics that lag by fewer frames than the buffer holds: nothing is lost."""
    joiner = StampJoiner(CHANNELS, depth)
    sent = {"image": 0, "instances": 0}
    answers = []
    while min(sent.values()) < frames:
        lead = sent["image"] - sent["instances"]
        choices = [
            name
            for name, ahead in (("image", lead), ("instances", -lead))
            if sent[name] < frames and ahead < depth
        ]
        name = data.draw(st.sampled_from(choices))
        answer = joiner.add(name, sent[name] * 100 * MS, (name, sent[name] * 100 * MS))
        sent[name] += 1
        if answer:
            answers.append(answer.messages)
    assert stamps(answers) == [k * 100 * MS for k in range(frames)]
    assert not joiner.losses


@given(st.permutations(range(12)), st.permutations(range(12)))
def test_reordered_messages_never_stop_the_node(first, second):
    """After any disorder the next good frame is answered."""
    joiner = StampJoiner(CHANNELS, 10)
    events = [
        pair
        for a, b in zip(first, second, strict=True)
        for pair in (("image", a * MS), ("instances", b * MS))
    ]
    answers = feed(joiner, events)
    balance(joiner, answers)
    assert stamps(feed(joiner, [("image", JUMP_NS), ("instances", JUMP_NS)])) == [JUMP_NS]


def feed_all(joiner, events):
    """Sets of a recording; messages are stamps."""
    sets = [found for channel, stamp in events for found in joiner.feed(channel, stamp, stamp)]
    return sets + list(joiner.flush())


def test_a_recording_waits_for_what_was_written_late_or_out_of_order():
    joiner = StampJoiner(CHANNELS, 10)
    events = [("image", k) for k in (2, 1, 3, 4)] + [("instances", k) for k in (3, 1, 4, 2)]
    assert feed_all(joiner, events) == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert not joiner.losses


def test_patience_is_bounded():
    joiner = StampJoiner(CHANNELS, 4)
    for stamp in range(100):
        assert list(joiner.feed("image", stamp, stamp)) == []
        assert len(joiner._waiting["image"]) <= 4
    assert joiner.losses == {"image_unpaired": 96}
    assert list(joiner.flush()) == []
    assert joiner.losses == {"image_unpaired": 100}


def test_partners_far_ahead_do_not_cost_the_set_that_waits():
    joiner = StampJoiner(CHANNELS, 4)
    events = [("instances", k) for k in range(1, 20)] + [("image", k) for k in (18, 19)]
    assert feed_all(joiner, events) == [(18, 18), (19, 19)]
    assert joiner.losses == {"instances_unpaired": 17}


def test_what_is_optional_is_waited_for_and_may_be_missing():
    joiner = StampJoiner((*CHANNELS, "truth"), 3, optional=("truth",))
    events = []
    for stamp in range(1, 10):
        events += [("image", stamp), ("instances", stamp)]
        if stamp in (4, 9):
            events.append(("truth", stamp - 1 if stamp == 4 else stamp))
    found = feed_all(joiner, events)
    assert [item[0] for item in found] == list(range(1, 10))
    assert [item[2] for item in found] == [None, None, 3, None, None, None, None, None, 9]


@given(st.lists(st.tuples(st.sampled_from(CHANNELS), st.integers(1, 30)), max_size=60))
def test_every_message_of_a_recording_is_accounted_for(events):
    joiner = StampJoiner(CHANNELS, 5, slop_ns=1)
    found = feed_all(joiner, events)
    assert 2 * len(found) + sum(joiner.losses.values()) == len(events)
    assert all(abs(a - b) <= 1 for a, b in found)


def test_the_nearest_miss_is_known():
    joiner = StampJoiner(CHANNELS, 5)
    assert feed_all(joiner, [("image", 100), ("instances", 107), ("image", 200)]) == []
    assert joiner.missed_ns == 7

from savos_ros.bags.follow import Unanswered

TOPICS = ("/image", "/labels")


def test_a_frame_is_out_when_the_last_topic_of_its_stamp_is_sent():
    frames = Unanswered(TOPICS)
    frames.sent("/image", 1)
    frames.sent("/camera_info", 1)  # not of the node
    assert len(frames) == 0
    frames.sent("/labels", 1)
    frames.sent("/labels", 2)
    assert len(frames) == 1


def test_an_answer_ends_the_wait_for_all_frames_before_it():
    frames = Unanswered(TOPICS)
    for stamp in (1, 2, 3):
        for topic in TOPICS:
            frames.sent(topic, stamp)
    frames.answered(9)  # to a frame of another node
    assert len(frames) == 3
    frames.answered(2)  # 1 was refused
    assert len(frames) == 1


def test_nothing_is_expected_of_a_bag_that_the_node_does_not_take():
    frames = Unanswered(())
    frames.sent("/image", 1)
    assert len(frames) == 0
    frames = Unanswered(TOPICS)
    for topic in TOPICS:
        frames.sent(topic, 5)
    frames.clear()
    frames.answered(5)
    assert len(frames) == 0

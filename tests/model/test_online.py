from failing import refused

from savos_model.config import BackendConfig, FlowConfig, StreamConfig
from savos_model.stream.video import Online, Setup, cropped_as_trained, refine_config
from tests.model.scenes import crossing


def test_the_crop_is_that_of_the_weights():
    stream = StreamConfig(flow=FlowConfig("dis_medium"))
    assert cropped_as_trained(stream, {}) == stream
    trained = cropped_as_trained(stream, {"enlarge": "1.25"})
    assert trained.tracks.enlarge == 1.25 and trained.flow == stream.flow
    assert trained.tracks.coast_frames == stream.tracks.coast_frames


def test_modes():
    assert refine_config("forward") is refine_config("single") is None
    lag = refine_config("lag:5")
    assert (lag.window, lag.stride) == (6, 1)
    with refused("--mode", "choices"):
        refine_config("lag:0")


def test_single_answers_each_frame_as_if_it_were_the_first():
    frames = crossing(4)
    backend = BackendConfig(backend="onnx", threads=1)
    single, forward = (Online(Setup(backend, mode=mode)) for mode in ("single", "forward"))
    answers = list(single.run(frames))
    for frame, objects in zip(frames, answers, strict=True):
        (first,) = forward.run([frame])
        assert [item.id for item in objects] == [item.id for item in first]
        for one, other in zip(objects, first, strict=True):
            assert one.box == other.box and (one.mask == other.mask).all()
    assert any(
        one.box != other.box or (one.mask != other.mask).any()
        for objects, others in zip(answers, forward.run(frames), strict=True)
        for one, other in zip(objects, others, strict=True)
    )

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savos_model.image_size import encoded_size
from savos_ros.conversions import (
    ConversionError,
    compressed_array,
    flow_array,
    image_array,
    label_array,
    payload_bytes,
    stamp_ns,
)

MANY = 1 << 24


def message(array, encoding, *, padding=0, big=False):
    height, width = array.shape[:2]
    item = array.astype(array.dtype.newbyteorder(">" if big else "<"))
    rows = np.frombuffer(item.tobytes(), np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(big),
        step=rows.shape[1],
        data=rows.reshape(-1),
    )


def picture(height=5, width=7, channels=3, dtype=np.uint8, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@given(
    encoding=st.sampled_from(["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "mono16"]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    padding=st.integers(0, 5),
    big=st.booleans(),
)
def test_every_encoding_padding_and_byte_order(encoding, height, width, padding, big):
    channels = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4}.get(encoding, 1)
    dtype = np.uint16 if encoding == "mono16" else np.uint8
    pixels = picture(height, width, channels, dtype)
    array, order = image_array(message(pixels, encoding, padding=padding, big=big), MANY)
    assert array.dtype == np.uint8
    assert order == ("rgb" if encoding.startswith("rgb") else "bgr")
    expected = pixels[..., :3] if channels == 4 else pixels
    expected = expected // 256 if dtype == np.uint16 else expected
    assert np.array_equal(array, expected)


@pytest.mark.parametrize(
    ("encoding", "dtype"),
    [
        ("16UC1", np.uint16),
        ("mono16", np.uint16),
        ("8UC1", np.uint8),
        ("mono8", np.uint8),
        ("32SC1", np.int32),
    ],
)
@pytest.mark.parametrize("big", [False, True])
def test_labels_keep_their_values(encoding, dtype, big):
    labels = picture(6, 8, 1, dtype)
    array = label_array(message(labels, encoding, padding=3, big=big), MANY)
    assert array.dtype == dtype and array.dtype.isnative
    assert np.array_equal(array, labels)


def test_views_share_the_memory_of_the_message():
    source = message(picture(40, 60), "bgr8", padding=4)
    array, _ = image_array(source, MANY)
    assert np.shares_memory(array, source.data)
    labels = message(picture(40, 60, 1, np.uint16), "16UC1")
    assert np.shares_memory(label_array(labels, MANY), labels.data)


def test_last_row_may_lack_its_padding():
    source = message(picture(3, 4), "bgr8", padding=4)
    source.data = source.data[:-4]
    assert image_array(source, MANY)[0].shape == (3, 4, 3)


def test_flow_keeps_vectors():
    flow = np.random.default_rng(1).normal(size=(4, 6, 2)).astype(np.float32)
    assert np.array_equal(flow_array(message(flow, "32FC2", padding=8), MANY), flow)


@pytest.mark.parametrize("big", [False, True])
def test_read_only_and_foreign_byte_order(big):
    source = message(picture(3, 4, 1, np.uint16), "mono16", big=big)
    source.data = source.data.copy()
    source.data.flags.writeable = False
    assert image_array(source, MANY)[0].shape == (3, 4)


def broken(**changes):
    source = message(picture(), "bgr8")
    for name, value in changes.items():
        setattr(source, name, value)
    return source


@pytest.mark.parametrize(
    ("source", "reason", "words"),
    [
        (broken(encoding="9UC3"), "image_encoding", "9UC3"),
        (broken(encoding=""), "image_encoding", "bgr8"),
        (broken(step=20), "image_data", "at least 21 bytes, got 20"),
        (broken(data=np.zeros(10, np.uint8)), "image_data", "got 10"),
        (broken(height=0), "image_empty", "no pixels"),
        (broken(width=0), "image_empty", "no pixels"),
        (broken(height=100_000, width=100_000), "image_too_large", "input.max_pixels"),
    ],
)
def test_bad_images_are_refused_with_reason_and_remedy(source, reason, words):
    with pytest.raises(ConversionError, match=words) as caught:
        image_array(source, MANY)
    assert caught.value.reason == reason


@pytest.fixture
def cv_bridge(monkeypatch):
    """Puts a module of the same name in cv_bridge's place, whose conversion is the given one."""

    def put(convert):
        bridge = type("CvBridge", (), {"imgmsg_to_cv2": lambda self, *given: convert(*given)})
        monkeypatch.setitem(sys.modules, "cv_bridge", SimpleNamespace(CvBridge=bridge))

    return put


def test_other_encodings_are_asked_of_cv_bridge(cv_bridge):
    asked = []

    def convert(source, wanted):
        asked.append((source.encoding, wanted))
        return picture()

    cv_bridge(convert)
    array, order = image_array(broken(encoding="bayer_rggb8"), MANY)
    assert asked == [("bayer_rggb8", "bgr8")] and order == "bgr"
    assert (array == picture()).all()


@pytest.mark.parametrize(
    "error",
    [
        AttributeError("'numpy.ndarray' object has no attribute 'newbyteorder'"),
        ModuleNotFoundError("No module named 'cv_bridge.boost'", name="cv_bridge.boost"),
        TypeError("buffer is too small for requested array"),
    ],
)
def test_a_cv_bridge_that_breaks_is_quoted(cv_bridge, error):
    def convert(source, wanted):
        raise error

    cv_bridge(convert)
    with pytest.raises(ConversionError, match="cv_bridge says: ") as caught:
        image_array(broken(encoding="bayer_rggb8"), MANY)
    assert str(error) in str(caught.value) and caught.value.reason == "image_encoding"


def test_without_cv_bridge_its_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    with pytest.raises(ConversionError, match=r"install cv_bridge \(ros-"):
        image_array(broken(encoding="bayer_rggb8"), MANY)


def test_label_and_flow_encodings_are_named():
    with pytest.raises(ConversionError, match="'bgr8'.*16UC1") as caught:
        label_array(message(picture(), "bgr8"), MANY)
    assert caught.value.reason == "labels_encoding"
    with pytest.raises(ConversionError, match="32FC2"):
        flow_array(message(picture(), "bgr8"), MANY)


@pytest.mark.parametrize("ending", [".jpg", ".png"])
@pytest.mark.parametrize("grey", [False, True])
def test_compressed_images(ending, grey):
    pixels = cv2.GaussianBlur(picture(37, 51), (9, 9), 3)
    pixels = pixels[..., 0] if grey else pixels
    data = cv2.imencode(ending, pixels)[1].reshape(-1)
    assert encoded_size(data) == (37, 51)
    array, order = compressed_array(
        SimpleNamespace(format="bgr8; jpeg compressed bgr8", data=data), MANY
    )
    assert order == "bgr" and array.shape == (37, 51, 3)
    wanted = pixels[..., None] if grey else pixels
    assert np.abs(array.astype(int) - wanted).mean() < 3


def test_progressive_jpeg_size():
    data = cv2.imencode(".jpg", picture(20, 30), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].reshape(-1)
    assert encoded_size(data) == (20, 30)


def test_compressed_size_is_checked_before_decoding(monkeypatch):
    data = cv2.imencode(".png", picture(300, 300))[1].reshape(-1)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ConversionError, match="300x300") as caught:
        compressed_array(SimpleNamespace(format="png", data=data), 1000)
    assert caught.value.reason == "image_too_large"


@pytest.mark.parametrize(
    ("form", "data", "reason"),
    [
        ("jpeg", b"not a picture at all", "image_encoding"),
        ("jpeg", b"", "image_encoding"),
        ("16UC1; compressedDepth png", b"", "image_encoding"),
        ("jpeg", cv2.imencode(".jpg", picture(50, 50))[1].tobytes()[:200], "image_data"),
        ("png", cv2.imencode(".png", picture(50, 50))[1].tobytes()[:30], "image_data"),
    ],
    ids=["text", "empty", "depth", "cut jpeg", "cut png"],
)
def test_broken_compressed_images(form, data, reason):
    with pytest.raises(ConversionError) as caught:
        compressed_array(SimpleNamespace(format=form, data=data), MANY)
    assert caught.value.reason == reason


@given(st.binary(max_size=200))
def test_size_reader_survives_any_bytes(data):
    for head in (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"):
        size = encoded_size(np.frombuffer(head + data, np.uint8))
        assert size is None or len(size) == 2


def test_stamp():
    header = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=7))
    assert stamp_ns(header) == 3_000_000_007


def test_bytes_that_a_message_holds():
    pixels = message(picture(), "bgr8", padding=2)
    mask = SimpleNamespace(mask=pixels, id="17", class_id="car")
    outline = SimpleNamespace(
        mask=SimpleNamespace(data=[None] * 4), id="3", class_name="bus", class_id=5
    )
    assert payload_bytes(pixels) == 5 * (7 * 3 + 2)
    assert payload_bytes(SimpleNamespace(masks=[mask, mask])) == 2 * (115 + 5)
    assert payload_bytes(SimpleNamespace(detections=[outline])) == 4 * 16 + 4

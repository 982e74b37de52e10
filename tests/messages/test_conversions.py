from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from failing import fails
from hypothesis import given
from hypothesis import strategies as st

from savos_model.encoded_image import encoded_size
from savos_ros.messages.conversions import (
    ConversionError,
    assumed_text,
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
        (broken(step=20), "image_data", "21 20"),
        (broken(data=np.zeros(10, np.uint8)), "image_data", "10"),
        (broken(height=0), "image_empty", "7x0"),
        (broken(width=0), "image_empty", "0x5"),
        (broken(height=100_000, width=100_000), "image_too_large", "input.max_pixels"),
    ],
)
def test_bad_images_are_refused_with_reason_and_remedy(source, reason, words):
    with fails(ConversionError, reason, *words.split()):
        image_array(source, MANY)


def mosaic(pixels, pattern):
    """Return rgb pixels as a sensor with a colour filter."""
    rows, columns = np.indices(pixels.shape[:2])
    colour = np.array(["rgb".index(letter) for letter in pattern])[2 * (rows % 2) + columns % 2]
    return np.take_along_axis(pixels, colour[..., None], 2)[..., 0]


def smooth_rgb():
    ramp = np.linspace(40, 200, 32)
    planes = np.broadcast_to(ramp[:, None], (32, 32)), np.broadcast_to(ramp, (32, 32))
    return np.stack([planes[0], planes[1], np.full((32, 32), 90.0)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_mosaics_come_out_in_their_colours(pattern, bits):
    pixels = smooth_rgb()
    seen = mosaic(pixels, pattern)
    seen = seen.astype(np.uint16) << 8 if bits == 16 else seen
    array, order = image_array(message(seen, f"bayer_{pattern}{bits}", padding=6), MANY)
    assert (array.shape, array.dtype, order) == ((32, 32, 3), np.uint8, "bgr")
    inside = np.s_[2:-2, 2:-2]
    assert np.abs(array[inside][..., ::-1].astype(int) - pixels[inside]).max() <= 4


def yuv(pixels):
    """Brightness and colours of rgb pixels in the range of video (BT.601)."""
    wide = cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV_I420)
    count = pixels.shape[0] // 2, pixels.shape[1] // 2
    flat = wide[pixels.shape[0] :].reshape(-1)
    return wide[: pixels.shape[0]], flat[: count[0] * count[1]], flat[count[0] * count[1] :], count


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21"])
def test_video_formats_come_out_in_their_colours(encoding):
    pixels = smooth_rgb()
    luma, u, v, count = yuv(pixels)
    if encoding.startswith("nv"):
        pairs = (u, v) if encoding == "nv12" else (v, u)
        below = np.stack([half.reshape(count) for half in pairs], axis=-1).reshape(count[0], -1)
        source = message(np.concatenate([luma, below]), encoding, padding=8)
        source.height = 32
    else:
        tall = [np.repeat(half.reshape(count), 2, axis=0) for half in (u, v)]
        chroma = np.stack(tall, axis=-1).reshape(32, 32)
        packed = (luma, chroma) if encoding in ("yuv422_yuy2", "yuyv") else (chroma, luma)
        source = message(np.stack(packed, axis=-1), encoding, padding=8)
    array, order = image_array(source, MANY)
    assert (array.shape, order) == ((32, 32, 3), "bgr")
    assert np.abs(array[..., ::-1].astype(int) - pixels).max() <= 12


@pytest.mark.parametrize("encoding", ["rgb16", "bgr16", "rgba16", "bgra16"])
@pytest.mark.parametrize("big", [False, True])
def test_deep_colours_keep_their_upper_bits(encoding, big):
    pixels = picture(6, 8, 4 if "a" in encoding else 3, np.uint16)
    array, order = image_array(message(pixels, encoding, padding=2, big=big), MANY)
    assert order == encoding[:3]
    assert np.array_equal(array, (pixels >> 8)[..., :3])


@pytest.mark.parametrize(("encoding", "channels"), [("8UC1", 1), ("8UC3", 3), ("8UC4", 4)])
def test_types_of_opencv_are_read_and_noted(encoding, channels):
    pixels = picture(6, 8, channels)
    array, order = image_array(message(pixels, encoding), MANY)
    assert order == "bgr"
    assert np.array_equal(array, pixels[..., :3] if channels > 1 else pixels)
    assert "bgr8 or rgb8" in assumed_text(encoding)
    assert assumed_text("bgr8") == assumed_text("") == ""


@pytest.mark.parametrize(("encoding", "shape"), [("yuyv", (4, 5, 2)), ("nv12", (6, 3, 1))])
def test_sides_that_a_format_cannot_have_are_refused(encoding, shape):
    source = message(picture(*shape), encoding)
    if encoding == "nv12":
        source.height = 4
    with fails(ConversionError, "image_data"):
        image_array(source, MANY)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_images_may_come_as_png(dtype):
    labels = picture(20, 30, 1, dtype)
    data = cv2.imencode(".png", labels)[1].tobytes()
    array = label_array(SimpleNamespace(format="16UC1; png compressed ", data=data), MANY)
    assert array.dtype == dtype and np.array_equal(array, labels)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (cv2.imencode(".jpg", picture(20, 30, 1))[1].tobytes(), "labels_encoding"),
        (cv2.imencode(".png", picture(20, 30))[1].tobytes(), "labels_encoding"),
        (cv2.imencode(".png", picture(20, 30, 1))[1].tobytes()[:60], "labels_data"),
        (b"", "labels_encoding"),
        (cv2.imencode(".png", np.zeros((200, 200), np.uint8))[1].tobytes(), "image_too_large"),
    ],
    ids=["jpeg", "colours", "cut", "empty", "large"],
)
def test_compressed_labels_that_cannot_be_used(data, reason):
    with fails(ConversionError, reason):
        label_array(SimpleNamespace(format="png", data=data), 10_000)


def test_label_and_flow_encodings_are_named():
    with fails(ConversionError, "labels_encoding", "'bgr8'", "16UC1"):
        label_array(message(picture(), "bgr8"), MANY)
    with fails(ConversionError, "flow_encoding", "32FC2"):
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
    with fails(ConversionError, "image_too_large", "300x300"):
        compressed_array(SimpleNamespace(format="png", data=data), 1000)


@pytest.mark.parametrize("length", [b"\0\0\xff\xff", b"\x7f\xff\xff\xff", b"\xff\0\1\x53"])
def test_chunks_are_checked_before_decoding(monkeypatch, length):
    data = cv2.imencode(".png", picture(30, 30))[1].tobytes()
    at = data.index(b"IDAT") - 4
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with fails(ConversionError, "image_data"):
        longer = data[:at] + length + data[at + 4 :]
        compressed_array(SimpleNamespace(format="png", data=longer), MANY)


def test_bytes_after_a_png_do_not_matter():
    data = cv2.imencode(".png", picture(30, 30))[1].tobytes() + b"\xff" * 40
    array, _ = compressed_array(SimpleNamespace(format="png", data=data), MANY)
    assert np.array_equal(array, picture(30, 30))


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
    with fails(ConversionError, reason):
        compressed_array(SimpleNamespace(format=form, data=data), MANY)


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

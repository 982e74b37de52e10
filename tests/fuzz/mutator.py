"""Damages a valid file as a short recipe of bytes says, so that one mutator serves every engine."""

EDIT = 6  # bytes of a recipe that make one edit
TOKENS = (
    b"-1", b"0", b"nan", b"1e999", b"Infinity", b"9" * 20, b"-" + b"9" * 20, b"null", b"{}", b'"',
    b"[[", b"[" * 5000, b"\n", b" ", b"../../x", b"/", b"%s", b"&a [*a,*a]",
    b"c__builtin__\neval\n(", b"\xff\xfe", b"\xed\xa0\x80",
    b"\xd9\xa1", b"\0" * 8, b"\xff" * 8, b"\xff\xff\xff\x7f",
    b"\0\0\0\x80", b"\x7f\xff\xff\xff", b"\0\0\0\0\0\0\xf0\x7f",
)  # fmt: skip


def mutate(sample: bytes, recipe: bytes) -> bytes:
    """The sample with the recipe's edits; a recipe that begins with 255 is the file itself."""
    if recipe[:1] == b"\xff":
        return recipe[1:]
    data = bytearray(sample)
    for at in range(0, len(recipe) - EDIT + 1, EDIT):
        what, high, low, fine, count, value = recipe[at : at + EDIT]
        place = (high << 16 | low << 8 | fine) % (len(data) + 1)
        end = place + 1 + count % 64
        token = TOKENS[value % len(TOKENS)]
        if what % 8 == 0:
            data[place : place + 1] = bytes([value])
        elif what % 8 == 1:
            data[place:end] = b""
        elif what % 8 == 2:
            data[place:place] = token
        elif what % 8 == 3:
            data[place : place + len(token)] = token
        elif what % 8 == 4:
            data[place:place] = data[place:end] * (1 + value % 4)
        elif what % 8 == 5:
            del data[place:]
        elif what % 8 == 6:
            data[place:end] = bytes([value]) * (end - place)
        else:
            _edit_number(data, place, token)
    return bytes(data)


def _edit_number(data: bytearray, place: int, token: bytes) -> None:
    """Replace the next run of digits: what counts in a text file."""
    start = next((i for i in range(place, len(data)) if 48 <= data[i] <= 57), None)
    if start is not None:
        end = next((i for i in range(start, len(data)) if not 48 <= data[i] <= 57), len(data))
        data[start:end] = token

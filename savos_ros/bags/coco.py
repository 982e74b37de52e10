"""Amodal labels as COCO annotations."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as rle

from savos_model.masks import slices
from savos_model.types import AmodalObject, Box, Source
from savos_ros.bags.reader import BagFrame
from savos_ros.messages.extras import amodal_box

UNNAMED = "object"  # of masks that came without a class
NAMED = 1 << 30  # classes without a number get theirs from here on, below 2^31 as readers hold it


@dataclass
class CocoLabels:
    """The labels of one bag: lists of the document; its categories follow at the end."""

    images: list[dict] = field(default_factory=list)
    annotations: list[dict] = field(default_factory=list)

    def add(self, item: BagFrame, objects: list[AmodalObject]) -> None:
        """Add a frame and its objects."""
        height, width = item.frame.image.shape[:2]
        stamp, number = item.frame.stamp_ns, len(self.images) + 1
        self.images.append(
            {
                "id": number,
                "file_name": f"{stamp}.png",
                "width": width,
                "height": height,
                "stamp_ns": stamp,
                "frame_id": item.frame_id,
            }
        )
        for found in objects:
            whole = _encode(found.inside, found.box, (height, width))
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": number,
                    "category": found.class_id or UNNAMED,
                    "track_id": found.id,
                    "segmentation": whole,
                    "area": int(rle.area(whole)),
                    "bbox": list(amodal_box(found)),
                    "visible_segmentation": _encode(found.visible != 0, found.box, (height, width)),
                    "iscrowd": 0,
                    "occlusion": (
                        None if found.source == Source.COASTED else round(float(found.occlusion), 4)
                    ),
                    "confidence": round(float(found.confidence), 4),
                    "score": round(float(found.score), 4),
                    "source": found.source.name.lower(),
                }
            )

    def document(self, info: dict[str, Any]) -> dict:
        """Return the whole document, with the numbers of `category_ids`; call it once."""
        numbers = category_ids({entry["category"] for entry in self.annotations})
        for entry in self.annotations:
            entry["category_id"] = numbers[entry.pop("category")]
        categories = [{"id": number, "name": name} for name, number in numbers.items()]
        return {
            "info": info,
            "images": self.images,
            "categories": sorted(categories, key=lambda entry: entry["id"]),
            "annotations": self.annotations,
        }


def category_ids(names: Collection[str]) -> dict[str, int]:
    """Return the number of each class: its name where that is a number, else one made of it.

    So bags that were labelled apart have one number for one name. Of two names with one number,
    which is one pair in a thousand million, the later one by alphabet takes the next that is free.
    """
    numbers = {name: int(name) for name in names if name.isdecimal() and str(int(name)) == name}
    taken = set(numbers.values())
    for name in sorted(set(names) - numbers.keys()):
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
        number = NAMED + int.from_bytes(digest[:4], "big") % NAMED
        while number in taken:
            number += 1
        taken.add(number)
        numbers[name] = number
    return numbers


def _encode(inside: np.ndarray, box: Box, shape: tuple[int, int]) -> dict:
    """Return the compressed RLE of a boxed mask in an image of `shape`, ready for JSON."""
    full = np.zeros(shape, np.uint8, order="F")
    full[slices(box)] = inside
    found = rle.encode(full)
    return {"size": list(shape), "counts": found["counts"].decode("ascii")}

"""Makes the shared taxonomy: the ImageNet classes, the COCO categories, and which class is a kind of which category.

The taxonomy files are small and belong to the repository; this script is how they came about and how to make them anew:

    apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb wordnet
    pip download --no-deps timm==1.0.20
    python -m export.taxonomy --wordnet wordnet/usr/share/wordnet/data.noun --timm timm-1.0.20-py3-none-any.whl

Sources:
    WordNet 3.0 (Princeton University, WordNet licence), ``data.noun``: the tree of nouns. An ImageNet class id (wnid)
        is "n" and the byte offset of its synset in exactly this version of the file, so no other version will do.
    timm (Apache-2.0), ``timm/data/_info/imagenet_synsets.txt``: the usual order of the 1000 classes.

An ImageNet class is a kind of a COCO category when one of the synsets named for the category is among the class's
hypernyms or is the class itself. Where several categories claim a class, the nearest synset wins (a hotdog is a hot dog
before it is a sandwich). ``CORRECTIONS`` then holds what people and the tree call differently.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

WORDNET_SHA256 = "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2"
SYNSETS_SHA256 = "70002b0ff5de60a3a17a82dbfcff291931f96225ddf941ad2e182fc39e183d15"
SYNSETS_MEMBER = "timm/data/_info/imagenet_synsets.txt"
DATA_DIRECTORY = Path(__file__).parents[1] / "trident" / "fusion" / "data"

CATEGORIES: tuple[tuple[int, str, tuple[str, ...]], ...] = (
    (1, "person", ("n00007846 person",)),
    (2, "bicycle", ("n02834778 bicycle",)),
    (3, "car", ("n02958343 car",)),
    (4, "motorcycle", ("n03790512 motorcycle", "n03791053 motor scooter")),
    (5, "airplane", ("n02691156 airplane", "n04552348 warplane")),
    (6, "bus", ("n02924116 bus",)),
    (7, "train", ("n04468005 train", "n03684823 locomotive", "n02959942 car", "n04335435 streetcar")),
    (8, "truck", ("n04490091 truck",)),
    (9, "boat", ("n04530566 vessel",)),
    (10, "traffic light", ("n06874185 traffic light",)),
    (11, "fire hydrant", ("n03346898 fireplug",)),
    (13, "stop sign", ()),
    (14, "parking meter", ("n03891332 parking meter",)),
    (15, "bench", ("n02828884 bench",)),
    (16, "bird", ("n01503061 bird",)),
    (17, "cat", ("n02121808 domestic cat",)),
    (18, "dog", ("n02084071 dog",)),
    (19, "horse", ("n02374451 horse",)),
    (20, "sheep", ("n02411705 sheep", "n02414578 wild sheep")),
    (21, "cow", ("n02402425 cattle",)),
    (22, "elephant", ("n02503517 elephant",)),
    (23, "bear", ("n02131653 bear",)),
    (24, "zebra", ("n02391049 zebra",)),
    (25, "giraffe", ("n02439033 giraffe",)),
    (27, "backpack", ("n02769748 backpack",)),
    (28, "umbrella", ("n04507155 umbrella",)),
    (31, "handbag", ("n02774152 bag", "n04026417 purse")),
    (32, "tie", ("n03815615 necktie",)),
    (33, "suitcase", ("n02773838 bag",)),
    (34, "frisbee", ("n03397947 Frisbee",)),
    (35, "skis", ("n04228054 ski",)),
    (36, "snowboard", ("n04251791 snowboard",)),
    (37, "sports ball", ("n02778669 ball",)),
    # The toy: WordNet's other kite, which ImageNet shows, is a bird.
    (38, "kite", ("n03621473 kite",)),
    (39, "baseball bat", ("n02799175 baseball bat",)),
    (40, "baseball glove", ("n02800213 baseball glove",)),
    (41, "skateboard", ("n04225987 skateboard",)),
    (42, "surfboard", ("n04363559 surfboard",)),
    (43, "tennis racket", ("n04039381 racket",)),
    (44, "bottle", ("n02876657 bottle",)),
    (46, "wine glass", ("n04592099 wineglass", "n03443371 goblet")),
    (47, "cup", ("n03147509 cup", "n03797390 mug")),
    (48, "fork", ("n03383948 fork",)),
    (49, "knife", ("n03623556 knife",)),
    (50, "spoon", ("n04284002 spoon",)),
    (51, "bowl", ("n02880940 bowl",)),
    (52, "banana", ("n07753592 banana",)),
    (53, "apple", ("n07739125 apple",)),
    (54, "sandwich", ("n07695965 sandwich",)),
    (55, "orange", ("n07747607 orange",)),
    (56, "broccoli", ("n07714990 broccoli",)),
    (57, "carrot", ("n07730207 carrot",)),
    (58, "hot dog", ("n07697537 hotdog",)),
    (59, "pizza", ("n07873807 pizza",)),
    (60, "donut", ("n07639069 doughnut",)),
    (61, "cake", ("n07628870 cake",)),
    (62, "chair", ("n03001627 chair",)),
    (63, "couch", ("n04256520 sofa",)),
    (64, "potted plant", ("n13083023 houseplant", "n11536230 pot plant")),
    (65, "bed", ("n02818832 bed", "n02766320 baby bed")),
    (67, "dining table", ("n03201208 dining table",)),
    (70, "toilet", ("n04446521 toilet", "n04447861 toilet seat")),
    (72, "tv", ("n04405907 television receiver", "n04404412 television", "n03782006 monitor", "n04152593 screen")),
    (73, "laptop", ("n03642806 laptop", "n03832673 notebook")),
    (74, "mouse", ("n03793489 mouse",)),
    (75, "remote", ("n04074963 remote control",)),
    (76, "keyboard", ("n03085013 computer keyboard",)),
    (77, "cell phone", ("n02992529 cellular telephone",)),
    (78, "microwave", ("n03761084 microwave",)),
    (79, "oven", ("n03862676 oven", "n04330267 stove")),
    (80, "toaster", ("n04442312 toaster",)),
    (81, "sink", ("n04223580 sink", "n04553703 washbasin")),
    (82, "refrigerator", ("n04070727 refrigerator",)),
    (84, "book", ("n02870092 book",)),
    (85, "clock", ("n03046257 clock",)),
    (86, "vase", ("n04522168 vase",)),
    (87, "scissors", ("n04148054 scissors",)),
    (88, "teddy bear", ("n04399382 teddy",)),
    (89, "hair drier", ("n03483316 hand blower",)),
    (90, "toothbrush", ("n04453156 toothbrush",)),
)
"""COCO's original id and name, and the WordNet synsets (wnid and first word) whose kinds belong to the category."""

CORRECTIONS: tuple[tuple[str, str, str | None, str], ...] = (
    ("n04023962", "punching bag", None, "WordNet has it among the balls; nobody calls it a sports ball"),
    ("n03259280", "Dutch oven", None, "WordNet has it among the ovens; it is a pot"),
    ("n04252225", "snowplow", "truck", "a truck with a blade in front; WordNet stops at motor vehicle"),
    ("n02510455", "giant panda", "bear", "WordNet 3.0 follows the old grouping with the raccoons"),
    ("n01871265", "tusker", "elephant", "any mammal with tusks in WordNet; ImageNet shows elephants"),
    ("n02408429", "water buffalo", "cow", "kept as cattle, and COCO has no other name for it"),
    ("n07930864", "cup", "cup", "WordNet's punch; ImageNet shows the cups"),
    ("n02823750", "beer glass", "cup", "COCO's cup is any drinking vessel that is not a wine glass"),
    ("n03733805", "measuring cup", "cup", "WordNet has it among the measures"),
    ("n03991062", "pot", "potted plant", "a flowerpot, which ImageNet shows with the plant in it"),
    ("n03709823", "mailbag", "handbag", "a shoulder bag, which COCO counts with the handbags"),
    ("n07892512", "red wine", "wine glass", "ImageNet shows it in the glass"),
    ("n03633091", "ladle", "spoon", "WordNet has it among the vessels; it is a large spoon"),
    ("n04264628", "space bar", "keyboard", "a part of it, which ImageNet shows with the keyboard around it"),
    ("n03180011", "desktop computer", "tv", "COCO's tv is any monitor, and ImageNet shows the computer with its own"),
    ("n04482393", "tricycle", "bicycle", "COCO counts it there"),
    ("n06596364", "comic book", "book", "WordNet has it among the magazines"),
    ("n07248320", "book jacket", "book", "ImageNet shows the book in it"),
)
"""ImageNet class (wnid and name), the category that it is a kind of after all (None: of no category), and why."""


class TaxonomyError(Exception):
    """A source is not the expected one, or the tables above contradict each other."""


@dataclass(frozen=True, slots=True)
class Nouns:
    """WordNet's nouns."""

    words: dict[str, tuple[str, ...]]
    """Words of every synset, by wnid."""
    parents: dict[str, tuple[str, ...]]
    """Hypernyms of every synset, by wnid."""

    def depths(self, wnid: str) -> dict[str, int]:
        """The synset itself and all its hypernyms, each with the length of the shortest way up to it."""
        depths: dict[str, int] = {}
        level = {wnid}
        while level:
            depths |= dict.fromkeys(level, max(depths.values(), default=-1) + 1)
            level = {parent for child in level for parent in self.parents[child]} - depths.keys()
        return depths


def parse_nouns(text: str) -> Nouns:
    """Parse WordNet's ``data.noun`` (format: wndb(5WN)); lines that begin with two blanks are the licence."""
    words: dict[str, tuple[str, ...]] = {}
    parents: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        if line.startswith("  "):
            continue
        offset, _, _, word_count, *fields = line.partition(" | ")[0].split()
        count = int(word_count, 16)
        wnid = f"n{offset}"
        words[wnid] = tuple(word.replace("_", " ") for word in fields[0 : 2 * count : 2])
        pointers = fields[2 * count + 1 :]
        parents[wnid] = tuple(
            f"n{target}"
            for symbol, target in zip(pointers[0::4], pointers[1::4], strict=False)
            if symbol in ("@", "@i")  # hypernym, and instance hypernym
        )
    return Nouns(words, parents)


def nearest_category(nouns: Nouns, wnid: str) -> str | None:
    """The COCO category that the class is a kind of by WordNet alone, or None."""
    depths = nouns.depths(wnid)
    claims = sorted(
        (depths[synset], name)
        for _, name, synsets in CATEGORIES
        for synset in (named.split(" ", 1)[0] for named in synsets)
        if synset in depths
    )
    names_at_best = {name for depth, name in claims if depth == claims[0][0]}
    if len(names_at_best) > 1:
        raise TaxonomyError(f"{wnid} {nouns.words[wnid][0]}: equally near to {', '.join(sorted(names_at_best))}")
    return claims[0][1] if claims else None


def check_tables(nouns: Nouns, wnids: Sequence[str]) -> None:
    """Raises TaxonomyError if a synset of the tables is not called what the tables say, or a correction is idle."""
    names = {name for _, name, _ in CATEGORIES}
    for wnid, word in [named.split(" ", 1) for _, _, synsets in CATEGORIES for named in synsets]:
        if nouns.words.get(wnid, ("",))[0] != word:
            raise TaxonomyError(f"{wnid}: expected the synset of {word!r}, got {nouns.words.get(wnid)}")
    for wnid, word, category, _ in CORRECTIONS:
        if wnid not in wnids or nouns.words[wnid][0] != word:
            raise TaxonomyError(f"correction {wnid}: expected the ImageNet class {word!r}")
        if category is not None and category not in names:
            raise TaxonomyError(f"correction {wnid}: expected a COCO category or None, got {category!r}")
        if nearest_category(nouns, wnid) == category:
            raise TaxonomyError(f"correction {wnid} {word}: the tree alone already says {category!r}")


def make_taxonomy(nouns: Nouns, wnids: Sequence[str]) -> tuple[dict[str, object], dict[str, object]]:
    """Contents of ``imagenet_classes.json`` and ``imagenet_to_coco.json``."""
    check_tables(nouns, wnids)
    corrected = {wnid: category for wnid, _, category, _ in CORRECTIONS}
    category_of = {wnid: corrected.get(wnid, nearest_category(nouns, wnid)) for wnid in wnids}
    classes: dict[str, object] = {
        "about": "The 1000 ImageNet classes in the usual order: wnid, and the first word of its WordNet synset.",
        "source": "Names: WordNet 3.0. Order: timm 1.0.20, imagenet_synsets.txt. Made by export/taxonomy.py.",
        "licence": "WordNet 3.0 licence (see README.md beside this file); timm: Apache-2.0.",
        "classes": [[wnid, nouns.words[wnid][0]] for wnid in wnids],
    }
    mapping: dict[str, object] = {
        "about": "The 80 COCO categories in the usual order, and the ImageNet classes that are a kind of each.",
        "source": "Hypernyms of WordNet 3.0, nearest named synset, then the corrections. Made by export/taxonomy.py.",
        "licence": "WordNet 3.0 licence (see README.md beside this file).",
        "categories": [
            {
                "name": name,
                "coco_id": coco_id,
                "synsets": list(synsets),
                "classes": [wnid for wnid in wnids if category_of[wnid] == name],
            }
            for coco_id, name, synsets in CATEGORIES
        ],
        "corrections": [
            {"wnid": wnid, "name": name, "category": category, "why": why} for wnid, name, category, why in CORRECTIONS
        ],
    }
    return classes, mapping


def _verified(content: bytes, expected_sha256: str, what: str) -> str:
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected_sha256:
        raise TaxonomyError(f"{what}: expected sha256 {expected_sha256}, got {actual}")
    return content.decode("latin-1")


def _to_json(content: dict[str, object]) -> str:
    """JSON with one class or category a line, so that a change shows as one changed line."""
    parts = []
    for key, value in content.items():
        if isinstance(value, list):
            rows = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in value)
            parts.append(f" {json.dumps(key)}: [\n{rows}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the two taxonomy files."""
    parser = argparse.ArgumentParser(prog="python -m export.taxonomy", description="Make the shared taxonomy files.")
    parser.add_argument("--wordnet", type=Path, required=True, metavar="FILE", help="data.noun of WordNet 3.0")
    parser.add_argument("--timm", type=Path, required=True, metavar="WHEEL", help="wheel of timm 1.0.20")
    parser.add_argument("--output", type=Path, default=DATA_DIRECTORY, metavar="DIR", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        nouns = parse_nouns(_verified(options.wordnet.read_bytes(), WORDNET_SHA256, str(options.wordnet)))
        with zipfile.ZipFile(options.timm) as wheel:
            synsets = _verified(wheel.read(SYNSETS_MEMBER), SYNSETS_SHA256, f"{options.timm}, {SYNSETS_MEMBER}")
        classes, mapping = make_taxonomy(nouns, synsets.split())
    except (OSError, KeyError, zipfile.BadZipFile, TaxonomyError) as error:
        parser.exit(1, f"taxonomy: {error}\n")
    options.output.mkdir(parents=True, exist_ok=True)
    for name, content in (("imagenet_classes.json", classes), ("imagenet_to_coco.json", mapping)):
        (options.output / name).write_text(_to_json(content), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Drawing: where ink goes, in which script, and what is refused."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from fake_server import result
from PIL import Image

from trident_client import PictureUnreadable, SettingsError, draw, drawing, parse


def analysis(width=320, height=240, **changes):
    nothing = {"scene": [], "categories": [], "objects": [], "entities": []}
    return parse(json.dumps(result(image={"width": width, "height": height}, **{**nothing, **changes})))


def thing(box, category="car", score=0.9, **changes):
    return {"category": category, "score": score, "box": box, "fine_label": None, "entities": [], **changes}


def plate(box, text, score=0.9):
    x1, y1, x2, y2 = box
    corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
    return {
        "type": "plate", "score": score, "box": box, "corners": corners, "text": text, "text_score": 1, "object": None,
    }  # fmt: skip


def face(box, name=None):
    x1, y1, x2, y2 = box
    middle = [(x1 + x2) / 2, (y1 + y2) / 2]
    identity = None if name is None else {"name": name, "similarity": 0.8}
    return {
        "type": "face", "score": 0.9, "box": box, "landmarks": [middle] * 5, "identity": identity, "object": None,
    }  # fmt: skip


GREY = Image.new("RGB", (320, 240), (127, 127, 127))


def changed(image, before=GREY):
    """Where drawing has changed the picture, [H, W]."""
    return (np.asarray(image)[: before.height] != np.asarray(before)).any(axis=-1)


def test_nothing_found_changes_nothing():
    drawn = draw(GREY, analysis(), legend=False)
    assert drawn.size == (320, 240)
    assert not changed(drawn).any()


def test_the_strip_is_below_the_picture():
    drawn = draw(GREY, analysis(scene=[{"label": "minivan", "wnid": "n1", "score": 0.5}]))
    assert drawn.width == 320
    assert drawn.height > 240
    assert not changed(drawn).any()
    strip = np.asarray(drawn)[240:]
    assert len(np.unique(strip.reshape(-1, 3), axis=0)) > 10


def test_a_box_is_drawn_on_its_edges_and_not_within():
    drawn = changed(draw(GREY, analysis(objects=[thing([60, 80, 260, 200])]), legend=False))
    assert drawn[81, 60:260].all() and drawn[199, 60:260].all()
    assert drawn[80:200, 61].all() and drawn[80:200, 259].all()
    assert not drawn[100:190, 80:240].any()
    assert not drawn[210:].any()


def test_the_given_image_is_left_alone():
    image = GREY.copy()
    draw(image, analysis(objects=[thing([60, 80, 260, 200])]))
    assert image == GREY


def test_the_threshold_decides_what_is_drawn():
    weak = analysis(objects=[thing([60, 80, 260, 200], score=0.29)])
    assert not changed(draw(GREY, weak, legend=False)).any()
    assert changed(draw(GREY, weak, legend=False, threshold=0.2)).any()


@pytest.mark.parametrize("one, other", [("皖A06725D", "京A06725D"), ("Eileen", "Eva"), ("苏", "浙")])
def test_names_are_written_and_differ(one, other):
    pictures = [
        draw(GREY, analysis(entities=[plate([100, 100, 200, 130], text)]), legend=False) for text in (one, other)
    ]
    assert pictures[0] != pictures[1]


def test_the_font_has_every_character_of_a_chinese_plate():
    font = drawing._font(drawing.FONT, 24)
    absent = font.getmask("\U0010fffe").getbbox(), bytes(font.getmask("\U0010fffe"))
    for character in (
        "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领警学港澳挂0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
    ):
        assert (font.getmask(character).getbbox(), bytes(font.getmask(character))) != absent, character


def spots(monkeypatch, found, image=GREY):
    """The rectangles of the labels that are written, by text."""
    written = {}
    tag = drawing._Pen._tag

    def spy(pen, text, spot, colour):
        written[text] = spot
        tag(pen, text, spot, colour)

    monkeypatch.setattr(drawing._Pen, "_tag", spy)
    draw(image, found, legend=False)
    return written


def test_labels_stay_inside_the_picture(monkeypatch):
    corners = [[0, 0, 40, 30], [280, 0, 320, 30], [0, 210, 40, 240], [280, 210, 320, 240]]
    found = analysis(objects=[thing(box, category=f"thing {i}") for i, box in enumerate(corners)])
    written = spots(monkeypatch, found)
    assert len(written) == 4
    for x1, y1, x2, y2 in written.values():
        assert 0 <= x1 < x2 <= 320
        assert 0 <= y1 < y2 <= 240


def test_labels_of_a_crowd_do_not_cover_each_other(monkeypatch):
    crowd = [thing([10 + 3 * i, 60 + 2 * i, 150 + 3 * i, 200 + 2 * i], f"person{i}", 0.9 - i / 100) for i in range(30)]
    written = list(spots(monkeypatch, analysis(objects=crowd)).values())
    assert len(written) >= 8
    for place, one in enumerate(written):
        area = (one[2] - one[0]) * (one[3] - one[1])
        assert sum(drawing._shared(one, other) for other in written[:place]) <= 0.35 * area + 1e-6


def test_names_and_plates_are_always_written_and_hide_no_face(monkeypatch):
    faces = [face([20 + 60 * i, 90, 60 + 60 * i, 140], f"Ada {i}") for i in range(5)]
    found = analysis(entities=[*faces, plate([100, 190, 180, 215], "苏A12345")], objects=[thing([0, 20, 320, 240])])
    written = spots(monkeypatch, found)
    assert {"苏A12345", *(f"Ada  {i}   0.80" for i in range(5))} <= set(written)
    for spot in written.values():
        for one in faces:
            assert drawing._shared(spot, tuple(one["box"])) == 0


def test_no_line_crosses_a_plate():
    found = analysis(entities=[plate([100, 100, 200, 130], "苏A12345")], objects=[thing([150, 60, 300, 220])])
    drawn = changed(draw(GREY, found, legend=False))
    assert not drawn[104:126, 104:196].any()
    assert drawn[140:210, 151].all()


def test_a_label_longer_than_the_picture_is_cut(monkeypatch):
    (text,) = spots(monkeypatch, analysis(entities=[face([100, 100, 140, 150], "Wolfeschlegelstein" * 5)]))
    assert text.endswith("…")


def test_words_of_a_name_stay_apart(monkeypatch):
    """Between two words is at least a third of a letter's height, and more before the score."""
    (text,) = spots(monkeypatch, analysis(objects=[thing([60, 80, 260, 200], "dining table")]))
    letters = drawing._font(drawing.FONT, 12)
    words = [letters.getlength(part) for part in ("dining", "table", "0.90")]
    between = letters.getlength(text.removesuffix("0.90").rstrip()) - words[0] - words[1]
    before_score = letters.getlength(text) - between - sum(words)
    assert 4 <= between < before_score


@pytest.mark.parametrize("width", [1, 40, 179])
def test_a_very_small_picture_gets_no_strip(width):
    found = analysis(width, 90, scene=[{"label": "minivan", "wnid": "n1", "score": 0.5}])
    assert draw(Image.new("RGB", (width, 90)), found).size == (width, 90)


def test_lines_and_letters_grow_with_the_picture():
    found = [analysis(320, 240, objects=[thing([32, 24, 288, 216])])]
    found.append(analysis(3200, 2400, objects=[thing([320, 240, 2880, 2160])]))
    small = changed(draw(GREY, found[0], legend=False)).mean()
    large_grey = GREY.resize((3200, 2400))
    large = changed(draw(large_grey, found[1], legend=False), large_grey).mean()
    assert 0.3 < large / small < 1.5


def test_colours_within_a_picture_differ():
    names = [f"category {i}" for i in range(12)]
    assert len(set(drawing._colours(names).values())) == 12
    # And one name has one colour in most pictures: that of its own when it comes first.
    assert drawing._colours(["car"])["car"] == drawing._colours(["car", "dog"])["car"]


def test_the_orientation_of_the_photo_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it by 90°
    buffer = io.BytesIO()
    GREY.save(buffer, "JPEG", exif=exif)
    assert draw(buffer.getvalue(), analysis(240, 320), legend=False).size == (240, 320)


@pytest.mark.parametrize(
    ("image", "value"),
    [
        pytest.param(Image.fromarray(np.full((240, 320), 128 * 257, np.uint16)), 128, id="16 bits are scaled"),
        pytest.param(Image.new("L", (320, 240), 128), 128, id="grey"),
        pytest.param(Image.new("RGBA", (320, 240), (0, 0, 0, 0)), 255, id="transparent is white"),
        pytest.param(Image.new("CMYK", (320, 240), (0, 0, 0, 255)), 0, id="CMYK"),
    ],
)
def test_every_kind_of_picture_can_be_drawn_on(image, value):
    assert draw(image, analysis(), legend=False).getpixel((9, 9)) == (value,) * 3


def test_another_picture_than_the_analysed_one_is_refused():
    with pytest.raises(ValueError, match="expected the analysed one of 320 × 240 pixels, got 10 × 20"):
        draw(Image.new("RGB", (10, 20)), analysis())


def test_what_is_no_picture_is_refused(tmp_path):
    with pytest.raises(PictureUnreadable, match="cannot be decoded for drawing"):
        draw(b"no picture", analysis())
    with pytest.raises(PictureUnreadable, match=r"gone\.jpg: cannot be decoded"):
        draw(tmp_path / "gone.jpg", analysis())


def test_what_is_no_font_is_refused(tmp_path):
    (tmp_path / "font.ttf").write_bytes(b"no font")
    with pytest.raises(SettingsError, match=r"font: cannot read .*font\.ttf"):
        draw(GREY, analysis(), font=tmp_path / "font.ttf")

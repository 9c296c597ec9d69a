"""The demo's photos and its enrolling; the demo as a whole runs in the live tests."""

from __future__ import annotations

import click
import numpy as np
from PIL import Image

from trident import demo
from trident.sample_pictures import photo


def test_the_photos_are_there_and_the_street_scene_has_its_plate(tmp_path):
    photos = demo.prepare_photos(tmp_path)
    assert len(photos) == 4
    original = np.asarray(Image.open(photo("motorcycle_left.png")))
    shown = np.asarray(Image.open(photos["motorcycle"]))
    assert original.shape == shown.shape
    assert 0 < (original != shown).any(axis=-1).mean() < 0.02


def test_enrolling_says_nothing_of_files_that_are_gone_afterwards(monkeypatch, capsys):
    asked = []

    def enrolled(arguments, **_):
        asked.append(arguments)
        click.echo(f"{arguments[2]}: took its face")

    monkeypatch.setattr("trident.commands.gallery.gallery.main", enrolled)
    demo.enroll("Someone", Image.new("RGB", (8, 8)), "sqlite://")
    (arguments,) = asked
    assert arguments[:2] == ["enroll", "Someone"]
    assert capsys.readouterr().out == ""

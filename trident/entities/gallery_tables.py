"""The tables of a gallery's database."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, ForeignKey, Integer, LargeBinary, MetaData, String, Table

MAX_NAME_LENGTH = 200

metadata = MetaData()
people = Table(
    "trident_people",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(MAX_NAME_LENGTH), nullable=False, unique=True),
)
embeddings = Table(
    "trident_embeddings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("person_id", ForeignKey(people.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("network", String(71), nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("vector", LargeBinary, nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
)
# A random stamp instead of a count: a gallery that was deleted and made anew must not look like the old one.
revision = Table(
    "trident_gallery_revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("stamp", String(32), nullable=False),
)
# Both are empty in a gallery that is not encrypted. In one that is, the names in trident_people are tokens.
seal = Table(
    "trident_gallery_seal",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("proof", LargeBinary, nullable=False),
)
sealed_names = Table(
    "trident_sealed_names",
    metadata,
    Column("person_id", ForeignKey(people.c.id, ondelete="CASCADE"), primary_key=True),
    Column("name", LargeBinary, nullable=False),
)

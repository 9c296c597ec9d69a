"""Moves the versions that an ensemble answers with, while it serves.

``plan`` says what is to change, ``preflight`` looks at the files, ``serving`` talks to the server, ``shadow`` and
``canary`` compare the new with the old, ``engine`` does one step after the other, and ``journal`` keeps what was done.
"""

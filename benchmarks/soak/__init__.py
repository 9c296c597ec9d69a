"""A soak: a server that is asked like one in service, for an hour or longer, and whether anything of it grows.

``run.py`` keeps a server under a mixed load and weighs it, ``trends.py`` says what is flat, ``page.py`` writes it down.
"""

"""More load than a server can carry: ``python -m benchmarks.overload --help``.

Requests are sent at planned moments, with a deadline each, up to three times as fast as the server answers at most:
what is answered in time, what is refused and how soon, and what is left waiting. Then clients vanish in the middle, and
then comes the first load again.
"""

"""Load by locust, over gRPC: ``python -m benchmarks.locust_load``.

``locustfile`` is what locust itself loads: its users, its load shapes and its options. ``shapes`` says how many users
there are when, ``payloads`` makes the requests and looks at the answers, ``calls`` asks, and ``ledger`` counts. Those
know nothing of locust, but for ``locustfile``. ``process`` starts locust and waits for it, ``figures`` works the counts
out, and ``page`` writes them down.
"""

"""Swaps every component back and forth under a steady load: ``python -m benchmarks.swaps``.

``repository`` makes a copy of the models with two versions of each component, ``rollouts`` swaps them by the real
rollout, ``timeline`` says which versions may answer when, ``windows`` sorts requests by what was going on,
``resources`` weighs the server, and ``page`` writes it all down.
"""

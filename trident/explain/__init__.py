"""Why an answer is what it is: what each branch added to a category, and what in the photo a network went by.

``contributions`` splits the fused scores, with the weights that ``weights`` finds. ``masks`` and ``saliency`` hide
parts of a picture and watch a score; ``explanation`` does so with the networks that a server serves. ``picture`` and
``page`` show what a ``sheet`` holds.
"""

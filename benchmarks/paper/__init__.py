"""The paper's experiments and what lies beyond them, one command each: ``python -m benchmarks.paper.NAME``.

``mnist``: Fig. 3 and 4. ``nihs``: Table 1 and Fig. 5. ``table2``: Table 2. ``recovery`` and ``real_data``: beyond it.
"""

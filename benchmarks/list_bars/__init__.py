"""Can the list of features be trusted, and how soon is it there: every bar, measured and held to what is wanted.

    python -m benchmarks.list_bars                       # all bars: many hours on two cores
    python -m benchmarks.list_bars replication two-features --journal build/bars.jsonl

One module per bar, each with one function that returns rows; ``RESULTS.md`` is made from the rows
of each bar's last run.
"""

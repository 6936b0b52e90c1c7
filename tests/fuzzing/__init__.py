"""What `tests/fuzz.py` calls the ops with: sound calls, and what can be wrong with them."""

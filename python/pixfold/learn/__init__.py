"""Training, attribution and consensus over runs; the estimators."""

import os

# OpenMP threads that spin while they wait for each other slow down whatever shares their cores, a second job of ours
# 5 to 10 times. OpenMP reads this when it is loaded, so it holds where torch was not imported before.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

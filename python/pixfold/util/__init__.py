"""Small things that every layer uses: words, files, optional packages, progress."""

"""What every layer uses: the wording of messages, files, optional packages, progress, versions."""

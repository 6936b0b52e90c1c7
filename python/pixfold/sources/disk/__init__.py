"""What formats on disk share: blocks of rows, temporary files, files that change while they are read."""

"""From any source to a packed store: one pass, in constant memory, resumed where it was interrupted."""

from pixfold.store.packer import WrittenStore, pack

__all__ = ["WrittenStore", "pack"]

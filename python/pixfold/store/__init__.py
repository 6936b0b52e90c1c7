"""From any source to a packed store: one pass, in constant memory, resumed where it was interrupted."""

from pixfold.store.packer import Packed, pack

__all__ = ["Packed", "pack"]

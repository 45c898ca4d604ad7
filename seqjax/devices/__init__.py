"""Devices: meshes and batches split across them, memory allocation, compilation."""

from seqjax.devices.compilation import compile_quickly
from seqjax.devices.memory import keep_freed_memory
from seqjax.devices.mesh import data_mesh, on_first_device, one_device_per_core, replicate, shard

__all__ = [
    "compile_quickly",
    "data_mesh",
    "keep_freed_memory",
    "on_first_device",
    "one_device_per_core",
    "replicate",
    "shard",
]

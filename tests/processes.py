"""A training run as a process of its own; arguments as of `perceive`.

With SHARD set, it is one of several and shards the model with FSDP2. accelerate itself does so on
GPUs only, though gloo can do it.
"""

import os
import sys

import torch
from accelerate import FullyShardedDataParallelPlugin
from accelerate.utils import DistributedType

from perceive_anything.cli import main
from perceive_anything.training import loop

torch.set_num_threads(1)
make_accelerator = loop.make_accelerator


def make_sharding_accelerator(precision):
    accelerator = make_accelerator(precision)
    accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["Qwen2DecoderLayer"],
        cpu_ram_efficient_loading=False,
    )
    return accelerator


if __name__ == "__main__":
    if os.environ.get("SHARD"):
        from perceive_anything.training import pam

        pam.make_accelerator = make_sharding_accelerator
    sys.exit(main())

"""Training throughput of a Transformer of about 1B parameters on several GPUs in PyTorch: FSDP2 or DDP, torch.compile, bfloat16, fused AdamW, at a
context of 8192.
usage: torchrun --nproc-per-node RANKS gpu_ranks.py fsdp|ddp [rows of a step, of all ranks] [rows of a pass of one rank]"""
import sys
import time

import torch
import torch.distributed as dist
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from gpu_train import LM, L, V

WARM, MEASURED = 3, 5


def main():
    strategy, rows, micro = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    dist.init_process_group("nccl")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.cuda.set_device(rank)
    torch.manual_seed(1)
    model = LM("T" * 16).cuda()
    if strategy == "fsdp":
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        for block in model.b:
            block.compile()
            fully_shard(block, mp_policy=policy)
        fully_shard(model, mp_policy=policy)
        runner = model
    else:
        runner = DistributedDataParallel(model, gradient_as_bucket_view=True)
        runner = torch.compile(runner)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-4, fused=True)
    passes = rows // ranks // micro
    tokens = torch.randint(0, V, (micro, L + 1), device="cuda")

    def step():
        for i in range(passes):
            last = i == passes - 1
            if strategy == "fsdp":
                model.set_requires_gradient_sync(last)
            else:
                runner.require_backward_grad_sync = last
            with torch.autocast("cuda", torch.bfloat16):
                loss = runner(tokens[:, :-1], tokens[:, 1:]) / passes
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    for _ in range(WARM):
        step()
    torch.cuda.synchronize()
    dist.barrier()
    start = time.time()
    for _ in range(MEASURED):
        loss = step()
    torch.cuda.synchronize()
    dist.barrier()
    seconds = (time.time() - start) / MEASURED
    if rank == 0:
        print(f"PyTorch {torch.__version__} {strategy}, {ranks} ranks, {rows} x {L} tokens per step, {micro} rows per pass: "
              f"{rows*L/seconds:,.0f} tokens/s, peak {torch.cuda.max_memory_allocated()/2**30:.1f} GiB, loss {loss.item()*passes:.3f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

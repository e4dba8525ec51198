"""Training throughput of a model of about 1B parameters in PyTorch (torch.compile, bfloat16 autocast, fused AdamW) at a context of 8192.
usage: gpu_train.py PATTERN [batch] [ckpt] [wait]   PATTERN: T attention, S Mamba-2, M Mamba-1 (both of mamba_ssm), such as TTTTTTTTTTTTTTTT.
With "wait", it measures after a line on the standard input."""
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

D, FF, H, K, HD, V, L, N = 2048, 8192, 32, 8, 64, 128256, 8192, 16


class RMS(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.w = nn.Parameter(torch.ones(d))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.w.to(x.dtype), 1e-5)


class Attn(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(D, H * HD, False), nn.Linear(D, K * HD, False), nn.Linear(D, K * HD, False)
        self.o = nn.Linear(H * HD, D, False)

    def forward(self, x, cos, sin):
        b, l, _ = x.shape
        q = self.q(x).view(b, l, H, HD).transpose(1, 2)
        k = self.k(x).view(b, l, K, HD).transpose(1, 2)
        v = self.v(x).view(b, l, K, HD).transpose(1, 2)

        def turned(t):
            first, second = t.chunk(2, -1)
            return t * cos + torch.cat((-second, first), -1) * sin

        o = F.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True, enable_gqa=True)
        return self.o(o.transpose(1, 2).reshape(b, l, H * HD))


class Mamba1(nn.Module):
    def __init__(self):
        super().__init__()
        from mamba_ssm.modules.mamba_simple import Mamba
        self.m = Mamba(D, d_state=N, d_conv=4, expand=2)

    def forward(self, x, cos, sin):
        return self.m(x)


class Mamba2(nn.Module):
    def __init__(self):
        super().__init__()
        from mamba_ssm.modules.mamba2 import Mamba2 as Mixer
        self.m = Mixer(D, d_state=128, d_conv=4, expand=2, headdim=128)

    def forward(self, x, cos, sin):
        return self.m(x)


class Block(nn.Module):
    def __init__(self, letter):
        super().__init__()
        self.n1, self.n2, self.mix = RMS(D), RMS(D), {"T": Attn, "M": Mamba1, "S": Mamba2}[letter]()
        self.g, self.u, self.d = nn.Linear(D, FF, False), nn.Linear(D, FF, False), nn.Linear(FF, D, False)

    def forward(self, x, cos, sin):
        x = x + self.mix(self.n1(x), cos, sin)
        h = self.n2(x)
        return x + self.d(F.silu(self.g(h)) * self.u(h))


class LM(nn.Module):
    def __init__(self, pattern, checkpointing=False):
        super().__init__()
        self.checkpointing = checkpointing
        self.e = nn.Embedding(V, D)
        self.b = nn.ModuleList(Block(letter) for letter in pattern)
        self.n = RMS(D)
        self.e.weight.data.normal_(0, .02)
        frequencies = 500000 ** (-torch.arange(0, HD, 2).float() / HD)
        angles = torch.outer(torch.arange(L).float(), frequencies)
        angles = torch.cat((angles, angles), -1)
        self.register_buffer("cos", angles.cos().bfloat16())
        self.register_buffer("sin", angles.sin().bfloat16())

    def forward(self, tokens, targets):
        x = self.e(tokens).bfloat16()
        for block in self.b:
            if self.checkpointing:
                x = checkpoint(block, x, self.cos, self.sin, use_reentrant=False)
            else:
                x = block(x, self.cos, self.sin)
        return F.cross_entropy(F.linear(self.n(x), self.e.weight.to(x.dtype)).float().view(-1, V), targets.reshape(-1))


def main():
    pattern, rows, checkpointing = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2, "ckpt" in sys.argv[3:]
    model = LM(pattern, checkpointing).cuda()
    count = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), 3e-4, fused=True)
    compiled = torch.compile(model)
    tokens = torch.randint(0, V, (rows, L + 1), device="cuda")

    def step():
        with torch.autocast("cuda", torch.bfloat16):
            loss = compiled(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    start = time.time()
    for _ in range(3):
        step()
    torch.cuda.synchronize()
    print("compile+warm", round(time.time() - start, 1), "s", flush=True)
    if "wait" in sys.argv:
        sys.stdin.readline()
    torch.cuda.synchronize()
    start, steps = time.time(), 6
    for _ in range(steps):
        loss = step()
    torch.cuda.synchronize()
    seconds = (time.time() - start) / steps
    flops = 6 * count * rows * L + 12 * pattern.count("T") * H * HD * L * L * rows / 2
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"{pattern} params {count/1e9:.3f}B batch {rows} ckpt {checkpointing}: {seconds*1e3:.0f} ms/step, {rows*L/seconds:.0f} tok/s, "
          f"MFU(990) {flops/seconds/990e12:.1%}, peak {peak:.1f} GiB, loss {loss.item():.3f}")


if __name__ == "__main__":
    main()

"""Training throughput of a model of about 1B parameters in PyTorch (torch.compile, bfloat16 autocast, fused AdamW) at a context of 8192.
usage: gpu_train.py PATTERN [batch] [ckpt] [wait]   PATTERN: T attention, S Mamba-2, M Mamba-1 (both of mamba_ssm), such as TTTTTTTTTTTTTTTT.
With "wait", it measures after a line on the standard input."""
import sys, time, torch, torch.nn as nn, torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
pat, B, ck = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2, "ckpt" in sys.argv[3:]
D, FF, H, K, HD, V, L, N, E = 2048, 8192, 32, 8, 64, 128256, 8192, 16, 4096
class RMS(nn.Module):
    def __init__(s, d): super().__init__(); s.w = nn.Parameter(torch.ones(d))
    def forward(s, x): return F.rms_norm(x, (x.shape[-1],), s.w.to(x.dtype), 1e-5)
class Attn(nn.Module):
    def __init__(s):
        super().__init__()
        s.q, s.k, s.v, s.o = nn.Linear(D, H*HD, False), nn.Linear(D, K*HD, False), nn.Linear(D, K*HD, False), nn.Linear(H*HD, D, False)
    def forward(s, x, cos, sin):
        b, l, _ = x.shape
        q = s.q(x).view(b, l, H, HD).transpose(1, 2)
        k = s.k(x).view(b, l, K, HD).transpose(1, 2)
        v = s.v(x).view(b, l, K, HD).transpose(1, 2)
        def rot(t): a, c = t.chunk(2, -1); return t * cos + torch.cat((-c, a), -1) * sin
        o = F.scaled_dot_product_attention(rot(q), rot(k), v, is_causal=True, enable_gqa=True)
        return s.o(o.transpose(1, 2).reshape(b, l, H*HD))
class Mamba1(nn.Module):
    def __init__(s):
        super().__init__(); from mamba_ssm.modules.mamba_simple import Mamba; s.m = Mamba(D, d_state=N, d_conv=4, expand=2)
    def forward(s, x, cos, sin): return s.m(x)
class Mamba2(nn.Module):
    def __init__(s):
        super().__init__(); from mamba_ssm.modules.mamba2 import Mamba2 as M; s.m = M(D, d_state=128, d_conv=4, expand=2, headdim=128)
    def forward(s, x, cos, sin): return s.m(x)
class Block(nn.Module):
    def __init__(s, c):
        super().__init__()
        s.n1, s.n2, s.mix = RMS(D), RMS(D), {"T": Attn, "M": Mamba1, "S": Mamba2}[c]()
        s.g, s.u, s.d = nn.Linear(D, FF, False), nn.Linear(D, FF, False), nn.Linear(FF, D, False)
    def forward(s, x, cos, sin):
        x = x + s.mix(s.n1(x), cos, sin); h = s.n2(x); return x + s.d(F.silu(s.g(h)) * s.u(h))
class LM(nn.Module):
    def __init__(s):
        super().__init__(); s.e = nn.Embedding(V, D); s.b = nn.ModuleList(Block(c) for c in pat); s.n = RMS(D); s.e.weight.data.normal_(0, .02)
        inv = 500000 ** (-torch.arange(0, HD, 2).float() / HD); f = torch.outer(torch.arange(L).float(), inv); f = torch.cat((f, f), -1)
        s.register_buffer("cos", f.cos().bfloat16()); s.register_buffer("sin", f.sin().bfloat16())
    def forward(s, t, y):
        x = s.e(t).bfloat16()
        for b in s.b: x = checkpoint(b, x, s.cos, s.sin, use_reentrant=False) if ck else b(x, s.cos, s.sin)
        return F.cross_entropy(F.linear(s.n(x), s.e.weight).float().view(-1, V), y.reshape(-1))
m = LM().cuda(); n = sum(p.numel() for p in m.parameters()); opt = torch.optim.AdamW(m.parameters(), 3e-4, fused=True)
c = torch.compile(m); t = torch.randint(0, V, (B, L + 1), device="cuda")
def step():
    with torch.autocast("cuda", torch.bfloat16): l = c(t[:, :-1], t[:, 1:])
    l.backward(); nn.utils.clip_grad_norm_(m.parameters(), 1.0); opt.step(); opt.zero_grad(); return l
t0 = time.time(); [step() for _ in range(3)]; torch.cuda.synchronize(); print("compile+warm", round(time.time() - t0, 1), "s", flush=True)
if "wait" in sys.argv: sys.stdin.readline()
torch.cuda.synchronize(); s = time.time(); k = 6
for _ in range(k): l = step()
torch.cuda.synchronize(); dt = (time.time() - s) / k
fl = 6 * n * B * L + 12 * pat.count("T") * H * HD * L * L * B / 2
peak = torch.cuda.max_memory_allocated() / 2**30
print(f"{pat} params {n/1e9:.3f}B batch {B} ckpt {ck}: {dt*1e3:.0f} ms/step, {B*L/dt:.0f} tok/s, MFU(990) {fl/dt/990e12:.1%}, "
      f"peak {peak:.1f} GiB, loss {l.item():.3f}")

"""Rivals of the GPU operators in Python, on one CUDA device: PyTorch's own, and mamba_ssm's and causal_conv1d's where they can be imported.

usage: python3 gpu_ops.py [OPERATOR ...]      (names as in `gpu-ops`; all if none is given)

Each measured rival is a line of JSON on the output: op, shape, dtype, anchor (what it is), forward_ms (without gradients), total_ms (forward and backward; null
where there is none). Other lines are remarks. Times are medians of runs put into the stream without waiting, each between two events.
"""
import json
import sys

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    print("no anchors: this python3 has no torch")
    sys.exit(0)
if not torch.cuda.is_available():
    print("no anchors: this python3's torch has no CUDA device")
    sys.exit(0)

BF16 = torch.bfloat16


def leaf(*size, dtype=BF16, scale=1.0, shift=0.0):
    return (torch.randn(*size, device="cuda") * scale + shift).to(dtype).requires_grad_()


def decays(*size):
    return (-torch.randn(*size, device="cuda").abs() - 0.5).requires_grad_()


def median_ms(run, seconds=0.3):
    for _ in range(3):
        run()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    count = int(min(60, max(7, 1000 * seconds / max(begin.elapsed_time(end), 1e-3))))
    marks = []
    for _ in range(count):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        marks.append((begin, end))
    torch.cuda.synchronize()
    times = sorted(a.elapsed_time(b) for a, b in marks)
    return times[len(times) // 2]


def rival(op, shape, name, call, leaves, backward=True):
    try:
        with torch.no_grad():
            forward = median_ms(call)
        total = None
        if backward:
            direction = torch.randn_like(call())

            def both():
                for x in leaves:
                    x.grad = None
                call().backward(direction)

            total = median_ms(both)
            for x in leaves:
                x.grad = None
        print(json.dumps({"op": op, "shape": shape, "dtype": "bfloat16", "anchor": name, "forward_ms": forward, "total_ms": total}), flush=True)
    except Exception as e:  # a rival that fails is no reason to lose the others
        print(f"{op}, {shape}, {name}: {type(e).__name__}: {str(e).splitlines()[0][:300] if str(e) else ''}", flush=True)


def chunked_dual(x, step, a, b, c, skip, bias, size=64):
    """The state-space dual in chunks of batched products (arXiv 2405.21060, section 6), one group."""
    batch, length, heads, width = x.shape
    states, chunks = b.shape[-1], length // size
    delta = F.softplus(step.float() + bias)
    logs = (delta * a).view(batch, chunks, size, heads).permute(0, 3, 1, 2)
    sums = logs.cumsum(-1)
    later = torch.ones(size, size, dtype=torch.bool, device=x.device).tril()
    within = (sums.unsqueeze(-1) - sums.unsqueeze(-2)).masked_fill(~later, float("-inf")).exp().to(x.dtype)
    added = (x * delta.unsqueeze(-1).to(x.dtype)).view(batch, chunks, size, heads, width)
    keys, queries = b.view(batch, chunks, size, states), c.view(batch, chunks, size, states)
    scores = torch.einsum("zcin,zcjn->zcij", queries, keys).unsqueeze(1) * within
    output = torch.einsum("zhcij,zcjhp->zcihp", scores, added)
    left = (sums[..., -1:] - sums).exp().to(x.dtype)
    pieces = torch.einsum("zcjn,zhcj,zcjhp->zchpn", keys, left, added).float()
    ends = F.pad(sums[..., -1], (1, 0)).cumsum(-1)
    order = torch.ones(chunks + 1, chunks + 1, dtype=torch.bool, device=x.device).tril()
    across = (ends.unsqueeze(-1) - ends.unsqueeze(-2)).masked_fill(~order, float("-inf")).exp()
    entering = torch.einsum("zhij,zjhpn->zihpn", across[..., :-1, 1:], pieces).to(x.dtype)
    output = output + torch.einsum("zcin,zchpn,zhci->zcihp", queries, entering, sums.exp().to(x.dtype))
    return output.reshape(batch, length, heads, width) + x * skip.to(x.dtype).unsqueeze(-1)


def state_space_dual():
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    except ImportError as e:
        mamba_chunk_scan_combined = None
        print(f"state-space dual: no mamba_ssm here ({e})")
    for shape, (b, l, h, p, g, n) in {
        "B8 L8192 H64 P64 G1 N128": (8, 8192, 64, 64, 1, 128),
        "B8 L8192 H32 P128 N128": (8, 8192, 32, 128, 1, 128),
        "B1 L8192 H64 P64 G1 N128": (1, 8192, 64, 64, 1, 128),
    }.items():
        x, step, a = leaf(b, l, h, p), leaf(b, l, h, scale=0.5, shift=-3), decays(h)
        keys, queries = leaf(b, l, g, n), leaf(b, l, g, n)
        skip, bias = leaf(h, dtype=torch.float32), leaf(h, dtype=torch.float32)
        leaves = (x, step, a, keys, queries, skip, bias)
        if mamba_chunk_scan_combined is not None:
            call = lambda: mamba_chunk_scan_combined(x, step, a, keys, queries, 256, D=skip, dt_bias=bias, dt_softplus=True)
            rival("state-space dual", shape, "mamba_ssm (Triton)", call, leaves)
        else:
            compiled = torch.compile(chunked_dual)
            rival("state-space dual", shape, "torch compiled, chunks", lambda: compiled(x, step, a, keys.squeeze(2), queries.squeeze(2), skip, bias), leaves)


def selective_scan():
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError as e:
        selective_scan_fn = None
        print(f"selective scan: no mamba_ssm here ({e})")
    for b, d, l, n in ((8, 4096, 8192, 16), (1, 4096, 8192, 16)):
        shape = f"B{b} D{d} L{l} N{n}"
        a, skip, bias = decays(d, n), leaf(d, dtype=torch.float32), leaf(d, dtype=torch.float32)
        if selective_scan_fn is not None:
            u, step, gate = leaf(b, d, l), leaf(b, d, l, scale=0.5, shift=-3), leaf(b, d, l)
            keys, queries = leaf(b, 1, n, l), leaf(b, 1, n, l)
            call = lambda: selective_scan_fn(u, step, a, keys, queries, skip, gate, bias, delta_softplus=True)
            rival("selective scan", shape, "mamba_ssm (CUDA)", call, (u, step, a, keys, queries, skip, gate, bias))
            continue
        x, step, gate = leaf(b, l, d), leaf(b, l, d, scale=0.5, shift=-3), leaf(b, l, d)
        keys, queries = leaf(b, l, n), leaf(b, l, n)

        def loop():
            delta = F.softplus(step.float() + bias)
            state, outputs = torch.zeros(b, d, n, device="cuda"), []
            for t in range(l):
                state = (delta[:, t, :, None] * a).exp() * state + (delta[:, t] * x[:, t]).unsqueeze(-1) * keys[:, t, None]
                outputs.append((state * queries[:, t, None]).sum(-1))
            return ((torch.stack(outputs, 1) + x * skip) * F.silu(gate.float())).to(x.dtype)

        with torch.no_grad():
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            loop()
            end.record()
            torch.cuda.synchronize()
        line = {"op": "selective scan", "shape": shape, "dtype": "bfloat16", "anchor": "torch eager, token by token (one run)"}
        print(json.dumps({**line, "forward_ms": begin.elapsed_time(end), "total_ms": None}), flush=True)


def convolution():
    b, d, l, w = 8, 4096, 8192, 4
    x, weight, bias = leaf(b, d, l), leaf(d, w), leaf(d)
    try:
        from causal_conv1d import causal_conv1d_fn

        rival("convolution", f"B{b} D{d} L{l} W{w}", "causal_conv1d", lambda: causal_conv1d_fn(x, weight, bias, activation="silu"), (x, weight, bias))
        return
    except ImportError as e:
        print(f"convolution: no causal_conv1d here ({e})")
    eager = lambda: F.silu(F.conv1d(x, weight.unsqueeze(1), bias, padding=w - 1, groups=d)[..., :l])
    rival("convolution", f"B{b} D{d} L{l} W{w}", "torch eager", eager, (x, weight, bias))

    def taps(x, weight, bias):
        padded = F.pad(x, (w - 1, 0))
        return F.silu(sum(padded[..., k : k + l] * weight[:, k, None] for k in range(w)) + bias[:, None])

    compiled = torch.compile(taps)
    rival("convolution", f"B{b} D{d} L{l} W{w}", "torch compiled", lambda: compiled(x, weight, bias), (x, weight, bias))


def rmsnorm():
    x, weight = leaf(65536, 2048), leaf(2048)
    norm = lambda x, weight: F.rms_norm(x, (2048,), weight)
    compiled = torch.compile(norm)
    rival("rmsnorm", "65536 x 2048", "torch eager", lambda: norm(x, weight), (x, weight))
    rival("rmsnorm", "65536 x 2048", "torch compiled", lambda: compiled(x, weight), (x, weight))


def gated_rmsnorm():
    x, gate, weight = leaf(65536, 4096), leaf(65536, 4096), leaf(4096)
    compiled = torch.compile(lambda x, gate, weight: F.rms_norm((x.float() * F.silu(gate.float())), (4096,), weight.float(), 1e-5).to(x.dtype))
    rival("gated rmsnorm", "65536 x 4096", "torch compiled", lambda: compiled(x, gate, weight), (x, gate, weight))


def branch_fusion():
    first, second = leaf(65536, 4096), leaf(65536, 4096)

    def norm(x):
        return F.rms_norm(x.float().view(65536, 64, 64), (64,), eps=1e-5).view(65536, 4096)

    compiled = torch.compile(lambda first, second: (norm(first) - norm(second)).to(first.dtype))
    rival("branch fusion", "65536 x 4096, 64 heads", "torch compiled", lambda: compiled(first, second), (first, second))


def swiglu():
    gate, up = leaf(65536, 8192), leaf(65536, 8192)
    compiled = torch.compile(lambda gate, up: F.silu(gate) * up)
    rival("swiglu", "65536 x 8192", "torch compiled", lambda: compiled(gate, up), (gate, up))


def linear_cross_entropy():
    hidden, weight = leaf(8192, 2048), leaf(128256, 2048, scale=0.02)
    targets = torch.randint(0, 128256, (8192,), device="cuda")
    whole = lambda: F.cross_entropy((hidden @ weight.t()).float(), targets)
    rival("linear + cross entropy", "8192 tokens, d 2048, V 128256", "torch eager, full logits", whole, (hidden, weight))
    compiled = torch.compile(whole)
    rival("linear + cross entropy", "8192 tokens, d 2048, V 128256", "torch compiled, full logits", compiled, (hidden, weight))


def attention_by_warps():
    """PyTorch's FlashAttention 2, whose products are those of single warps too."""
    attention("attention by warps", ["flash"])


def attention(op="attention", names=("cuDNN", "flash")):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    for shape, (b, l, h, k, d, e) in {
        "B4 L8192 H32:8 D64": (4, 8192, 32, 8, 64, 64),
        "B4 L8192 H32:8 D128": (4, 8192, 32, 8, 128, 128),
        "B4 L8192 H16:4 D72:128": (4, 8192, 16, 4, 72, 128),
        "B1 L8192 H16:4 D256": (1, 8192, 16, 4, 256, 256),
        "B1 L8192 H16:16 D192:128": (1, 8192, 16, 16, 192, 128),
    }.items():
        query, key, value = leaf(b, l, h, d), leaf(b, l, k, d), leaf(b, l, k, e)
        backends = {"cuDNN": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}
        for name, backend in ((name, backends[name]) for name in names):

            def call():
                q, k_, v = query, key, value
                if d < e:
                    q, k_ = F.pad(q, (0, e - d)), F.pad(k_, (0, e - d))
                if d > e and name == "flash":
                    v = F.pad(v, (0, d - e))
                with sdpa_kernel([backend]):
                    return F.scaled_dot_product_attention(
                        q.transpose(1, 2), k_.transpose(1, 2), v.transpose(1, 2), is_causal=True, scale=d**-0.5, enable_gqa=True
                    )[..., :e]

            rival(op, shape, f"torch SDPA, {name}", call, (query, key, value))
    if op != "attention":
        return
    try:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    except ImportError as e:
        print(f"attention: no flex_attention here ({e})")
        return
    b, l, h, k, d = 4, 8192, 32, 8, 64
    query, key, value = leaf(b, l, h, d), leaf(b, l, k, d), leaf(b, l, k, d)
    flex = torch.compile(flex_attention)
    masks = {
        "window 512 + 64 sinks": lambda b_, h_, i, j: (j <= i) & ((i - j < 512) | (j < 64)),
        "documents of 1000": lambda b_, h_, i, j: (j <= i) & (i // 1000 == j // 1000),
    }
    for name, seen in masks.items():
        mask = create_block_mask(seen, None, None, l, l, device="cuda")
        call = lambda: flex(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), block_mask=mask, enable_gqa=True)
        rival("attention", f"B4 L8192 H32:8 D64, {name}", "torch compiled, flex_attention", call, (query, key, value))


def attention_decode():
    """One query per row over a cache of 8 key heads. A graph of 20 calls over several caches, because a call is shorter than the host takes for it."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    for b, length, d in ((1, 8192, 64), (1, 8192, 128), (64, 8192, 64), (64, 8192, 128), (1, 512, 64), (1, 131072, 128)):
        sets = max(1, min(20, (400 << 20) // (b * length * 8 * d * 4)))
        new = lambda heads, tokens: torch.randn(b, tokens, heads, d, device="cuda", dtype=BF16).transpose(1, 2)
        inputs = [(new(32, 1), new(8, length), new(8, length)) for _ in range(sets)]
        for name, backend in {"cuDNN": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}.items():
            try:
                with torch.no_grad(), sdpa_kernel([backend]):
                    call = lambda i: F.scaled_dot_product_attention(*inputs[i % sets], enable_gqa=True)
                    call(0)
                    torch.cuda.synchronize()
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph):
                        for i in range(20):
                            call(i)
                    forward = median_ms(graph.replay) / 20
                print(json.dumps({"op": "attention decode", "shape": f"B{b} C{length} H32:8 D{d}", "dtype": "bfloat16", "anchor": f"torch SDPA in a graph, {name}",
                                  "forward_ms": forward, "total_ms": None}), flush=True)
            except Exception as e:
                print(f"attention decode, B{b} C{length} D{d}, {name}: {type(e).__name__}: {str(e).splitlines()[0][:300] if str(e) else ''}", flush=True)
        del inputs
        torch.cuda.empty_cache()


def state_update():
    b, h, p, n = 64, 64, 64, 128
    states = [torch.zeros(b, h, p, n, device="cuda") for _ in range(3)]
    x, step, a = torch.randn(b, h, p, device="cuda", dtype=BF16), torch.randn(b, h, device="cuda", dtype=BF16) * 0.5 - 3, decays(h).detach()
    keys, queries = torch.randn(b, 1, n, device="cuda", dtype=BF16), torch.randn(b, 1, n, device="cuda", dtype=BF16)
    skip, bias = torch.randn(h, device="cuda"), torch.randn(h, device="cuda")
    turn = iter(range(1 << 30))
    try:
        from mamba_ssm.ops.triton.selective_state_update import selective_state_update

        def call():
            return selective_state_update(states[next(turn) % 3], x, step.unsqueeze(-1).expand(b, h, p), a.view(h, 1, 1).expand(h, p, n), keys, queries,
                                          D=skip.view(h, 1).expand(h, p), dt_bias=bias.view(h, 1).expand(h, p), dt_softplus=True)

        rival("state update", "B64 H64 P64 N128", "mamba_ssm (Triton)", call, (), backward=False)
        return
    except ImportError as e:
        print(f"state update: no mamba_ssm here ({e})")

    @torch.compile
    def update(state, x, step, a, keys, queries, skip, bias):
        delta = F.softplus(step.float() + bias)
        state.mul_((delta * a).exp()[..., None, None]).add_((delta[..., None] * x).unsqueeze(-1) * keys.unsqueeze(2))
        return ((state * queries.unsqueeze(2)).sum(-1) + x * skip[:, None]).to(x.dtype)

    rival("state update", "B64 H64 P64 N128", "torch compiled", lambda: update(states[next(turn) % 3], x, step, a, keys, queries, skip, bias), (), backward=False)


OPERATORS = {"state-space dual": state_space_dual, "selective scan": selective_scan, "convolution": convolution, "rmsnorm": rmsnorm,
             "gated rmsnorm": gated_rmsnorm, "branch fusion": branch_fusion, "swiglu": swiglu, "linear + cross entropy": linear_cross_entropy, "state update": state_update,
             "attention": attention, "attention by warps": attention_by_warps, "attention decode": attention_decode}
for name in sys.argv[1:] or OPERATORS:
    torch.manual_seed(0)
    try:
        OPERATORS[name]()
    except Exception as e:
        print(f"{name}: {type(e).__name__}: {str(e)[:300]}", flush=True)
    torch.cuda.empty_cache()

"""What a Python user of this GPU has, timed as `lexel bench kernels` times ours: CUDA graphs on a cold L2 cache, median.

One JSON a line: {"kernel", "case", "peer": {"name", "seconds" | "error"}}; kernel and case are those of apps/bench/cases/, so that
tests/gpu/table.py finds the row. A peer that fails says so, and the next one begins. Needs torch; Triton for what is compiled.
"""

import json
import statistics
import sys

import torch
import torch.nn.functional as F

ROUNDS = 20
SHORT_S = 1e-3  # below: the difference of two graphs, as in kernels/cuda/gpu_stopwatch.cpp
REPEATS = 8


def events_s(run):
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run()
    stop.record()
    stop.synchronize()
    return 1e-3 * start.elapsed_time(stop)


def captured(run):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    graph.replay()
    return graph


def seconds_of(run):
    """Median seconds of a call, and whether it was replayed from a graph."""
    other = torch.zeros(2**26, device="cuda")  # 256 MB, read to fill L2
    total = torch.empty((), device="cuda")

    def fill():
        torch.sum(other, dim=0, out=total)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
        fill()
        torch.cuda.synchronize()
        short = events_s(run) < SHORT_S
        try:
            if not short:
                graph = captured(run)
                times = [(fill(), events_s(graph.replay))[1] for _ in range(ROUNDS)]
                return statistics.median(times), True

            def both():
                for _ in range(REPEATS):
                    fill()
                    run()

            with_run, alone = captured(both), captured(lambda: [fill() for _ in range(REPEATS)])
            times = [(events_s(with_run.replay) - events_s(alone.replay)) / REPEATS for _ in range(ROUNDS)]
            return statistics.median(times), True
        except RuntimeError:
            times = [(fill(), events_s(run))[1] for _ in range(ROUNDS)]
            return statistics.median(times), False


def measure(kernel, case, name, prepare):
    """prepare() makes the tensors and returns the call."""
    peer = {"name": name}
    try:
        peer["seconds"], peer["graph"] = seconds_of(prepare())
    except Exception as error:  # out of memory, not supported, not compiled: all the same here
        peer["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    print(json.dumps({"kernel": kernel, "case": case, "peer": peer}), flush=True)
    torch._dynamo.reset()
    torch.cuda.empty_cache()


def codebook_lookup():
    def peer(dtype, compiled):
        def prepare():
            rows, codes = (F.normalize(torch.randn(n, 32, device="cuda"), dim=1).to(dtype) for n in (65536, 8192))
            search = lambda: torch.argmax(rows @ codes.T, dim=1)
            return torch.compile(search) if compiled else search

        return prepare

    for dtype in (torch.float32, torch.bfloat16):
        for compiled in (False, True):
            name = f"torch{'.compile' if compiled else ''} matmul + argmax, {str(dtype).split('.')[1]}"
            measure("codebook_lookup", "65536 x 8192 x 32, cosine", name, peer(dtype, compiled))


def conv_mask(query, key, width=32, kernel=11):
    """kernels/attention_mask.h: AttentionMask::conv."""
    radius = kernel // 2
    offset = query - key
    row = (offset + radius) // width
    near = (offset >= 0) & (offset <= radius)
    above = (offset > radius) & (row >= 1) & (row <= radius) & (offset - row * width <= radius)
    return near | above


def attention():
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    shape = (16, 32, 1024, 64)

    def tensors(of=shape):
        return [torch.randn(of, device="cuda", dtype=torch.bfloat16) for _ in range(3)]

    def sdpa(backend, of=shape):
        def prepare():
            q, k, v = tensors(of)

            def call():
                with sdpa_kernel(backend):
                    return F.scaled_dot_product_attention(q, k, v, is_causal=True)

            return call

        return prepare

    def flex(mask, of=shape):
        def prepare():
            q, k, v = tensors(of)
            blocks = create_block_mask(mask, None, None, 1024, 1024, device="cuda")
            compiled = torch.compile(flex_attention)
            return lambda: compiled(q, k, v, block_mask=blocks)

        return prepare

    causal = lambda batch, head, query, key: query >= key
    conv = lambda batch, head, query, key: conv_mask(query, key)
    for case, of in (("causal, 1024 tokens", shape), ("causal, 1024 tokens, head width 128", (16, 16, 1024, 128))):
        for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION)):
            measure("attention", case, f"SDPA {name}", sdpa(backend, of))
        measure("attention", case, "FlexAttention, compiled", flex(causal, of))
    measure("attention", "conv 11 x 11, 32 x 32 tokens", "FlexAttention, block mask, compiled", flex(conv))


def decode_attention():
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def sdpa(backend):
        def prepare():
            q = torch.randn(2, 16, 1, 64, device="cuda", dtype=torch.bfloat16)
            k, v = torch.randn(2, 2, 16, 1024, 64, device="cuda", dtype=torch.bfloat16)

            def call():
                with sdpa_kernel(backend):
                    return F.scaled_dot_product_attention(q, k, v)

            return call

        return prepare

    for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION),
                          ("efficient", SDPBackend.EFFICIENT_ATTENTION)):
        measure("decode_attention", "b2 h16 d64, 1024 keys, bfloat16", f"SDPA {name}", sdpa(backend))


def adamw():
    def optimizer(**options):
        def prepare():
            sizes = [33000 * 1024, 8192 * 1024] + [n for _ in range(24) for n in 4 * [1024 * 1024] + 2 * [4096 * 1024] + 6 * [1024]]
            weights = [torch.randn(n, device="cuda", requires_grad=True) for n in sizes]
            for weight in weights:
                weight.grad = torch.randn_like(weight)
            return torch.optim.AdamW(weights, lr=1e-3, capturable=True, **options).step

        return prepare

    for name in ("fused", "foreach"):
        measure("adamw", "344 M, 290 tensors", f"torch.optim.AdamW({name}=True)", optimizer(**{name: True}))


def sampling():
    def chain(compiled):
        def prepare():
            conditional, unconditional = torch.randn(2, 1, 8192, device="cuda")

            def call():
                logits = (unconditional + 3.0 * (conditional - unconditional)) / 0.9
                values, ids = torch.sort(logits, descending=True, dim=-1)
                probabilities = torch.softmax(values[:, :256], dim=-1)
                kept = torch.cumsum(probabilities, dim=-1) - probabilities < 0.95
                weights = torch.where(kept, probabilities, 0.0)
                drawn = (weights / torch.empty_like(weights).exponential_()).argmax(dim=-1, keepdim=True)
                return ids.gather(1, drawn)

            return torch.compile(call) if compiled else call

        return prepare

    for compiled in (False, True):
        measure("sampling", "1 x 8192, guidance, top-k 256, top-p 0.95", f"torch{'.compile' if compiled else ''} sort, cumsum, draw", chain(compiled))


def main():
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    for kernel in (attention, codebook_lookup, decode_attention, adamw, sampling):
        try:
            kernel()
        except Exception as error:
            print(f"{kernel.__name__}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("peers.py: torch finds no GPU")
    main()

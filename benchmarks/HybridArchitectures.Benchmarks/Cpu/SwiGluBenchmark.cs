using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

public class SwiGluBenchmark : OperatorBenchmark
{
    Tensor gate = null!, up = null!;

    protected override void Prepare() => (gate, up) = (Leaf(8, 512, 768), Leaf(8, 512, 768));

    protected override Tensor Ours() => SwiGlu.Forward(gate, up);

    protected override Tensor Composed() => nn.functional.silu(gate) * up;
}

using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

public class GatedRmsNormBenchmark : OperatorBenchmark
{
    Tensor x = null!, gate = null!, weight = null!;

    protected override void Prepare() => (x, gate, weight) = (Leaf(8, 512, 512), Leaf(8, 512, 512), Leaf(512));

    protected override Tensor Ours() => GatedRmsNorm.Forward(x, gate, weight);

    protected override Tensor Composed()
    {
        var gated = x * nn.functional.silu(gate);
        return gated * rsqrt(gated.square().mean([-1], true).add(Scalars.From(1e-5), Scalars.One)) * weight;
    }
}

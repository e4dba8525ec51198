using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

public class RmsNormBenchmark : OperatorBenchmark
{
    Tensor x = null!, weight = null!;

    protected override void Prepare() => (x, weight) = (Leaf(8, 512, 256), Leaf(256));

    protected override Tensor Ours() => RmsNorm.Forward(x, weight);

    protected override Tensor Composed() => x * rsqrt(x.square().mean([-1], true).add(Scalars.From(1e-5), Scalars.One)) * weight;
}

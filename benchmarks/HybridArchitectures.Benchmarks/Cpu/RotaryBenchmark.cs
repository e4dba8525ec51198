using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

public class RotaryBenchmark : OperatorBenchmark
{
    Tensor x = null!, cosine = null!, sine = null!;

    protected override void Prepare()
    {
        x = Leaf(8, 512, 8, 64);
        using var frequencies = Rotary.InverseFrequencies(64, 500_000);
        using var positions = arange(512, ScalarType.Int64);
        (cosine, sine) = Rotary.Table(positions, frequencies);
    }

    protected override Tensor Ours() => Rotary.Forward(x, cosine, sine);

    protected override Tensor Composed()
    {
        var (cos, sin) = (cat([cosine, cosine], -1).unsqueeze(2).to(Type), cat([sine, sine], -1).unsqueeze(2).to(Type));
        var turned = cat([x.narrow(-1, 32, 32).neg(), x.narrow(-1, 0, 32)], -1);
        return x * cos + turned * sin;
    }
}

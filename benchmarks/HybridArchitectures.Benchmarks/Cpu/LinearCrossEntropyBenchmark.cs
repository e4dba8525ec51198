using BenchmarkDotNet.Attributes;
using HybridArchitectures.Kernels;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

public class LinearCrossEntropyBenchmark : OperatorBenchmark
{
    Tensor hidden = null!, weight = null!, targets = null!;

    [Params(256, 32_768)]
    public int Vocabulary { get; set; }

    protected override void Prepare()
    {
        int tokens = Vocabulary == 256 ? 4096 : 512;
        (hidden, weight) = (Leaf(tokens, 192), Leaf(Vocabulary, 192));
        targets = randint(0, Vocabulary, [tokens], ScalarType.Int64);
    }

    protected override Tensor Ours() => LinearCrossEntropy.Forward(hidden, weight, targets);

    protected override Tensor Composed() => nn.functional.cross_entropy(nn.functional.linear(hidden, weight).to(ScalarType.Float32), targets);
}

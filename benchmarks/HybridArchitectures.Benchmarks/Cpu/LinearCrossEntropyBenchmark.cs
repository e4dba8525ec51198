using BenchmarkDotNet.Attributes;
using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

public class LinearCrossEntropyBenchmark : OperatorBenchmark
{
    Tensor hidden = null!, weight = null!, targets = null!;

    [Params(256, 32_768)]
    public int VocabularySize { get; set; }

    protected override void Prepare()
    {
        int tokens = VocabularySize == 256 ? 4096 : 512;
        (hidden, weight) = (Leaf(tokens, 192), Leaf(VocabularySize, 192));
        targets = randint(0, VocabularySize, [tokens], ScalarType.Int64);
    }

    protected override Tensor Ours() => LinearCrossEntropy.Forward(hidden, weight, targets);

    protected override Tensor Composed() => nn.functional.cross_entropy(nn.functional.linear(hidden, weight).to(ScalarType.Float32), targets);
}

using BenchmarkDotNet.Attributes;
using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

/// <summary>Against TorchSharp's depthwise conv1d, which wants channels before time.</summary>
public class CausalConvolutionBenchmark : OperatorBenchmark
{
    Tensor x = null!, weight = null!, bias = null!;

    /// <summary>batch x length x channels; width 4.</summary>
    [Params("8x256x384", "1x2048x4096")]
    public string Sizes { get; set; } = "";

    protected override void Prepare()
    {
        var sizes = Sizes.Split('x').Select(long.Parse).ToArray();
        (x, weight, bias) = (Leaf(sizes), Leaf(sizes[2], 4), Leaf(sizes[2]));
    }

    protected override Tensor Ours() => CausalConvolution.Forward(x, weight, bias, silu: true).Output;

    protected override Tensor Composed() => nn.functional.silu(
        nn.functional.conv1d(x.transpose(1, 2), weight.unsqueeze(1), bias, padding: 3, groups: weight.size(0)).narrow(2, 0, x.size(1))).transpose(
        1, 2);
}

using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Compares the CUDA kernels of norms, SwiGLU and rotary embedding under emulation with the references in float64.</summary>
public class PointwiseCudaTests : IDisposable
{
    readonly IDisposable options = OperatorOptions.Use(new() { Backend = KernelBackend.Cuda });

    public void Dispose() => options.Dispose();

    static void Matches(OperatorCheck.Operator op, OperatorCheck.Operator reference, params Tensor?[] inputs) =>
        CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(op, reference, inputs));

    [Theory]
    [InlineData(3, 7, 1, true)]
    [InlineData(5, 64, 1, true)]
    [InlineData(4, 96, 8, true)]
    [InlineData(2, 4200, 1, true)]       // more than a block holds in registers, backward
    [InlineData(1, 2051, 1, true)]       // and forward
    [InlineData(7, 512, 1, true)]
    [InlineData(5, 200, 2, false)]
    [InlineData(135, 601, 1, true)]      // several rows per block
    [InlineData(3, 1028, 1, false)]
    [InlineData(2, 1230, 2, true)]
    [InlineData(1100, 1, 1, true)]
    public void Norm(int rows, int width, int groups, bool weighted)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        Matches(i => RmsNorm.Forward(i[0]!, i[1], 1e-5, groups), i => RmsNormReference.Forward(i[0]!, i[1], 1e-5, groups),
            OperatorCheck.Normal(rows, width), weighted ? OperatorCheck.Normal(width) : null);
    }

    [Theory]
    [InlineData(3, 132, 1, false)]
    [InlineData(3, 132, 1, true)]
    [InlineData(2, 1030, 2, false)]
    [InlineData(2, 1030, 2, true)]
    [InlineData(5, 96, 3, false)]
    [InlineData(37, 60, 1, true)]
    [InlineData(130, 400, 100, true)]    // several rows a few lanes
    [InlineData(1, 2051, 1, false)]
    [InlineData(1, 2051, 1, true)]
    public void Gated_norm(int rows, int width, int groups, bool normFirst)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        Matches(i => GatedRmsNorm.Forward(i[0]!, i[1]!, i[2], 1e-5, groups, normFirst),
            i => GatedRmsNormReference.Forward(i[0]!, i[1]!, i[2], 1e-5, groups, normFirst),
            OperatorCheck.Normal(rows, width), OperatorCheck.Normal(rows, width), OperatorCheck.Normal(width));
    }

    [Theory]
    [InlineData(3, 100, true, true)]
    [InlineData(3, 1100, true, true)]
    [InlineData(3, 100, true, false)]
    [InlineData(3, 100, false, true)]
    public void Norm_of_a_sum_and_the_sum(int rows, int width, bool output, bool sum)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        static Tensor Parts(Tensor a, Tensor b, bool first, bool second) => first && second ? cat([a, b], -1) : first ? a : b;
        Matches(
            i => { var (y, total) = RmsNorm.ForwardSum(i[0]!, i[1]!, i[2]); return Parts(y, total, output, sum); },
            i => { var total = i[0]!.add(i[1]!, Scalars.One); return Parts(RmsNormReference.Forward(total, i[2]), total, output, sum); },
            OperatorCheck.Normal(rows, width), OperatorCheck.Normal(rows, width), OperatorCheck.Normal(width));
    }

    [Theory]
    [InlineData(3, 7)]
    [InlineData(2, 4096)]
    [InlineData(1, 1)]
    public void Gated_activation(int rows, int width)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        Matches(i => SwiGlu.Forward(i[0]!, i[1]!), i => SwiGluReference.Forward(i[0]!, i[1]!), OperatorCheck.Normal(rows, width),
            OperatorCheck.Normal(rows, width));
        // halves of one projection, read as they lie
        Matches(i => SwiGlu.Forward(i[0]!.narrow(-1, 0, width), i[0]!.narrow(-1, width, width)),
            i => SwiGluReference.Forward(i[0]!.narrow(-1, 0, width), i[0]!.narrow(-1, width, width)), OperatorCheck.Normal(rows, 2 * width));
    }

    [Theory]
    [InlineData(2, 3, 4, 8, 4)]
    [InlineData(1, 5, 3, 32, 8)]
    [InlineData(2, 2, 1, 7, 3)]
    [InlineData(1, 2, 40, 64, 32)]
    public void Rotary_embedding(int batch, int length, int heads, int size, int pairs)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        foreach (int rows in new[] { 1, batch })
        {
            var (cosine, sine) = (rand(rows, length, pairs), rand(rows, length, pairs));
            Matches(i => Rotary.Forward(i[0]!, cosine, sine), i => RotaryReference.Forward(i[0]!, cosine, sine),
                OperatorCheck.Normal(batch, length, heads, size));
        }
    }

    [Fact]
    public void BFloat16_is_as_good_as_composed_operators()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        static Tensor Norm(Tensor x, Tensor weight) => x * rsqrt(x.square().mean([-1], true) + 1e-5) * weight;
        using var emulation = new CudaEmulation();
        foreach (int width in new[] { 263, 264, 2056 })
        {
            OperatorCheck.BFloat16IsAsGoodAsComposed(
                i => RmsNorm.Forward(i[0]!, i[1]), i => Norm(i[0]!, i[1]!), i => RmsNormReference.Forward(i[0]!, i[1]),
                [OperatorCheck.Normal(5, width), OperatorCheck.Normal(width)]);
            OperatorCheck.BFloat16IsAsGoodAsComposed(
                i => GatedRmsNorm.Forward(i[0]!, i[1]!, i[2]), i => Norm(i[0]! * nn.functional.silu(i[1]!), i[2]!),
                i => GatedRmsNormReference.Forward(i[0]!, i[1]!, i[2]),
                [OperatorCheck.Normal(5, width), OperatorCheck.Normal(5, width), OperatorCheck.Normal(width)]);
            OperatorCheck.BFloat16IsAsGoodAsComposed(i => SwiGlu.Forward(i[0]!, i[1]!), i => nn.functional.silu(i[0]!) * i[1]!,
                i => SwiGluReference.Forward(i[0]!, i[1]!), [OperatorCheck.Normal(5, width), OperatorCheck.Normal(5, width)]);
        }
        var (cosine, sine) = (rand(1, 3, 8), rand(1, 3, 8));
        OperatorCheck.BFloat16IsAsGoodAsComposed(
            i => Rotary.Forward(i[0]!, cosine, sine), i =>
            RotaryReference.Forward(i[0]!, cosine.to(ScalarType.BFloat16), sine.to(ScalarType.BFloat16)),
            i => RotaryReference.Forward(i[0]!, cosine, sine), [OperatorCheck.Normal(2, 3, 2, 24)]);
    }
}

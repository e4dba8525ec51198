using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Tests norms, SwiGLU and rotary embedding on a GPU, at the published sizes and beyond. Errors are at most twice those of composed operators of the
/// same dtype, over memory that contained NaN.
/// </summary>
[Trait("device", "cuda")]
public class PointwiseDeviceTests
{
    static readonly ScalarType[] Types = [ScalarType.BFloat16, ScalarType.Float32];

    static Tensor Normal(params long[] size) => randn(size, ScalarType.Float64, Gpu.Device);

    static Tensor ComposedNorm(Tensor x, Tensor? weight, int groups = 1)
    {
        var parts = x.unflatten(x.dim() - 1, groups, x.size(-1) / groups);
        var normed = (parts * parts.square().mean([-1], true).add(Scalars.From(1e-5)).rsqrt()).flatten(-2);
        return weight is null ? normed : normed * weight;
    }

    static void IsAsGoodAsComposed(
        OperatorCheck.Operator op, OperatorCheck.Operator composed, OperatorCheck.Operator reference, params Tensor?[] inputs)
    {
        foreach (var type in Types)
            OperatorCheck.IsAsGoodAsComposed(type, given =>
            {
                Gpu.PoisonFreeBlocks();
                return op(given);
            }, composed, reference, inputs);
    }

    [Theory]
    [InlineData(1, 192), InlineData(199, 192), InlineData(8192, 192), InlineData(199, 256), InlineData(1, 760), InlineData(199, 760),
        InlineData(199, 1024), InlineData(199, 1128)]
    [InlineData(8192, 4096), InlineData(1, 32_768), InlineData(199, 32_768), InlineData(199, 131_072), InlineData(1, 262_144),
        InlineData(199, 262_144)]
    [InlineData(45, 41), InlineData(70_000, 7), InlineData(4099, 123), InlineData(1000, 2048)]
    public void Norm(int rows, int width)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        IsAsGoodAsComposed(i => RmsNorm.Forward(i[0]!, i[1]), i => ComposedNorm(i[0]!, i[1]), i => RmsNormReference.Forward(i[0]!, i[1]),
            Normal(rows, width), Normal(width));
    }

    [Theory]
    [InlineData(300, 2048, 1), InlineData(300, 2048, 32), InlineData(300, 4096, 1), InlineData(300, 4096, 64), InlineData(65, 1230, 2),
        InlineData(3, 32_768, 1)]
    public void Norms_with_groups_gates_and_sums(int rows, int width, int groups)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        IsAsGoodAsComposed(i => RmsNorm.Forward(i[0]!, i[1], 1e-5, groups), i => ComposedNorm(i[0]!, i[1], groups),
            i => RmsNormReference.Forward(i[0]!, i[1], 1e-5, groups),
            Normal(rows, width), Normal(width));
        IsAsGoodAsComposed(i => RmsNorm.Forward(i[0]!, null, 1e-5, groups), i => ComposedNorm(i[0]!, null, groups),
            i => RmsNormReference.Forward(i[0]!, null, 1e-5, groups), Normal(rows, width));
        foreach (bool first in new[] { false, true })
            IsAsGoodAsComposed(i => GatedRmsNorm.Forward(i[0]!, i[1]!, i[2], 1e-5, groups, first),
                i => first ? ComposedNorm(i[0]!, i[2], groups) * nn.functional.silu(i[1]!)
                : ComposedNorm(i[0]! * nn.functional.silu(i[1]!), i[2], groups),
                i => GatedRmsNormReference.Forward(i[0]!, i[1]!, i[2], 1e-5, groups, first), Normal(rows, width), Normal(rows, width), Normal(width));
        if (groups > 1) return;
        Tensor Sum(IReadOnlyList<Tensor?> i, Func<Tensor, Tensor?, Tensor> norm)
        {
            var total = i[0]!.add(i[1]!, Scalars.One);
            return cat([norm(total, i[2]), total], -1);
        }
        IsAsGoodAsComposed(i => { var (y, total) = RmsNorm.ForwardSum(i[0]!, i[1]!, i[2]); return cat([y, total], -1); },
            i => Sum(i, (x, weight) => ComposedNorm(x, weight)),
            i => Sum(i, (x, weight) => RmsNormReference.Forward(x, weight)), Normal(rows, width), Normal(rows, width), Normal(width));
    }

    [Theory]
    [InlineData(1, 1), InlineData(615, 123), InlineData(63, 41), InlineData(70, 1000), InlineData(513, 11_008), InlineData(70_000, 65)]
    public void Gated_activation(int rows, int width)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        IsAsGoodAsComposed(i => SwiGlu.Forward(i[0]!, i[1]!), i => nn.functional.silu(i[0]!) * i[1]!, i => SwiGluReference.Forward(i[0]!, i[1]!),
            Normal(rows, width), Normal(rows, width));
        // halves of one projection, read as they lie
        Tensor Half(Tensor both, int part) => both.narrow(-1, part * width, width);
        IsAsGoodAsComposed(i => SwiGlu.Forward(Half(i[0]!, 0), Half(i[0]!, 1)), i => nn.functional.silu(Half(i[0]!, 0)) * Half(i[0]!, 1),
            i => SwiGluReference.Forward(Half(i[0]!, 0), Half(i[0]!, 1)), Normal(rows, 2 * width));
    }

    [Theory]
    [InlineData(2, 3, 4, 8, 4), InlineData(1, 513, 3, 64, 32), InlineData(2, 33, 5, 59, 16), InlineData(1, 4099, 2, 128, 64)]
    public void Rotary_embedding(int batch, int length, int heads, int size, int pairs)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        foreach (int rows in new[] { 1, batch })
        {
            var (cosine, sine) = (rand([rows, length, pairs], ScalarType.Float32, Gpu.Device),
                rand([rows, length, pairs], ScalarType.Float32, Gpu.Device));
            IsAsGoodAsComposed(i => Rotary.Forward(i[0]!, cosine, sine),
                i => RotaryReference.Forward(i[0]!, cosine.to(i[0]!.dtype), sine.to(i[0]!.dtype)),
                i => RotaryReference.Forward(i[0]!, cosine.to(ScalarType.Float64), sine.to(ScalarType.Float64)), Normal(batch, length, heads, size));
        }
    }

    [Fact]
    public void A_hundred_runs_are_equal_to_the_bit()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        var (x, y, gate, weight) = (Normal(5000, 1030), Normal(5000, 1030), Normal(5000, 1030), Normal(1030));
        foreach (var type in Types)
        {
            Repeats(type, i => RmsNorm.Forward(i[0]!, i[1]), x, weight);
            Repeats(type, i => GatedRmsNorm.Forward(i[0]!, i[1]!, i[2], 1e-5, 2), x, gate, weight);
            Repeats(type, i => RmsNorm.ForwardSum(i[0]!, i[1]!, i[2]).Output, x, y, weight);
            Repeats(type, i => SwiGlu.Forward(i[0]!, i[1]!), x, gate);
        }
    }

    internal static void Repeats(ScalarType type, OperatorCheck.Operator op, params Tensor[] inputs)
    {
        using var scope = NewDisposeScope();
        var leaves = inputs.Select(input => input.to(type).detach().clone().requires_grad_()).ToArray();
        Tensor[]? first = null;
        var differing = zeros([1], ScalarType.Int64, Gpu.Device);
        Tensor? direction = null;
        for (int run = 0; run < 100; run++)
        {
            using var inner = NewDisposeScope();
            var output = op(leaves);
            direction ??= OperatorCheck.Direction(output).MoveToOtherDisposeScope(differing);
            Autograd.Backward(output, direction);
            Tensor[] results = [output.detach(), .. leaves.Select(leaf => leaf.grad!)];
            if (first is null) first = [.. results.Select(result => result.clone().MoveToOtherDisposeScope(differing))];
            else
                for (int i = 0; i < results.Length; i++) differing.add_(results[i].ne(first[i]).sum(), Scalars.One);
            foreach (var leaf in leaves) leaf.grad = null;
        }
        Assert.Equal(0, differing.item<long>());
    }
}

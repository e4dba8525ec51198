using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests tensors of more than 2^31 elements on a GPU. Results past that element equal those of a small call.</summary>
[Trait("device", "cuda")]
public class LargeTensorDeviceTests
{
    static Tensor Huge(params long[] size) => randn(size, ScalarType.BFloat16, Gpu.Device);

    // the first and last rows of output and gradients against a call over those rows alone
    static void RowsEqualThemselvesAlone(OperatorCheck.Operator op, Tensor[] huge, Tensor? weight = null)
    {
        Assert.True(huge.Max(tensor => tensor.NumberOfElements) > int.MaxValue);
        Tensor?[] leaves = [.. huge.Select(tensor => tensor.requires_grad_()), weight];
        var output = op(leaves);
        var direction = randn_like(output);
        Autograd.Backward(output, direction);
        long rows = output.size(0);
        foreach (var (start, count) in new[] { (0L, 3L), (rows - 5, 5L) })
        {
            using var inner = NewDisposeScope();
            Tensor?[] parts = [.. huge.Select(tensor => tensor.detach().narrow(0, start, count).clone().requires_grad_()), weight?.detach()];
            var own = op(parts);
            Autograd.Backward(own, direction.narrow(0, start, count).clone());
            OperatorCheck.Close(own.detach(), output.detach().narrow(0, start, count), 8e-3, "the output");
            for (int i = 0; i < huge.Length; i++)
                OperatorCheck.Close(parts[i]!.grad!, huge[i].grad!.narrow(0, start, count), 8e-3, $"the gradient of input {i}");
        }
    }

    [Fact]
    public void Norms()
    {
        Gpu.IsNeeded();
        using var random = manual_seed(1);
        using (NewDisposeScope())
            RowsEqualThemselvesAlone(i => RmsNorm.Forward(i[0]!, i[1]), [Huge(1_048_583, 2050)], randn([2050], ScalarType.Float32, Gpu.Device));
        using (NewDisposeScope())
            RowsEqualThemselvesAlone(i => GatedRmsNorm.Forward(i[0]!, i[1]!, i[2], 1e-5, 2), [Huge(524_293, 4100), Huge(524_293, 4100)],
            randn([4100], ScalarType.Float32, Gpu.Device));
    }

    [Fact]
    public void The_weights_gradient_of_a_norm_over_all_rows_is_the_sum_of_its_parts()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        var (x, direction) = (Huge(1_048_583, 2050), Huge(1_048_583, 2050));
        Tensor Gradient(long start, long count)
        {
            using var inner = NewDisposeScope();
            var weight = ones([2050], ScalarType.Float32, Gpu.Device).requires_grad_();
            Autograd.Backward(RmsNorm.Forward(x.narrow(0, start, count), weight), direction.narrow(0, start, count));
            return weight.grad!.to(ScalarType.Float64).MoveToOuterDisposeScope();
        }
        var (whole, first, second) = (Gradient(0, 1_048_583), Gradient(0, 400_000), Gradient(400_000, 648_583));
        // float32 sums over a million rows whose terms have no sign in common
        OperatorCheck.Close(first.add(second, Scalars.One), whole, 1e-5, "the weight's gradient");
    }

    [Fact]
    public void SwiGlu_over_halves_of_one_projection()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        RowsEqualThemselvesAlone(i => SwiGlu.Forward(i[0]!.narrow(-1, 0, 8192), i[0]!.narrow(-1, 8192, 8192)), [Huge(131_083, 16_384)]);
    }

    [Fact]
    public void Rotary_embedding()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        var (cosine, sine) = (rand([1, 4099, 32], ScalarType.Float32, Gpu.Device), rand([1, 4099, 32], ScalarType.Float32, Gpu.Device));
        RowsEqualThemselvesAlone(i => Rotary.Forward(i[0]!, cosine, sine), [Huge(257, 4099, 32, 64)]);
    }

    [Fact]
    public void Steps_of_both_scans()
    {
        Gpu.IsNeeded();
        using var random = manual_seed(5);
        using var noGrad = no_grad();
        const long Batch = 2056, Heads = 64, Size = 64, States = 256;
        static Tensor Part(Tensor tensor) => tensor.narrow(0, Batch - 2, 2).clone();
        using (NewDisposeScope())
        {
            var (state, a) = (randn([Batch, Heads, Size, States], ScalarType.Float32, Gpu.Device), -rand([Heads], ScalarType.Float32, Gpu.Device));
            var (x, step, b, c) = (Huge(Batch, Heads, Size), Huge(Batch, Heads), Huge(Batch, 1, States), Huge(Batch, 1, States));
            var own = Part(state);
            var (expected, output) = (StateSpaceDual.Step(own, Part(x), Part(step), a, Part(b), Part(c), softplus: true),
                StateSpaceDual.Step(state, x, step, a, b, c, softplus: true));
            OperatorCheck.Close(expected, output.narrow(0, Batch - 2, 2), 1e-5, "the dual's output");
            OperatorCheck.Close(own, state.narrow(0, Batch - 2, 2), 1e-6, "the dual's state");
        }
        using (NewDisposeScope())
        {
            var (state, a) = (randn([Batch, Heads * Size, States], ScalarType.Float32, Gpu.Device),
                -rand([Heads * Size, States], ScalarType.Float32, Gpu.Device));
            var (x, step, b, c) = (Huge(Batch, Heads * Size), Huge(Batch, Heads * Size), Huge(Batch, 1, States), Huge(Batch, 1, States));
            var own = Part(state);
            var (expected, output) = (SelectiveScan.Step(own, Part(x), Part(step), a, Part(b), Part(c), softplus: true),
                SelectiveScan.Step(state, x, step, a, b, c, softplus: true));
            OperatorCheck.Close(expected, output.narrow(0, Batch - 2, 2), 1e-5, "the scan's output");
            OperatorCheck.Close(own, state.narrow(0, Batch - 2, 2), 1e-6, "the scan's state");
        }
    }

    [Fact]
    public void Linear_cross_entropy_over_more_logits_than_that()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        const long Tokens = 17_000, Classes = 128_256;
        var (hidden, weight) = (Huge(Tokens, 64).requires_grad_(), Huge(Classes, 64).mul_(Scalars.From(0.1)).detach());
        var targets = randint(0, Classes, [Tokens], ScalarType.Int64, Gpu.Device);
        var loss = LinearCrossEntropy.Forward(hidden, weight, targets);
        Autograd.Backward(loss);
        var last = hidden.detach().narrow(0, Tokens - 100, 100).clone().requires_grad_();
        Autograd.Backward(LinearCrossEntropy.Forward(last, weight, targets.narrow(0, Tokens - 100, 100)));
        // gradients of means over another number of tokens, both rounded to bfloat16
        var (own, all) = (last.grad!.to(ScalarType.Float64) * (100.0 / Tokens), hidden.grad!.narrow(0, Tokens - 100, 100).to(ScalarType.Float64));
        var size = own.abs().max();
        OperatorCheck.Close(own / size, all / size, 8e-3, "the last tokens' gradients");
        using var noGrad = no_grad();
        OperatorCheck.Close(LinearCrossEntropy.TokenLosses(hidden, weight, targets).to(ScalarType.Float64).mean(), loss.detach(), 1e-5, "the loss");
    }
}

using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Kernels.Tests.Cuda;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class RecomputedLinearTests
{
    static SwiGluProduct Product(IReadOnlyList<Tensor> inputs) => new(inputs[0], inputs[1]);

    static GatedNormProduct Norm(IReadOnlyList<Tensor> inputs, bool normFirst) => new(new(inputs[0], inputs[1], inputs[2], 1e-5, 2, normFirst));

    static GatedNormProduct HeadNorm(IReadOnlyList<Tensor> inputs) =>
        new(new(inputs[0], inputs[1], inputs[2], 1e-5, 1, NormFirst: true), JoinsHeads: true);

    static void EqualProjectionsOfSavedInputs(ScalarType type, ScalarType weightType, bool bias, bool frozen)
    {
        using var random = manual_seed(1);
        Tensor[] pair = [randn(3, 19, 24), randn(3, 19, 24)], heads = [randn(3, 5, 4, 16), randn(3, 5, 4, 16)];
        RecomputedLinearOperator.EqualsProjectionOfSavedInput(Product, pair, type, weightType, bias, frozen);
        RecomputedLinearOperator.EqualsProjectionOfSavedInput(
            inputs => new SwiGluProduct(inputs[0].mul(Scalars.Two), inputs[1].mul(Scalars.Two)) { OwnsInputs = true }, pair, type, weightType, bias,
            frozen);
        // halves of one projection
        RecomputedLinearOperator.EqualsProjectionOfSavedInput(
            inputs => Product([inputs[0].narrow(-1, 0, 12), inputs[0].narrow(-1, 12, 12)]), [pair[0]], type, weightType, bias, frozen);
        foreach (bool normFirst in (bool[])[false, true])
            RecomputedLinearOperator.EqualsProjectionOfSavedInput(
                inputs => Norm(inputs, normFirst), [.. pair, randn(24)], type, weightType, bias, frozen);
        RecomputedLinearOperator.EqualsProjectionOfSavedInput(HeadNorm, [.. heads, randn(16)], type, weightType, bias, frozen);
    }

    [Theory]
    [InlineData(ScalarType.Float32, ScalarType.Float32), InlineData(ScalarType.BFloat16, ScalarType.BFloat16),
        InlineData(ScalarType.BFloat16, ScalarType.Float32)]
    public void Results_are_those_of_a_projection_of_a_saved_input_to_the_bit(ScalarType type, ScalarType weightType)
    {
        using var scope = NewDisposeScope();
        foreach (bool bias in (bool[])[false, true])
            foreach (bool frozen in (bool[])[false, true]) EqualProjectionsOfSavedInputs(type, weightType, bias, frozen);
    }

    [Theory]
    [InlineData(ScalarType.Float32, ScalarType.Float32), InlineData(ScalarType.BFloat16, ScalarType.Float32)]
    public void Gradients_need_no_output(ScalarType type, ScalarType weightType)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        Tensor[] values = [randn(3, 19, 24).to(type), randn(3, 19, 24).to(type), randn(11, 24).to(weightType), randn(11).to(weightType)];
        var direction = randn(3, 19, 11).to(type);
        Tensor[] Gradients(bool omitsOutput)
        {
            var leaves = Array.ConvertAll(values, value => value.detach().requires_grad_());
            var output = RecomputedLinear.Forward(new SwiGluProduct(leaves[0], leaves[1]), leaves[2], leaves[3], omitsOutput);
            Assert.Equal((direction.dtype, (3L, 19L, 11L)), (output.dtype, (output.size(0), output.size(1), output.size(2))));
            Autograd.Backward(output, direction);
            return Array.ConvertAll(leaves, leaf => leaf.grad!);
        }
        var (expected, actual) = (Gradients(false), Gradients(true));
        for (int i = 0; i < expected.Length; i++) Assert.True(expected[i].equal(actual[i]).all().item<bool>(), $"gradient {i} differs");
    }

    [Theory]
    [InlineData(ScalarType.Float32, ScalarType.Float32), InlineData(ScalarType.BFloat16, ScalarType.Float32)]
    public void The_CUDA_kernels_write_the_input_again_to_the_bit(ScalarType type, ScalarType weightType)
    {
        using var options = OperatorOptions.Use(new() { Backend = KernelBackend.Cuda });
        using var scope = NewDisposeScope();
        CudaEmulation.BothOrders(() => EqualProjectionsOfSavedInputs(type, weightType, bias: true, frozen: false));
        using var emulation = new CudaEmulation();
        EqualProjectionsOfSavedInputs(type, weightType, bias: false, frozen: true);
    }

    [Theory]
    [InlineData(true, false, true), InlineData(false, false, false), InlineData(true, true, false)]
    public void Gradients_take_the_memory_of_inputs_that_nothing_else_reads(bool owns, bool keepsGraph, bool isTaken)
    {
        using var options = OperatorOptions.Use(new() { Backend = KernelBackend.Cuda });
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        using var emulation = new CudaEmulation();
        var (leaf, up, weight) = (randn(3, 24).requires_grad_(), randn(3, 24), randn(8, 24).requires_grad_());
        nint received = 0;
        var gate = Autograd.Apply([leaf], _ => [leaf.mul(Scalars.Two)], context =>
        {
            received = TensorMemory.Pointer(context.Gradients[0]!);
            return [context.Gradients[0]!.mul(Scalars.Two)];
        })[0];
        var output = RecomputedLinear.Forward(new SwiGluProduct(gate, up) { OwnsInputs = owns }, weight, null);
        Autograd.Backward(output.sum(), retainGraph: keepsGraph);
        Assert.Equal(isTaken, received == TensorMemory.Pointer(gate));
    }

    [Theory]
    [InlineData(1, 1), InlineData(5, 123), InlineData(129, 34)]
    public void Gradients_match_float64_reference(int rows, int width)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        Tensor[] pair = [OperatorCheck.Normal(2, rows, width), OperatorCheck.Normal(2, rows, width)];
        RecomputedLinearOperator.MatchesReference(Product, given => SwiGluReference.Forward(given[0]!, given[1]!), pair);
        if (width % 2 > 0) return;
        RecomputedLinearOperator.MatchesReference(inputs => Norm(inputs, false),
            given => GatedRmsNormReference.Forward(given[0]!, given[1]!, given[2], 1e-5, 2, false), [.. pair, OperatorCheck.Normal(width)]);
    }

    [Fact]
    public void A_graph_that_is_kept_gives_the_same_gradients_twice()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        Tensor[] leaves = [.. ((Tensor[])[randn(4, 8), randn(4, 8), randn(3, 8)]).Select(value => value.requires_grad_())];
        var output = RecomputedLinear.Forward(Product(leaves), leaves[2], null).sum();
        Autograd.Backward(output, retainGraph: true);
        var first = Array.ConvertAll(leaves, leaf => leaf.grad!.clone());
        Autograd.Backward(output);
        for (int i = 0; i < leaves.Length; i++) Assert.True(leaves[i].grad!.equal(first[i] * 2).all().item<bool>());
    }

    [Fact]
    public void Passes_without_gradients_other_types_and_the_reference_are_not_served()
    {
        using var scope = NewDisposeScope();
        var (gate, weight) = (randn(5, 8), randn(3, 8));
        bool Serves(ScalarType type, ScalarType weightType) =>
            RecomputedLinear.Serves(new SwiGluProduct(gate.to(type), gate.to(type)), weight.to(weightType), null);
        Assert.True(Serves(ScalarType.Float32, ScalarType.Float32));
        Assert.False(Serves(ScalarType.Float32, ScalarType.BFloat16));
        Assert.False(Serves(ScalarType.Float64, ScalarType.Float64));
        using (OperatorOptions.Use(new() { SwiGluBackend = KernelBackend.Reference })) Assert.False(Serves(ScalarType.Float32, ScalarType.Float32));
        using var noGrad = no_grad();
        Assert.False(Serves(ScalarType.Float32, ScalarType.Float32));
    }
}

using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class FewRowsLinearTests
{
    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(1, 5, 7)]
    [InlineData(3, 33, 40)]
    [InlineData(4, 257, 123)]
    [InlineData(2, 1000, 384)]
    public void Outputs_err_no_more_than_a_matrix_product(int rows, int outputs, int inputs)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        Tensor x = randn(rows, inputs), weight = randn(outputs, inputs), bias = randn(outputs);
        foreach (var (type, weightType) in new[] { (ScalarType.Float32, ScalarType.Float32), (ScalarType.BFloat16, ScalarType.BFloat16),
            (ScalarType.BFloat16, ScalarType.Float32), (ScalarType.Float32, ScalarType.BFloat16) })
        {
            Tensor input = x.to(type), matrix = weight.to(weightType), shift = bias.to(weightType);
            Assert.Equal(KernelBackend.Cpu, FewRowsLinear.BackendFor(input, matrix));
            Tensor Exact(Tensor? with) =>
                nn.functional.linear(input.to(ScalarType.Float64), matrix.to(ScalarType.Float64), with?.to(ScalarType.Float64));
            Tensor Composed(Tensor? with) => nn.functional.linear(input, matrix.to(type), with?.to(type)).to(ScalarType.Float64);
            foreach (var with in new[] { null, shift })
            {
                var output = FewRowsLinear.Forward(input, matrix, with);
                Assert.Equal((type, false), (output.dtype, output.requires_grad));
                OperatorCheck.ErrsAtMostTwice($"{type}, {weightType}", output.to(ScalarType.Float64), Composed(with), Exact(with));
            }
        }
    }

    [Fact]
    public void A_transposed_weight_and_a_slice_of_inputs_are_read_as_they_are_meant()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        Tensor x = randn(3, 20).narrow(1, 4, 9), weight = randn(9, 14).t();
        Assert.True(FewRowsLinear.Forward(x, weight).allclose(x.mm(weight.t()), 1e-5, 1e-5));
    }

    [Fact]
    public void Rows_may_be_in_any_dimensions()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        Tensor x = randn(2, 1, 2, 9), weight = randn(5, 9);
        Assert.Equal([2, 1, 2, 5], FewRowsLinear.Forward(x, weight).shape);
        Assert.True(FewRowsLinear.Forward(x, weight).allclose(FewRowsLinear.Forward(x.reshape(4, 9), weight).view(2, 1, 2, 5), 0, 0));
        Assert.True(FewRowsLinear.Forward(x[0, 0, 0], weight).allclose(weight.mv(x[0, 0, 0]), 1e-5, 1e-5));
    }

    [Theory]
    [InlineData(1, 384, 1024)]
    [InlineData(3, 40, 33)]
    public void Projections_of_one_input_together_equal_single_ones_to_the_bit(int rows, int inputs, int outputs)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        foreach (var type in new[] { ScalarType.Float32, ScalarType.BFloat16 })
        {
            Tensor x = randn(1, rows, inputs).to(type), bias = randn(outputs);
            (Tensor Weight, Tensor? Bias)[] projections =
                [(randn(outputs, inputs), bias), (randn(7, inputs).to(ScalarType.BFloat16), null), (randn(outputs, inputs).to(type), null)];
            var together = FewRowsLinear.ForwardMany(x, projections);
            for (int i = 0; i < projections.Length; i++)
                Assert.True(together[i].Equals(FewRowsLinear.Forward(x, projections[i].Weight, projections[i].Bias)), $"projection {i} in {type}");
        }
    }

    [Theory]
    [InlineData(1, 384, 50), InlineData(3, 40, 33), InlineData(2, 7, 300)]
    public void Operations_in_the_same_pass_on_the_CPU_equal_separate_ones_to_the_bit(int rows, int inputs, int outputs)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        Tensor x = randn(1, rows, inputs), gate = randn(rows, 2 * inputs).narrow(1, 3, inputs).unsqueeze(0), scale = randn(inputs),
            residual = randn(1, rows, outputs);
        (Tensor Weight, Tensor? Bias) first = (randn(outputs, inputs).to(ScalarType.BFloat16), randn(outputs)),
            second = (randn(outputs, inputs), null);
        Tensor One(Tensor input, (Tensor Weight, Tensor? Bias) by) => FewRowsLinear.Forward(input, by.Weight, by.Bias);
        void Same(Tensor expected, Tensor[]? results, string what) => Assert.True(Assert.Single(results!).Equals(expected), what);

        var plain = new FewRowsFusion(FewRowsNorm.Plain, scale, 1e-5);
        var normed = RmsNorm.Forward(x, scale, 1e-5);
        var both = FewRowsLinear.ForwardFused(x, [first, second], false, plain)!;
        Assert.True(both[0].Equals(One(normed, first)) && both[1].Equals(One(normed, second)), "norm");
        Same(SwiGlu.Forward(One(normed, first), One(normed, second)), FewRowsLinear.ForwardFused(x, [first, second], true, plain), "norm and SwiGLU");
        Same(residual + One(GatedRmsNorm.Forward(x, gate, scale, 1e-6), first),
            FewRowsLinear.ForwardFused(x, [first], false, new(FewRowsNorm.Gated, scale, 1e-6, gate, residual)), "gated norm and sum");
        Same(residual + One(x, second), FewRowsLinear.ForwardFused(x, [second], false, new(Residual: residual)), "sum");
        Assert.Null(FewRowsLinear.ForwardFused(x, [first], false, new(IsWide: true)));
        Assert.Null(FewRowsLinear.ForwardFused(x.to(ScalarType.BFloat16), [first], false, plain));
    }

    [Theory]
    [InlineData(true), InlineData(false)]
    public void A_convolution_in_the_same_pass_on_the_CPU_equals_its_step_to_the_bit(bool bias)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        const int Rows = 3, Inputs = 400, Outputs = 210, First = 21, Channels = 150;
        Tensor x = randn(Rows, 1, Inputs), weight = randn(Outputs, Inputs), filter = randn(Channels, 4), state = randn(Rows, 3, Channels);
        var shift = bias ? randn(Channels) : null;
        var (expectedState, expected) = (state.clone(), FewRowsLinear.Forward(x, weight));
        var channels = expected.narrow(2, First, Channels);
        channels.copy_(CausalConvolution.Step(expectedState, channels.select(1, 0), filter, shift, silu: true).unsqueeze(1));
        var fusion = new FewRowsFusion(Convolution: new FewRowsConvolutionStep(state, filter, shift, First, IsSilu: true));
        Assert.Null(FewRowsLinear.ForwardFused(randn(1, 2, Inputs), [(weight, null)], false, fusion));
        var result = FewRowsLinear.ForwardFused(x, [(weight, null)], false, fusion);
        Assert.True(Assert.Single(result!).Equals(expected));
        Assert.True(state.Equals(expectedState));
    }

    [Fact]
    public void Many_rows_are_left_to_libtorch()
    {
        using var scope = NewDisposeScope();
        Assert.Equal(KernelBackend.LibTorch, FewRowsLinear.BackendFor(zeros(FewRowsLinear.MaxRows + 1, 8), zeros(4, 8)));
        Assert.True(FewRowsLinear.Forward(ones(9, 8), ones(4, 8)).eq(8).all().item<bool>());
    }

    [Fact]
    public void Bad_arguments_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        Refusal.Expect("x", "(2, 0)", () => FewRowsLinear.Forward(zeros(2, 0), zeros(4, 0)));
        Refusal.Expect("weight", "(4, 7)", () => FewRowsLinear.Forward(zeros(2, 8), zeros(4, 7)));
        Refusal.Expect("weight", "Float16", () => FewRowsLinear.Forward(zeros(2, 8), zeros(4, 8, ScalarType.Float16)));
        Refusal.Expect("bias", "(3)", () => FewRowsLinear.Forward(zeros(2, 8), zeros(4, 8), zeros(3)));
    }
}

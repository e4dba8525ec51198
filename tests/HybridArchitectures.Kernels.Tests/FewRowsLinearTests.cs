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

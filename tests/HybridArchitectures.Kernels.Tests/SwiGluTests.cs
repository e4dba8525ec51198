using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class SwiGluTests
{
    static Tensor Op(IReadOnlyList<Tensor?> inputs) => SwiGlu.Forward(inputs[0]!, inputs[1]!);

    static Tensor Reference(IReadOnlyList<Tensor?> inputs) => SwiGluReference.Forward(inputs[0]!, inputs[1]!);

    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 7)]
    [InlineData(5, 123)]
    [InlineData(129, 257)]
    public void Gradients_match_float64_reference(int rows, int width)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        OperatorCheck.MatchesReference(Op, Reference, [OperatorCheck.Normal(rows, width) * 3, OperatorCheck.Normal(rows, width)]);
        OperatorCheck.MatchesReference(Op, Reference, [OperatorCheck.Normal(2, rows, width), OperatorCheck.Normal(2, rows, width)]);
    }

    [Fact]
    public void BFloat16_is_as_good_as_composed_operators()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        OperatorCheck.BFloat16IsAsGoodAsComposed(
            Op, inputs => nn.functional.silu(inputs[0]!) * inputs[1]!, Reference, [OperatorCheck.Normal(37, 261), OperatorCheck.Normal(37, 261)]);
    }

    [Fact]
    public void Halves_of_one_projection_equal_their_copies()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var both = randn(3, 5, 34);
        var output = SwiGlu.Forward(both.narrow(-1, 0, 17), both.narrow(-1, 17, 17));
        Assert.True(output.equal(SwiGlu.Forward(both.narrow(-1, 0, 17).clone(), both.narrow(-1, 17, 17).clone())).all().item<bool>());
        static Tensor Half(IReadOnlyList<Tensor?> given, long start) => given[0]!.narrow(-1, start, 17);
        OperatorCheck.MatchesReference(
            given => SwiGlu.Forward(Half(given, 0), Half(given, 17)), given =>
            SwiGluReference.Forward(Half(given, 0), Half(given, 17)), [OperatorCheck.Normal(3, 5, 34)]);
    }

    [Fact]
    public void Closed_and_wide_open_gates_stay_finite()
    {
        using var scope = NewDisposeScope();
        var gate = tensor(new float[] { -1e30f, -1e4f, -104, -89, -88, 0, 88, 89, 1e4f, 1e30f }).requires_grad_(); var up = ones(10).requires_grad_();
        var output = SwiGlu.Forward(gate, up);
        Autograd.Backward(output.sum());
        Assert.True(output.isfinite().all().item<bool>() && gate.grad!.isfinite().all().item<bool>() && up.grad!.isfinite().all().item<bool>());
        Assert.True(output.allclose(SwiGluReference.Forward(gate, up), 1e-6, 1e-37));
    }

    [Fact]
    public void A_NaN_stays_visible()
    {
        using var scope = NewDisposeScope();
        Assert.True(SwiGlu.Forward(full(20, float.NaN), ones(20)).isnan().all().item<bool>());
        Assert.True(SwiGlu.Forward(ones(20), full(20, float.NaN)).isnan().all().item<bool>());
    }

    [Fact]
    public void Steps_stay_right_under_continuous_garbage_collection()
    {
        using var outer = NewDisposeScope();
        var gate = full(64, 2.0f).requires_grad_(); var up = full(64, 3.0f).requires_grad_();
        float silu = 2 / (1 + MathF.Exp(-2));
        OperatorCheck.UnderGarbageCollection(TimeSpan.FromSeconds(1.5), 21, () =>
        {
            using var scope = NewDisposeScope();
            var normed = RmsNorm.Forward(SwiGlu.Forward(gate, up), null);
            Autograd.Backward(SwiGlu.Forward(gate, up).add(GatedRmsNorm.Forward(normed, normed, null), Scalars.One).sum());
            Assert.Equal(silu, up.grad![5].item<float>(), 1e-3);
            gate.grad!.zero_(); up.grad!.zero_();
        });
    }

    [Fact]
    public void The_back_end_can_be_forced_and_is_reported()
    {
        using var scope = NewDisposeScope();
        var (gate, up) = (randn(3, 9), randn(3, 9));
        Assert.Equal(KernelBackend.Cpu, SwiGlu.BackendFor(gate));
        Assert.Equal(KernelBackend.Reference, SwiGlu.BackendFor(gate.to(ScalarType.Float64)));
        var vectorised = SwiGlu.Forward(gate, up);
        using (OperatorOptions.Use(new() { SwiGluBackend = KernelBackend.Reference }))
        {
            Assert.Equal(KernelBackend.Reference, SwiGlu.BackendFor(gate));
            Assert.True(SwiGlu.Forward(gate, up).allclose(vectorised, 1e-6, 1e-6));
        }
        using (OperatorOptions.Use(new() { SwiGluBackend = KernelBackend.Cpu }))
            Assert.Contains("Float64", Assert.ThrowsAny<ArgumentException>(
                () => SwiGlu.Forward(gate.to(ScalarType.Float64), up.to(ScalarType.Float64))).Message);
        Assert.Equal(KernelBackend.Cpu, SwiGlu.BackendFor(gate));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(5)]
    public void The_number_of_threads_changes_no_bit(int threads)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        Tensor?[] inputs = [OperatorCheck.Normal(1000, 130), OperatorCheck.Normal(1000, 130), OperatorCheck.Normal(130)];
        Tensor[] All() => OperatorCheck.Run(
            given => GatedRmsNorm.Forward(SwiGlu.Forward(given[0]!, given[1]!), given[1]!, given[2]), inputs, ScalarType.Float32);
        int before = get_num_threads();
        var expected = All();
        try
        {
            set_num_threads(threads);
            foreach (var (one, other) in expected.Zip(All())) Assert.True(one.equal(other).all().item<bool>());
        }
        finally
        {
            set_num_threads(before);
        }
    }

    [Fact]
    public void Bad_input_is_refused_by_name()
    {
        using var scope = NewDisposeScope();
        Refusal.Expect("up", "(2, 3)", () => SwiGlu.Forward(zeros(2, 4), zeros(2, 3)));
        Refusal.Expect("up", "Float64", () => SwiGlu.Forward(zeros(2, 4), zeros(2, 4, ScalarType.Float64)));
        Refusal.Expect("gate", "Int64", () => SwiGlu.Forward(zeros(2, 4, ScalarType.Int64), zeros(2, 4)));
        Refusal.Expect("gate", "", () => SwiGlu.Forward(null!, zeros(2, 4)));
    }
}

using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Tests.Cuda;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Tests steps of the gated delta rule that scale queries and keys, and compute strengths and decays.</summary>
public class ProjectedDeltaTests
{
    const int Rows = 3, Length = 4;

    [Theory]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void They_equal_the_formulas_in_float64(ScalarType type)
    {
        using var options = OperatorOptions.Use(new() { Backend = KernelBackend.Cuda });
        CudaEmulation.BothOrders(() => CheckAll(type, CPU));
    }

    [Theory, Trait("device", "cuda")]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void They_do_on_a_GPU(ScalarType type)
    {
        Gpu.IsNeeded();
        using (Gpu.Poisoned()) CheckAll(type, CUDA);
    }

    static void CheckAll(ScalarType type, Device device)
    {
        foreach (var (heads, groups, keys, values) in new[] { (4, 2, 5, 3), (3, 3, 128, 33) })
            foreach (bool decays in new[] { true, false }) Check(type, device, heads, groups, keys, values, decays);
    }

    static void Check(ScalarType type, Device device, int heads, int groups, int keySize, int valueSize, bool decays)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        using var noGrad = no_grad();
        // as the convolution and a projection leave them: slices, and the rates of each group together
        var convolved = randn([Rows, Length, (2 * groups * keySize) + (heads * valueSize)], type, device);
        var parts = convolved.split([groups * keySize, groups * keySize, heads * valueSize], -1);
        Tensor Of(int part, int count) => parts[part].view(Rows, Length, count, -1);
        convolved[0, 1].zero_();        // vectors without a length
        var rates = 3 * randn([Rows, Length, groups, heads / groups * (decays ? 2 : 1)], type, device);
        Tensor bias = randn([heads], type, device), a = -rand([heads], ScalarType.Float32, device);
        var inputs = new DeltaRuleInputs(Of(0, groups), Of(1, groups), Of(2, heads), rates, rates)
        {
            Projected = new(decays ? bias : null, decays ? a : null, 0.3, 2, 1e-6),
        };
        var initial = randn([Rows, heads, keySize, valueSize], ScalarType.Float32, device);
        var (expected, final) = Formula(inputs, initial);

        var (stepped, passed) = (initial.clone(), initial.clone());
        var outputs = stack([.. Enumerable.Range(0, Length).Select(t => GatedDeltaRule.ComputeStep(stepped, inputs.Map(x => x?.select(1, t))))], 1);
        var (together, replay) = GatedDeltaRule.Steps(passed, inputs);
        using (replay)
        {
            Assert.True(together.equal(outputs).all().item<bool>() && passed.equal(stepped).all().item<bool>(), "a pass equals single steps");
            // the first row keeps two tokens, the second none, the last all
            replay.Run(passed, tensor([2L, 0, Length], device: device));
            Assert.True(passed[1].equal(initial[1]).all().item<bool>() && passed[2].equal(stepped[2]).all().item<bool>());
        }
        Assert.Equal(type, outputs.dtype);
        Close(expected, outputs, type == ScalarType.BFloat16 ? 8e-3 : 2e-5);
        Close(final, stepped, 2e-5);
    }

    static void Close(Tensor expected, Tensor actual, double tolerance)
    {
        double scale = expected.abs().max().item<double>();
        double error = (expected - actual.to(ScalarType.Float64)).abs().max().item<double>() / scale;
        Assert.True(error < tolerance, $"{error:e2} of the maximum; expected less than {tolerance:e0}");
    }

    // q = 0.3 q / |q|, k = k / |k|, strength = 2 sigmoid(r), decay = a softplus(r' + bias)
    static (Tensor Output, Tensor Final) Formula(DeltaRuleInputs inputs, Tensor initial)
    {
        Tensor Wide(Tensor x) => x.to(ScalarType.Float64);
        Tensor Unit(Tensor x) => Wide(x) / (Wide(x).square().sum(-1, keepdim: true) + 1e-6).sqrt();
        int each = (int)(inputs.Heads / inputs.Key.size(2));
        var rates = Wide(inputs.Decay);
        var strength = (2 * rates.narrow(-1, 0, each).sigmoid()).flatten(2);
        var decay = inputs.Projected!.A is not { } a ? zeros_like(strength)
            : Wide(a) * nn.functional.softplus(rates.narrow(-1, each, each).flatten(2) + Wide(inputs.Projected.Bias!));
        using var options = OperatorOptions.Use(new() { Backend = KernelBackend.Reference });
        return GatedDeltaRule.Forward(0.3 * Unit(inputs.Query), Unit(inputs.Key), Wide(inputs.Value), decay, strength, Wide(initial));
    }
}

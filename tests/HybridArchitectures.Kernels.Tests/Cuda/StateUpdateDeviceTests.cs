using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Tests single steps of both scans on a GPU at the published sizes. The errors of output and state are at most twice those of composed operators.
/// </summary>
[Trait("device", "cuda")]
public class StateUpdateDeviceTests
{
    static readonly ScalarType[] Types = [ScalarType.BFloat16, ScalarType.Float32];

    static Tensor Normal(params long[] size) => randn(size, ScalarType.Float64, Gpu.Device);

    // runs a step in float64, composed in the type, and by the operator; x first, the state last, parameters between
    static void Check(ScalarType type, Tensor?[] activations, Tensor?[] parameters, Tensor state, Func<Tensor?[], Tensor?[], Tensor,
        (Tensor Output, Tensor State)> composed,
        Func<Tensor?[], Tensor?[], Tensor, Tensor> step)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor?[] To(Tensor?[] tensors, ScalarType to) => [.. tensors.Select(tensor => tensor?.to(to))];
        var (narrow, single) = (To(activations, type), To(parameters, ScalarType.Float32));
        var before = state.to(ScalarType.Float32);
        var exact = composed(To(narrow, ScalarType.Float64), To(single, ScalarType.Float64), before.to(ScalarType.Float64));
        var plain = composed(narrow, single, before.clone());
        Gpu.PoisonFreeBlocks();
        var output = step(narrow, single, before);
        OperatorCheck.ErrsAtMostTwice($"{type}, the output", output.to(ScalarType.Float64), plain.Output.to(ScalarType.Float64), exact.Output);
        OperatorCheck.ErrsAtMostTwice($"{type}, the state", before.to(ScalarType.Float64), plain.State.to(ScalarType.Float64), exact.State);
    }

    [Theory]
    [InlineData(16, 2048), InlineData(32, 2048), InlineData(64, 2064), InlineData(16, 4096), InlineData(64, 4096), InlineData(7, 123),
        InlineData(200, 65)]
    public void Of_the_selective_scan(int states, int channels)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        foreach (var type in Types)
            foreach (bool gated in new[] { false, true })
                Check(type, [Normal(2, channels), Normal(2, channels), Normal(2, 1, states), Normal(2, 1, states),
                    gated ? Normal(2, channels) : null],
                    [-rand([channels, states], ScalarType.Float64, Gpu.Device) - 1, Normal(channels), Normal(channels) - 4],
                    Normal(2, channels, states),
                    (i, p, state) =>
                    {
                        var (output, after) = SelectiveScanReference.Forward(new SelectiveScanInputs(i[0]!, i[1]!, p[0]!, i[2]!, i[3]!)
                        {
                            D = p[1], Z = i[4], DtBias = p[2], Softplus = true,
                        }.AsRows(state));
                        return (output.squeeze(1), after);
                    },
                    (i, p, state) => SelectiveScan.Step(state, i[0]!, i[1]!, p[0]!, i[2]!, i[3]!, p[1], i[4], p[2], true));
    }

    [Theory]
    // sequences, heads, head size, groups, states
    [InlineData(2, 32, 64, 1, 16), InlineData(2, 32, 64, 2, 32), InlineData(2, 64, 64, 4, 64), InlineData(1, 8, 64, 8, 128),
        InlineData(64, 8, 128, 8, 96), InlineData(1, 64, 64, 8, 256)]
    [InlineData(64, 64, 64, 1, 128), InlineData(3, 5, 7, 5, 9)]
    public void Of_the_state_space_dual(int batch, int heads, int headSize, int groups, int states)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        foreach (var type in Types)
            Check(type, [Normal(batch, heads, headSize), Normal(batch, heads), Normal(batch, groups, states), Normal(batch, groups, states)],
                [-rand([heads], ScalarType.Float64, Gpu.Device) - 1, Normal(heads), Normal(heads) - 4], Normal(batch, heads, headSize, states),
                (i, p, state) =>
                {
                    var (output, after) = StateSpaceDualReference.Forward(new StateSpaceDualInputs(i[0]!, i[1]!, p[0]!, i[2]!, i[3]!)
                    {
                        D = p[1], DtBias = p[2], Softplus = true,
                    }.AsRows(state));
                    return (output.squeeze(1), after);
                },
                (i, p, state) => StateSpaceDual.Step(state, i[0]!, i[1]!, p[0]!, i[2]!, i[3]!, p[1], p[2], true));
    }
}

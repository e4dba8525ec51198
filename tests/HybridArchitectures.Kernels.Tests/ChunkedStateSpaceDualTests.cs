using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Compares the state-space dual in chunks of libtorch's products with the token-by-token reference in float64: output, final state and every
/// gradient.
/// </summary>
public class ChunkedStateSpaceDualTests : IDisposable
{
    readonly IDisposable options = OperatorOptions.Use(new() { StateSpaceDualBackend = KernelBackend.LibTorch });

    public void Dispose() => options.Dispose();

    static Tensor Joined((Tensor Output, Tensor Final) results) => cat([results.Output.to(results.Final.dtype).flatten(), results.Final.flatten()]);

    static void Check(long batch, long length, int chunk, SequenceLayout? layout, bool optional = true, double rate = 1, double step = 1)
    {
        using var random = manual_seed(3);
        const long heads = 4, headSize = 3, groups = 2, states = 5;
        Tensor?[] inputs = [OperatorCheck.Normal(batch, length, heads, headSize), (OperatorCheck.Normal(batch, length, heads) - 1.0) * step,
            (-rand([heads], ScalarType.Float64) - 0.01) * rate, OperatorCheck.Normal(batch, length, groups, states),
            OperatorCheck.Normal(batch, length, groups, states),
            optional ? OperatorCheck.Normal(heads) : null, optional ? OperatorCheck.Normal(heads) * 0.3 : null,
            optional ? OperatorCheck.Normal(batch, heads, headSize, states) : null];
        OperatorCheck.MatchesReference(
            i => Joined(StateSpaceDual.Forward(i[0]!, i[1]!, i[2]!, i[3]!, i[4]!, i[5], i[6], true, (0.05, 50), i[7], layout, chunk)),
            i => Joined(StateSpaceDualReference.Forward(new(i[0]!, i[1]!, i[2]!, i[3]!, i[4]!)
            {
                D = i[5], DtBias = i[6], Softplus = true, DtLimit = (0.05, 50), InitialState = i[7], Layout = layout,
            })), inputs);
    }

    [Theory]
    [InlineData(1, 64)]
    [InlineData(16, 8)]
    [InlineData(33, 16)]
    [InlineData(70, 32)]
    public void Results_and_gradients_match_the_reference(int length, int chunk)
    {
        using var scope = NewDisposeScope();
        Check(2, length, chunk, null);
        Check(1, length, chunk, null, optional: false);
    }

    [Theory]
    [InlineData(8)]
    [InlineData(32)]
    public void Documents_and_padding_match_the_reference(int chunk)
    {
        using var scope = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[1, 31, 1, 0, 2, 30], [70], [], [32, 32, 6], [0, 3], [16, 17, 1]], 70);
        Check(6, 70, chunk, layout);
    }

    [Theory]
    [InlineData(16, 1)]
    [InlineData(1000, 100)]
    public void Strong_decay_stays_finite_and_right(double rate, double step)
    {
        using var scope = NewDisposeScope();
        Check(1, 70, 64, null, true, rate, step);
    }
}

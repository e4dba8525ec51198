using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Describes a gated delta rule, or linear attention without corrections, for the tests.</summary>
public abstract class DeltaRuleOperator : RecurrentOperator
{
    // heads, value size, groups, key size
    static readonly (long H, long V, long G, long K)[] Sizes = [(4, 10, 2, 8), (3, 5, 3, 7), (2, 16, 1, 32), (5, 1, 1, 1), (4, 24, 2, 16)];

    public override int Variants => Sizes.Length;

    public override IReadOnlyList<string> Timed => ["query", "key", "value", "decay", "strength"];

    // tensor cores take operands rounded to bfloat16: 2^-9 each
    public override double StateTolerance(Tensor output) =>
        output.dtype == ScalarType.BFloat16 && BackendFor(output) == KernelBackend.Cuda ? RoundedOperands * 2e-3 : Tolerance;

    /// <summary>Gets how many of the numbers that make up a state tensor cores take rounded: states and errors by default.</summary>
    protected virtual int RoundedOperands => 2;

    public override Tensors Inputs(long batch, long length, int variant = 0) =>
        Sized(batch, length, Sizes[variant].H, Sizes[variant].V, Sizes[variant].G, Sizes[variant].K);

    /// <summary>Replaces the strengths, if there are any.</summary>
    public static void ChangeStrengths(Tensors inputs, Func<Tensor, Tensor> change)
    {
        if (inputs.TryGetValue("strength", out var strengths)) inputs["strength"] = change(strengths);
    }

    /// <summary>Draws inputs of h heads, v elements of a value, g groups and k elements of a key.</summary>
    public Tensors Sized(long batch, long length, long h, long v, long g, long k)
    {
        manual_seed(7 + Draw);
        if (!HasStrengths) g = h;
        var key = randn([batch, length, g, k], ScalarType.Float64);
        var inputs = new Tensors
        {
            ["query"] = randn([batch, length, g, k], ScalarType.Float64),
            ["key"] = key / key.norm(-1, keepdim: true),
            ["value"] = randn([batch, length, h, v], ScalarType.Float64),
            ["decay"] = -rand(DecaySize(batch, length, h, k), ScalarType.Float64),
            ["strength"] = rand([batch, length, h], ScalarType.Float64),
            ["initialState"] = randn([batch, h, k, v], ScalarType.Float64),
        };
        if (!HasStrengths) inputs.Remove("strength");
        return inputs;
    }

    /// <summary>
    /// Computes chunks as they are composed in the dtype of the activations: every product of two tensors has operands and a result of that dtype.
    /// Sums of logarithms, the triangular systems and states are float32.
    /// </summary>
    public abstract (Tensor Output, Tensor Final) Rounded(Tensors i, SequenceLayout? layout);

    /// <summary>Gets whether tokens correct the state with a strength. Otherwise, each head has separate queries and keys.</summary>
    protected virtual bool HasStrengths => true;

    protected abstract long[] DecaySize(long batch, long length, long heads, long keySize);
}

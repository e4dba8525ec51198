using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes y = x W^T + b. The type of x determines the arithmetic: a weight of another type is cast to it. For a few rows without a gradient on the
/// CPU, the weight is read in its type without a copy.
/// </summary>
public sealed class Linear : HybridModule
{
    readonly bool biased;

    /// <summary>Creates a projection.</summary>
    /// <param name="weight">(outputs, inputs).</param>
    /// <param name="bias">(outputs), or null.</param>
    public Linear(Parameter weight, Parameter? bias = null) : base(nameof(Linear))
    {
        Checks.Shape(weight, [-1, -1], "(outputs, inputs)");
        if (bias is not null) Checks.Shape(bias, [weight.size(0)], "(outputs)");
        AddParameter("weight", weight, decays: true);
        if (bias is not null) AddParameter("bias", bias, decays: false);
        biased = bias is not null;
    }

    /// <summary>Gets the weight, (outputs, inputs), in the type of the weights of the model.</summary>
    public Parameter Weight => Parameter("weight");

    /// <summary>Gets the bias, (outputs), in the type of the weights of the model, or null.</summary>
    public Parameter? Bias => biased ? Parameter("bias") : null;

    /// <summary>Gets or sets the matrices of which the weight consists. The default, null, means one.</summary>
    public MatrixLayout? Layout { get; init; }

    /// <inheritdoc/>
    protected internal override IReadOnlyList<string> ProjectionWeights => ["weight"];

    /// <inheritdoc/>
    protected internal override MatrixLayout? Matrix(string weight) => Layout ?? base.Matrix(weight);

    /// <summary>Computes (..., outputs) from (..., inputs), in the type of <paramref name="x"/>.</summary>
    public Tensor Forward(Tensor x)
    {
        var (weight, bias) = (Weight, Bias);
        Checks.Floating(x);
        if (x.dim() == 0 || x.size(-1) != weight.size(1))
            throw Require.Unfit(nameof(x), $"x has shape {Checks.Describe(x)}", $"a last dimension of {weight.size(1)}, the inputs of the weight");
        Checks.SameDevice(x, weight, "the weight");
        if (IsStep(x)) return Adapted("weight", x, FewRowsLinear.Forward(x, weight, bias));
        if (weight.dtype == x.dtype && (bias is null || bias.dtype == x.dtype)) return Adapted("weight", x, nn.functional.linear(x, weight, bias));
        if (MasterWeightLinear.Serves(x, weight, bias)) return Adapted("weight", x, MasterWeightLinear.Forward(x, [(weight, bias)])[0]);
        using var scope = NewDisposeScope();
        return Adapted("weight", x, nn.functional.linear(x, weight.to(x.dtype), bias?.to(x.dtype))).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Computes the projection of the output of an operator. That output is not saved for the gradient if the operator can compute it again, and
    /// nothing else reads it, such as an adapter.
    /// </summary>
    internal Tensor ForwardOf<TInput>(TInput input, bool omitsOutput = false) where TInput : class, IProjectionInput<TInput> =>
        Plain is { } plain && RecomputedLinear.Serves(input, plain.Weight, plain.Bias)
            ? RecomputedLinear.Forward(input, plain.Weight, plain.Bias, omitsOutput) : Forward(input.Forward());

    /// <summary>
    /// Computes the projection of a training step with its outputs in another order; null if that is not possible, or there is an adapter.
    /// </summary>
    internal Tensor? ForwardReordered(Tensor x, RowOrder rows) =>
        Plain is { Bias: null } plain && ReorderedLinear.Serves(x, plain.Weight) ? ReorderedLinear.Forward(x, plain.Weight, rows) : null;

    /// <summary>Returns whether x has so few rows, without a gradient, that the time is that of reading the weight.</summary>
    internal static bool IsStep(Tensor x)
    {
        if (is_grad_enabled()) return false;
        return x.device_type == TorchSharp.DeviceType.CPU
            ? x.NumberOfElements <= FewRowsLinear.MaxRows * x.size(-1) && x.dtype is ScalarType.Float32 or ScalarType.BFloat16
            : x.NumberOfElements <= FewRowsLinear.MaxCudaRows * x.size(-1) && x.dtype is ScalarType.BFloat16;
    }

    /// <summary>Gets weight and bias if nothing else takes part in the projection; null with an adapter.</summary>
    (Tensor Weight, Tensor? Bias)? Plain => Adapter("weight") is null or { IsMerged: true } ? (Weight, Bias) : null;

    static (Tensor Weight, Tensor? Bias)[]? AllPlain(ReadOnlySpan<Linear> projections)
    {
        var plain = new (Tensor Weight, Tensor? Bias)[projections.Length];
        for (int i = 0; i < plain.Length; i++)
        {
            if (projections[i].Plain is not { } one) return null;
            plain[i] = one;
        }
        return plain;
    }

    /// <summary>
    /// Computes several projections of one x. Those of a step are one launch on a GPU. Those of a training step are one node of the graph, whose
    /// products sum the gradient of x.
    /// </summary>
    internal static Tensor[] ForwardMany(Tensor x, params ReadOnlySpan<Linear> projections)
    {
        var results = new Tensor[projections.Length];
        Checks.Floating(x);
        var plain = AllPlain(projections);
        if (IsStep(x) && plain is not null) return FewRowsLinear.ForwardMany(x, plain);
        if (plain is not null && x.dim() > 0 && Array.TrueForAll(plain, item => item.Weight.size(1) == x.size(-1)
            && item.Weight.device_type == x.device_type && MasterWeightLinear.Serves(x, item.Weight, item.Bias)))
            return MasterWeightLinear.Forward(x, plain);
        for (int i = 0; i < results.Length; i++) results[i] = projections[i].Forward(x);
        return results;
    }

    /// <summary>Computes silu(gate(x)) * up(x) of a step in one launch on a GPU; returns null if this is not possible.</summary>
    internal static Tensor? ForwardGated(Tensor x, Linear gate, Linear up) =>
        IsStep(x) && gate.Plain is { } first && up.Plain is { } second ? FewRowsLinear.ForwardGated(x, first, second) : null;

    /// <summary>Computes several projections of the input of a step, with its norm in the same launch if possible.</summary>
    internal static Tensor[] ForwardMany(StepInput input, params ReadOnlySpan<Linear> projections)
    {
        var (x, fusion) = input.Fused;
        return AllPlain(projections) is { } plain && FewRowsLinear.ForwardFused(x, plain, false, fusion) is { } results ? results
            : ForwardMany(input.Normed, projections);
    }

    /// <summary>
    /// Computes the queries of a step and writes its keys and values to a cache, both turned to their positions, with the norm of the input, in one
    /// launch. Returns null, without an effect, if this is not possible.
    /// </summary>
    internal static Tensor? ForwardCached(StepInput input, CacheTarget cache, Linear query, Linear key, Linear value)
    {
        var (x, fusion) = input.Fused;
        return AllPlain([query, key, value]) is { } plain && FewRowsLinear.ForwardFused(x, plain, false, fusion with { Cache = cache }) is { } results
            ? results[0] : null;
    }

    /// <summary>
    /// Computes the projection of the input of a step, some outputs of which pass a convolution, with the norm of the input, in one launch. Returns
    /// null, without an effect, if this is not possible.
    /// </summary>
    internal Tensor? ForwardConvolved(StepInput input, FewRowsConvolutionStep convolution)
    {
        var (x, fusion) = input.Fused;
        return Plain is { } plain && FewRowsLinear.ForwardFused(x, [plain], false, fusion with { Convolution = convolution }) is { } results
            ? results[0] : null;
    }

    /// <summary>
    /// Computes silu(gate(x)) * up(x) of the input of a step, with its norm in the same launch if possible; null if the two cannot be computed
    /// together.
    /// </summary>
    internal static Tensor? ForwardGated(StepInput input, Linear gate, Linear up)
    {
        var (x, fusion) = input.Fused;
        return AllPlain([gate, up]) is { } plain && FewRowsLinear.ForwardFused(x, plain, true, fusion) is { } results ? results[0]
            : ForwardGated(input.Normed, gate, up);
    }

    /// <summary>Computes residual + y of a step, where y is the projection rounded to its type; in one launch if possible.</summary>
    internal Tensor ForwardSum(Tensor x, Tensor residual) => ForwardSum(x, residual, default) ?? residual.add(Forward(x), Scalars.One);

    /// <summary>Computes the same with a norm of x before the projection; null if this is not possible in one launch.</summary>
    internal Tensor? ForwardSum(Tensor x, Tensor residual, in FewRowsFusion fusion) =>
        Plain is { } plain && FewRowsLinear.ForwardFused(x, [plain], false, fusion with { Residual = residual }) is { } results ? results[0] : null;
}

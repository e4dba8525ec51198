using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;
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

    /// <inheritdoc/>
    protected internal override IReadOnlyList<string> ProjectionWeights => ["weight"];

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
        using var scope = NewDisposeScope();
        return Adapted("weight", x, nn.functional.linear(x, weight.to(x.dtype), bias?.to(x.dtype))).MoveToOuterDisposeScope();
    }

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

    /// <summary>Computes several projections of one x; those of a step in one launch on a GPU.</summary>
    internal static Tensor[] ForwardMany(Tensor x, params ReadOnlySpan<Linear> projections)
    {
        var results = new Tensor[projections.Length];
        var plain = new (Tensor, Tensor?)[projections.Length];
        bool together = IsStep(x);
        for (int i = 0; i < plain.Length && together; i++)
        {
            together = projections[i].Plain is not null;
            if (together) plain[i] = projections[i].Plain!.Value;
        }
        if (together) return FewRowsLinear.ForwardMany(x, plain);
        for (int i = 0; i < results.Length; i++) results[i] = projections[i].Forward(x);
        return results;
    }

    /// <summary>Computes silu(gate(x)) * up(x) of a step in one launch on a GPU; returns null if this is not possible.</summary>
    internal static Tensor? ForwardGated(Tensor x, Linear gate, Linear up) =>
        IsStep(x) && gate.Plain is { } first && up.Plain is { } second ? FewRowsLinear.ForwardGated(x, first, second) : null;
}

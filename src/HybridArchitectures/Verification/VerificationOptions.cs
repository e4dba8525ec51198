using static TorchSharp.torch;

namespace HybridArchitectures.Verification;

/// <summary>Contains the options of <see cref="DesignVerifier"/>.</summary>
public sealed record VerificationOptions
{
    /// <summary>Gets or sets the number of tokens per row, at least 12. The default is 24.</summary>
    public int Length { get; init; } = 24;

    /// <summary>
    /// Gets or sets the maximum permitted error, relative to the maximum output of a layer. The default, null, means 2e-4 in float32, 1e-6 in float64
    /// and 0.06 in bfloat16, because sums are computed in another order.
    /// </summary>
    public double? Tolerance { get; init; }

    /// <summary>Gets or sets the seed of the tokens, and of the weights if a design is verified. The default is 0.</summary>
    public long Seed { get; init; }

    /// <summary>Gets or sets the dtype of activations if a design is verified. The default is float32.</summary>
    public ScalarType Compute { get; init => field = Require.Defined(value, nameof(Compute)); } = ScalarType.Float32;

    /// <summary>Gets or sets the device if a design is verified. The default, null, means the CPU.</summary>
    public Device? Device { get; init; }

    internal double ToleranceFor(ScalarType compute) =>
        Tolerance ?? compute switch { ScalarType.BFloat16 => 0.06, ScalarType.Float64 => 1e-6, _ => 2e-4 };
}

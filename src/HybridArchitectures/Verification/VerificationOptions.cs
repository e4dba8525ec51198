using static TorchSharp.torch;

namespace HybridArchitectures.Verification;

/// <summary>How <see cref="DesignVerifier"/> tries a model.</summary>
public sealed record VerificationOptions
{
    /// <summary>Tokens of a row, at least 12.</summary>
    public int Length { get; init; } = 24;

    /// <summary>The largest error allowed, as a share of the layer's largest output; null for 2e-4 in float32, 1e-6 in float64, 0.06 in bfloat16: sums in another order.</summary>
    public double? Tolerance { get; init; }

    /// <summary>Seed of the tokens, and of the weights where a design is given.</summary>
    public long Seed { get; init; }

    /// <summary>The type of activations where a design is given.</summary>
    public ScalarType Compute { get; init; } = ScalarType.Float32;

    /// <summary>Where the model of a given design shall live; null for the CPU.</summary>
    public Device? Device { get; init; }

    internal double ToleranceFor(ScalarType compute) => Tolerance ?? compute switch { ScalarType.BFloat16 => 0.06, ScalarType.Float64 => 1e-6, _ => 2e-4 };
}

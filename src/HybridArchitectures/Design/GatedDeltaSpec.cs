using System.Numerics;
using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// The gated delta net (arXiv 2412.06464) as Qwen3-Next has it: queries, keys and values through a causal convolution, queries and keys of length 1, the gated delta rule, and per head a norm and
/// then a gate.
/// </summary>
public sealed record GatedDeltaSpec : MixerSpec
{
    /// <summary>Query and key heads, a divisor of <see cref="ValueHeads"/>.</summary>
    public required int KeyHeads { get; init; }

    /// <summary>Value heads, each with a state of its own; 0: as many as key heads.</summary>
    public int ValueHeads { get; init; }

    /// <summary>Size of a query and key head.</summary>
    public required int KeyHeadSize { get; init; }

    /// <summary>Size of a value head; 0: as <see cref="KeyHeadSize"/>.</summary>
    public int ValueHeadSize { get; init; }

    /// <summary>Taps of the causal convolution.</summary>
    public int ConvolutionWidth { get; init; } = 4;

    /// <summary>A bias on the convolution.</summary>
    public bool ConvolutionBias { get; init; }

    /// <summary>The nonlinearity after the convolution; the gate's is SiLU.</summary>
    public Activation Activation { get; init; }

    /// <summary>Positions computed as one matrix product, a power of two.</summary>
    public int ChunkSize { get; init; } = 64;

    /// <summary>-A at the start of training, uniform.</summary>
    public Interval DecayRange { get; init; } = new(0.01, 16);

    /// <summary>Time steps at the start of training, log-uniform.</summary>
    public Interval TimeStepRange { get; init; } = new(1e-3, 0.1);

    /// <summary>Least time step at the start of training.</summary>
    public double TimeStepFloor { get; init; } = 1e-4;

    /// <summary>Width of all keys, and of all queries.</summary>
    [JsonIgnore]
    public int KeyWidth => KeyHeads * KeyHeadSize;

    /// <summary>Width of all values, of the gate, and of what goes into the output projection.</summary>
    [JsonIgnore]
    public int ValueWidth => ValueHeads * ValueHeadSize;

    /// <summary>Channels of the convolution: queries, keys and values.</summary>
    [JsonIgnore]
    public int ConvolutionChannels => 2 * KeyWidth + ValueWidth;

    /// <summary><c>G</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "G";

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width) =>
        this with { ValueHeads = ValueHeads == 0 ? KeyHeads : ValueHeads, ValueHeadSize = ValueHeadSize == 0 ? KeyHeadSize : ValueHeadSize };

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(KeyHeads, "keyHeads");
        Require.Size(ValueHeads, "valueHeads");
        Require.Divides(KeyHeads, "keyHeads", ValueHeads, "valueHeads");
        Require.Size(KeyHeadSize, "keyHeadSize");
        Require.Size(ValueHeadSize, "valueHeadSize");
        Require.Size((long)KeyHeads * KeyHeadSize, "keyHeads x keyHeadSize");
        Require.Size((long)ValueHeads * ValueHeadSize, "valueHeads x valueHeadSize");
        Require.Size(ConvolutionWidth, "convolutionWidth");
        Require.Defined(Activation, "activation");
        Require.That(ChunkSize > 0 && BitOperations.IsPow2(ChunkSize), "chunkSize", ChunkSize, "a power of two");
        Require.Present(DecayRange, "decayRange", "a range");
        DecayRange.CheckPositive("decayRange");
        Require.Present(TimeStepRange, "timeStepRange", "a range");
        TimeStepRange.CheckPositive("timeStepRange");
        Require.NotNegative(TimeStepFloor, "timeStepFloor");
    }

    /// <summary>Outputs of the input projections: queries, keys, values, gate; strengths and time steps.</summary>
    internal long ProjectedWidth => 2L * KeyWidth + 2L * ValueWidth + 2L * ValueHeads;

    /// <inheritdoc/>
    public override long CountParameters(int width) => ProjectedWidth * width + (long)ConvolutionChannels * (ConvolutionWidth + (ConvolutionBias ? 1 : 0))
        + 2L * ValueHeads + ValueHeadSize + (long)ValueWidth * width;                                    // dt_bias, A_log; norm; output
}

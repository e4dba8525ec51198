using System.Numerics;
using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>The state-space dual layer of Mamba-2 (arXiv 2405.21060). Sizes left at 0 are derived by <see cref="Resolve(int)"/>.</summary>
public sealed record Mamba2Spec : MixerSpec, IStateSpaceSpec
{
    /// <summary>Heads; 0: as many as make the inner width twice the model width.</summary>
    public int Heads { get; init; }

    /// <summary>Channels of a head; 0: 64, or what the heads leave of twice the model width.</summary>
    public int HeadSize { get; init; }

    /// <summary>State values per channel; 0: 128.</summary>
    public int StateSize { get; init; }

    /// <summary>How many B and C projections there are; heads share them in equal parts.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>Taps of the causal convolution.</summary>
    public int ConvolutionWidth { get; init; } = 4;

    /// <summary>A bias on the convolution.</summary>
    public bool ConvolutionBias { get; init; } = true;

    /// <summary>The nonlinearity after the convolution; the gate's is SiLU.</summary>
    public Activation Activation { get; init; }

    /// <summary>Biases on the projections in and out.</summary>
    public bool ProjectionBias { get; init; }

    /// <summary>Positions computed as one matrix product, a power of two.</summary>
    public int ChunkSize { get; init; } = 64;

    /// <summary>An RMSNorm with weight where the gate meets the output; without it the gate only multiplies.</summary>
    public bool GatedNorm { get; init; } = true;

    /// <summary>Norm the output first and multiply by the gate after; otherwise the product is normed.</summary>
    public bool NormBeforeGate { get; init; }

    /// <summary>Equal parts of the inner width that the gated norm normalises separately. The default is 0: as many as <see cref="Groups"/>, as in
    /// mamba_ssm. 1 normalises the whole inner width.</summary>
    public int NormGroups { get; init; }

    /// <summary>Epsilon of the gated norm; null: as the block's.</summary>
    public double? GatedNormEpsilon { get; init; }

    /// <summary>A bias on the output projection; null: as <see cref="ProjectionBias"/> says.</summary>
    public bool? OutputBias { get; init; }

    /// <summary>Factor on what enters the mixer.</summary>
    public double InputScale { get; init; } = 1;

    /// <summary>Factors on the parts of the in-projection's result; null: none.</summary>
    public ProjectionScales? ProjectionScales { get; init; }

    /// <summary>Factor on what leaves the mixer.</summary>
    public double OutputScale { get; init; } = 1;

    /// <summary>-A at the start of training, uniform. The range of arXiv 2510.04800; the original layer has 1 to 16.</summary>
    public Interval DecayRange { get; init; } = new(0.01, 2);

    /// <summary>Time steps at the start of training, log-uniform.</summary>
    public Interval TimeStepRange { get; init; } = new(1e-3, 0.1);

    /// <summary>Least time step at the start of training.</summary>
    public double TimeStepFloor { get; init; } = 1e-4;

    /// <summary>Ends to which time steps are clamped at every position; null: none.</summary>
    public Interval? TimeStepLimit { get; init; }

    /// <summary>Whether the output projection has a bias.</summary>
    [JsonIgnore]
    public bool HasOutputBias => OutputBias ?? ProjectionBias;

    /// <summary><see cref="NormGroups"/>, also where it is left at 0.</summary>
    internal int GatedNormGroups => NormGroups == 0 ? Groups : NormGroups;

    /// <summary>Channels of the scan: heads times head size.</summary>
    [JsonIgnore]
    public int InnerWidth => Heads * HeadSize;

    /// <summary>Channels of the convolution: x, B and C.</summary>
    [JsonIgnore]
    public int ConvolutionChannels => InnerWidth + 2 * Groups * StateSize;

    /// <summary><c>M</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "M";

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width) => ResolveInner(2 * width);

    MixerSpec IStateSpaceSpec.Resolve(int width, int innerWidth) => ResolveInner(innerWidth);

    Mamba2Spec ResolveInner(int innerWidth)
    {
        Require.AtLeast(Heads, 0, "heads");
        Require.AtLeast(HeadSize, 0, "headSize");
        int headSize = HeadSize, heads = Heads;
        if (heads == 0)
        {
            if (headSize == 0) headSize = 64;
            Require.Divides(headSize, "headSize", innerWidth, "inner width");
            heads = innerWidth / headSize;
        }
        else if (headSize == 0)
        {
            Require.Divides(heads, "heads", innerWidth, "inner width");
            headSize = innerWidth / heads;
        }
        return this with
        {
            Heads = heads, HeadSize = headSize, StateSize = StateSize == 0 ? 128 : StateSize, NormGroups = GatedNormGroups,
        };
    }

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Heads, "heads");
        Require.Size(HeadSize, "headSize");
        Require.Size((long)Heads * HeadSize, "heads x headSize");
        Require.Size(StateSize, "stateSize");
        Require.AtLeast(Groups, 1, "groups");
        Require.Divides(Groups, "groups", Heads, "heads");
        Require.Size(ConvolutionWidth, "convolutionWidth");
        Require.Defined(Activation, "activation");
        Require.That(ChunkSize > 0 && BitOperations.IsPow2(ChunkSize), "chunkSize", ChunkSize, "a power of two");
        Require.AtLeast(NormGroups, 0, "normGroups");
        Require.Divides(GatedNormGroups, "normGroups", InnerWidth, "inner width");
        if (GatedNormEpsilon is { } epsilon) Require.Positive(epsilon, "gatedNormEpsilon");
        Require.Positive(InputScale, "inputScale");
        Require.Positive(OutputScale, "outputScale");
        ProjectionScales?.Check();
        Require.Present(DecayRange, "decayRange", "a range");
        DecayRange.CheckPositive("decayRange");
        Require.Present(TimeStepRange, "timeStepRange", "a range");
        TimeStepRange.CheckPositive("timeStepRange");
        Require.NotNegative(TimeStepFloor, "timeStepFloor");
        TimeStepLimit?.CheckOrdered("timeStepLimit");
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) => CountInputParameters(width) + CountOutputParameters(width);

    /// <inheritdoc/>
    public long CountInputParameters(int width)
    {
        long inner = InnerWidth, projected = 2 * inner + 2L * Groups * StateSize + Heads;               // z, x, B, C, dt
        long convolution = (long)ConvolutionChannels * (ConvolutionWidth + (ConvolutionBias ? 1 : 0));
        return projected * width + (ProjectionBias ? projected : 0) + convolution + 3L * Heads + (GatedNorm ? inner : 0);   // dt_bias, A_log, D
    }

    /// <inheritdoc/>
    public long CountOutputParameters(int width) => (long)InnerWidth * width + (HasOutputBias ? width : 0);
}

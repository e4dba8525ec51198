namespace HybridArchitectures.Design;

/// <summary>Multipliers of the residual stream and of what is added to it, separately for the two halves of a block.</summary>
/// <param name="MixerStream">The multiplier of the stream to which the output of the mixer is added.</param>
/// <param name="MixerOutput">The multiplier of the output of the mixer.</param>
/// <param name="FeedForwardStream">The multiplier of the stream to which the output of the feed-forward is added.</param>
/// <param name="FeedForwardOutput">The multiplier of the output of the feed-forward.</param>
public sealed record ResidualScales(double MixerStream, double MixerOutput, double FeedForwardStream, double FeedForwardOutput)
{
    internal void Check()
    {
        Require.Positive(MixerStream, "scales.mixerStream");
        Require.Positive(MixerOutput, "scales.mixerOutput");
        Require.Positive(FeedForwardStream, "scales.feedForwardStream");
        Require.Positive(FeedForwardOutput, "scales.feedForwardOutput");
    }
}

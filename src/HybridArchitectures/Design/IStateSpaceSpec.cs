namespace HybridArchitectures.Design;

/// <summary>
/// Defines what an intra-layer hybrid needs to know about its state-space branch. <see cref="Mamba1Spec"/> and <see cref="Mamba2Spec"/> implement it.
/// </summary>
public interface IStateSpaceSpec
{
    /// <summary>Gets the number of channels of the scan.</summary>
    int InnerWidth { get; }

    /// <summary>Gets the number of state values per channel.</summary>
    int StateSize { get; }

    /// <summary>Gets the width of the causal convolution.</summary>
    int ConvolutionWidth { get; }

    /// <summary>Returns the number of trainable parameters without the output projection.</summary>
    long CountInputParameters(int width);

    /// <summary>Returns the number of trainable parameters of the output projection.</summary>
    long CountOutputParameters(int width);

    /// <summary>Entries of the weight matrices before the scan that each token is multiplied with.</summary>
    internal double CountInputWeights(int width);

    internal MixerSpec Resolve(int width, int innerWidth);
}

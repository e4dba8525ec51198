namespace HybridArchitectures.Design;

/// <summary>What an intra-layer hybrid needs to know of its state-space branch. <see cref="Mamba1Spec"/> and <see cref="Mamba2Spec"/> have it.</summary>
public interface IStateSpaceSpec
{
    /// <summary>Channels of the scan.</summary>
    int InnerWidth { get; }

    /// <summary>State values per channel.</summary>
    int StateSize { get; }

    /// <summary>Taps of the causal convolution.</summary>
    int ConvolutionWidth { get; }

    /// <summary>Trainable parameters without the output projection.</summary>
    long CountInputParameters(int width);

    /// <summary>Trainable parameters of the output projection.</summary>
    long CountOutputParameters(int width);

    internal MixerSpec Resolve(int width, int innerWidth);
}

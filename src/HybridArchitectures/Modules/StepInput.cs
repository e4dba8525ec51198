using HybridArchitectures.Kernels;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Contains the input of a mixer or feed-forward in a decoding step: the residual stream and the norm over it. Some products compute the
/// norm themselves. For everything else it is computed once.
/// </summary>
/// <param name="stream">The residual stream, (batch, length, width).</param>
/// <param name="norm">The norm.</param>
/// <param name="normed">The norm of the stream if it is known already.</param>
sealed class StepInput(Tensor stream, Norm norm, Tensor? normed = null)
{
    Tensor? normed = normed;

    /// <summary>Gets the residual stream, to which the result is added.</summary>
    public Tensor Stream => stream;

    /// <summary>Gets the normed stream.</summary>
    public Tensor Normed => normed ??= norm.Forward(stream);

    /// <summary>Gets the input of a product, and the norm that the product must compute first, if it is not computed yet.</summary>
    public (Tensor X, FewRowsFusion Fusion) Fused =>
        normed is null && norm.Fusion(stream) is { } fusion ? (stream, fusion) : (Normed, default);
}

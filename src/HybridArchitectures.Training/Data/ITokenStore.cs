using static TorchSharp.torch;

namespace HybridArchitectures.Training.Data;

/// <summary>Provides access to tokens of 16 or 32 bits. Instances are thread-safe.</summary>
interface ITokenStore : IDisposable
{
    long Count { get; }

    /// <summary>Gets whether all tokens are stored with 16 bits.</summary>
    bool IsSmall { get; }

    void CopyTo(long start, Span<long> target);

    Tensor ToTensor();
}

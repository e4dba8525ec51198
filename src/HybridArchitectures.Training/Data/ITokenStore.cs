using static TorchSharp.torch;

namespace HybridArchitectures.Training;

/// <summary>Tokens of 16 or 32 bits, wherever they lie. May be read from several threads.</summary>
interface ITokenStore : IDisposable
{
    long Count { get; }

    /// <summary>Whether all of them are kept in 16 bits.</summary>
    bool IsSmall { get; }

    void CopyTo(long start, Span<long> target);

    Tensor ToTensor();
}

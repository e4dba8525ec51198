using static TorchSharp.torch;

namespace HybridArchitectures.Training.Data;

/// <summary>Represents a part of another store, which it does not own.</summary>
sealed class SlicedTokenStore(ITokenStore whole, long first, long count) : ITokenStore
{
    public long Count => count;

    public bool IsSmall => whole.IsSmall;

    public void CopyTo(long start, Span<long> target) => whole.CopyTo(first + start, target);

    public Tensor ToTensor()
    {
        using var scope = NewDisposeScope();
        return whole.ToTensor().narrow(0, first, count).clone().MoveToOuterDisposeScope();
    }

    public void Dispose() { }
}

using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Data;

/// <summary>Stores tokens in an array: 16 bits each for vocabularies of up to 65,536, and 32 bits otherwise.</summary>
sealed class ArrayTokenStore : ITokenStore
{
    volatile Array? tokens;

    public ArrayTokenStore(ReadOnlySpan<int> tokens, int vocabulary)
    {
        (Count, IsSmall) = (tokens.Length, vocabulary <= 65536);
        if (!IsSmall)
        {
            this.tokens = tokens.ToArray();
            return;
        }
        var values = new ushort[tokens.Length];
        for (int i = 0; i < values.Length; i++) values[i] = (ushort)tokens[i];
        this.tokens = values;
    }

    public long Count { get; }

    public bool IsSmall { get; }

    Array Tokens => tokens ?? throw new ObjectDisposedException(nameof(TokenDataset));

    public void CopyTo(long start, Span<long> target)
    {
        if (Tokens is ushort[] small)
        {
            var source = small.AsSpan((int)start, target.Length);
            for (int i = 0; i < source.Length; i++) target[i] = source[i];
        }
        else
        {
            var source = ((int[])Tokens).AsSpan((int)start, target.Length);
            for (int i = 0; i < source.Length; i++) target[i] = source[i];
        }
    }

    public Tensor ToTensor()
    {
        var all = Tokens;
        var result = empty([Count], IsSmall ? ScalarType.Int16 : ScalarType.Int32);
        if (all is ushort[] small) small.CopyTo(TensorMemory.Span<ushort>(result));
        else ((int[])all).CopyTo(TensorMemory.Span<int>(result));
        GC.KeepAlive(result);
        return result;
    }

    public void Dispose() => tokens = null;
}

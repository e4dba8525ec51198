using HybridArchitectures.Kernels;
using static TorchSharp.torch;

namespace HybridArchitectures.Training;

/// <summary>Rows of tokens and the token after each.</summary>
public sealed class TokenBatch : IDisposable
{
    internal TokenBatch(DataPosition position, Tensor ids, Tensor targets, SequenceLayout? layout, long counted, long bytes)
    {
        (Position, Layout, Counted, Bytes) = (position, layout, counted, bytes);
        Ids = ids.DetachFromDisposeScope();
        Targets = targets.DetachFromDisposeScope();
    }

    /// <summary>Where in the data the first row stands.</summary>
    public DataPosition Position { get; }

    /// <summary>(rows, context) int64.</summary>
    public Tensor Ids { get; }

    /// <summary>(rows, context) int64: the token after each of <see cref="Ids"/>, -100 where it belongs to another document and documents are kept
    /// apart.</summary>
    public Tensor Targets { get; }

    /// <summary>The documents of the rows where they are kept apart; null where rows are read as one text.</summary>
    public SequenceLayout? Layout { get; }

    /// <summary>How many targets count (are not -100).</summary>
    public long Counted { get; }

    /// <summary>How many bytes of text the counted targets stand for; 0 where the data does not know.</summary>
    public long Bytes { get; }

    /// <summary>Frees the tensors.</summary>
    public void Dispose()
    {
        Ids.Dispose();
        Targets.Dispose();
        Layout?.Dispose();
    }
}

using HybridArchitectures.Kernels;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Data;

/// <summary>Contains rows of tokens and the token to predict after each of them.</summary>
public sealed class TokenBatch : IDisposable
{
    internal TokenBatch(DataPosition position, Tensor ids, Tensor targets, SequenceLayout? layout, long counted, long bytes, Tensor? weights,
        double weightSum)
    {
        (Position, Layout, Counted, Bytes, WeightSum) = (position, layout, counted, bytes, weightSum);
        Weights = weights?.DetachFromDisposeScope();
        Ids = ids.DetachFromDisposeScope();
        Targets = targets.DetachFromDisposeScope();
    }

    /// <summary>Gets the position of the first row in the data.</summary>
    public DataPosition Position { get; }

    /// <summary>Gets the token ids, shape (rows, context), int64.</summary>
    public Tensor Ids { get; }

    /// <summary>
    /// Gets the token to predict after each of <see cref="Ids"/>, shape (rows, context), int64. -100 marks positions whose loss does not count:
    /// padding, the end of a document that is kept apart, and prompts.
    /// </summary>
    public Tensor Targets { get; }

    /// <summary>Gets padding, and the documents of the rows if they are kept apart. Null if rows are full and read as one text.</summary>
    public SequenceLayout? Layout { get; }

    /// <summary>Gets the number of targets that count (are not -100).</summary>
    public long Counted { get; }

    /// <summary>Gets the weight of the loss at each position, shape (rows, context), float32. Null if all are 1.</summary>
    public Tensor? Weights { get; }

    /// <summary>Gets the sum of the weights of the targets that count. It equals <see cref="Counted"/> if all weights are 1.</summary>
    public double WeightSum { get; }

    /// <summary>Gets the number of bytes of text that the counted targets represent; 0 if unknown.</summary>
    public long Bytes { get; }

    /// <summary>Disposes the tensors.</summary>
    public void Dispose()
    {
        Ids.Dispose();
        Targets.Dispose();
        Weights?.Dispose();
        Layout?.Dispose();
    }
}

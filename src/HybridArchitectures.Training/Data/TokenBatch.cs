using HybridArchitectures.Kernels;
using static TorchSharp.torch;

namespace HybridArchitectures.Training;

/// <summary>Rows of tokens and what is to be predicted after each.</summary>
public sealed class TokenBatch : IDisposable
{
    internal TokenBatch(DataPosition position, Tensor ids, Tensor targets, SequenceLayout? layout, long counted, long bytes, Tensor? weights, double weightSum)
    {
        (Position, Layout, Counted, Bytes, WeightSum) = (position, layout, counted, bytes, weightSum);
        Weights = weights?.DetachFromDisposeScope();
        Ids = ids.DetachFromDisposeScope();
        Targets = targets.DetachFromDisposeScope();
    }

    /// <summary>Where in the data the first row stands.</summary>
    public DataPosition Position { get; }

    /// <summary>(rows, context) int64.</summary>
    public Tensor Ids { get; }

    /// <summary>
    /// (rows, context) int64: the token to predict after each of <see cref="Ids"/>; -100 where the loss does not count, such as at padding, at the end of a
    /// document that is kept apart, or in a prompt.
    /// </summary>
    public Tensor Targets { get; }

    /// <summary>Padding, and the documents of the rows where they are kept apart; null where rows are full and read as one text.</summary>
    public SequenceLayout? Layout { get; }

    /// <summary>How many targets count (are not -100).</summary>
    public long Counted { get; }

    /// <summary>(rows, context) float32: the weight of the loss at each position; null where all are 1.</summary>
    public Tensor? Weights { get; }

    /// <summary>The sum of the weights of the targets that count; <see cref="Counted"/> where all weights are 1.</summary>
    public double WeightSum { get; }

    /// <summary>How many bytes of text the counted targets stand for; 0 where the data does not know.</summary>
    public long Bytes { get; }

    /// <summary>Frees the tensors.</summary>
    public void Dispose()
    {
        Ids.Dispose();
        Targets.Dispose();
        Weights?.Dispose();
        Layout?.Dispose();
    }
}

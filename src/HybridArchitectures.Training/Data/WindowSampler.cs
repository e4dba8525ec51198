using static TorchSharp.torch;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Splits the data into windows of one context length and returns them as rows, each once per epoch, in an order that depends only on seed and epoch.
/// The <see cref="Position"/> is therefore the complete state, and the number of rows per read does not matter.
/// </summary>
public sealed class WindowSampler
{
    readonly TokenDataset data;
    readonly bool shuffle, separateDocuments;
    readonly ulong seed;
    DataPosition position;

    /// <summary>Creates a sampler at the start of the data.</summary>
    /// <param name="data">The tokens.</param>
    /// <param name="contextLength">The number of tokens per row.</param>
    /// <param name="seed">The seed of the order, and of the position at which the first window begins. The default is 0.</param>
    /// <param name="shuffle">
    /// Whether windows are read in random order. False means the order of the data, starting with its first token. The default is true.
    /// </param>
    /// <param name="separateDocuments">
    /// Whether documents in a row are kept apart: no state, no attention and no target crosses a boundary. The default, false, reads a row as one
    /// text, as in arXiv 2510.04800.
    /// </param>
    public WindowSampler(TokenDataset data, int contextLength, long seed = 0, bool shuffle = true, bool separateDocuments = false)
    {
        ArgumentNullException.ThrowIfNull(data);
        Require.InRange(contextLength > 0, nameof(contextLength), contextLength, "at least 1 token");
        if (data.Count <= contextLength)
            throw Require.OutOfRange(nameof(contextLength), contextLength,
                $"less than {data.Count}, the number of tokens (a row needs one more than its length)");
        (this.data, ContextLength, this.seed, this.shuffle, this.separateDocuments) = (data, contextLength, (ulong)seed, shuffle, separateDocuments);
    }

    /// <summary>Gets the number of tokens per row.</summary>
    public int ContextLength { get; }

    /// <summary>Gets or sets the position of the next row.</summary>
    public DataPosition Position
    {
        get => position;
        set
        {
            Require.InRange(value.Epoch >= 0, nameof(Position), value.Epoch, "an epoch from 0");
            long windows = CountWindows(value.Epoch);
            Require.InRange(value.Index >= 0 && value.Index <= windows, nameof(Position), value.Index,
                $"an index from 0 to {windows}, the number of windows of the epoch");
            position = value;
        }
    }

    /// <summary>Returns the number of rows of an epoch. Some epochs have one less, because their first window begins later.</summary>
    public long CountWindows(long epoch) => (data.Count - 1 - CutStart(epoch)) / ContextLength;

    // windows begin at a different position in each epoch, so that the same tokens do not always precede a token
    long CutStart(long epoch) => shuffle && data.Count - 1 >= 2L * ContextLength
        ? (long)(SeededPermutation.Mix(Key(epoch) ^ 0xc07) % (ulong)ContextLength) : 0;

    ulong Key(long epoch) => SeededPermutation.Mix(SeededPermutation.Mix(seed + 0x9e3779b97f4a7c15) + (ulong)epoch);

    /// <summary>Returns the position of the first token of the window at a position.</summary>
    public long StartOf(DataPosition at)
    {
        long count = CountWindows(at.Epoch);
        return CutStart(at.Epoch) + ContextLength * (shuffle ? new SeededPermutation(count, Key(at.Epoch))[at.Index] : at.Index);
    }

    /// <summary>Returns the next rows.</summary>
    /// <param name="rows">The number of rows.</param>
    /// <param name="device">The device of the tensors. The default, null, means the CPU.</param>
    public TokenBatch Next(int rows, Device? device = null)
    {
        Require.InRange(rows > 0, nameof(rows), rows, "at least 1 row");
        var (before, first) = (position, Normalised(position));
        try
        {
            var starts = new (TokenDataset, long)[rows];
            for (int row = 0; row < rows; row++) starts[row] = (data, NextStart());
            return Read(first, starts, ContextLength, separateDocuments, device);
        }
        catch
        {
            position = before;
            throw;
        }
    }

    /// <summary>Returns the position of the next row, and advances.</summary>
    internal long NextStart()
    {
        var at = Normalised(position);
        position = Normalised(at with { Index = at.Index + 1 });
        return StartOf(at);
    }

    internal DataPosition Normalised(DataPosition at) => at.Index < CountWindows(at.Epoch) ? at : new DataPosition(at.Epoch + 1, 0);

    /// <summary>Reads rows into a batch.</summary>
    /// <param name="position">The position of the batch.</param>
    /// <param name="rows">The data and the first token of each row.</param>
    /// <param name="contextLength">The number of tokens per row.</param>
    /// <param name="separateDocuments">Whether documents in a row are kept apart.</param>
    /// <param name="device">The device of the tensors. Null means the CPU.</param>
    /// <param name="isCounted">Returns whether the token after a position of the data is a target. Null means that all are.</param>
    internal static TokenBatch Read(
        DataPosition position, IReadOnlyList<(TokenDataset Data, long Start)> rows, int contextLength, bool separateDocuments, Device? device,
        Func<long, bool>? isCounted = null)
    {
        var tokens = new long[contextLength + 1];
        var owners = separateDocuments ? new long[contextLength + 1] : [];
        void Fill(int index, TrainingRow row)
        {
            row.Clear();
            WindowReader.Fill(row, rows[index].Data, rows[index].Start, tokens, owners, isCounted);
        }
        return BatchAssembly.Assemble(position, rows.Count, contextLength, device, Fill, new TrainingRow(contextLength));
    }
}

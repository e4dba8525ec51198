using static TorchSharp.torch;

namespace HybridArchitectures.Training;

/// <summary>
/// Cuts the data into windows of one context length and gives them out as rows, each once an epoch, in an order that depends on seed and epoch alone. So the
/// <see cref="Position"/> is all there is to save, and how many rows are asked for at a time changes nothing.
/// </summary>
public sealed class WindowSampler
{
    readonly TokenDataset data;
    readonly bool shuffle, separateDocuments;
    readonly ulong seed;
    DataPosition position;

    /// <summary>A sampler at the data's beginning.</summary>
    /// <param name="data">The tokens.</param>
    /// <param name="contextLength">Tokens a row.</param>
    /// <param name="seed">Decides the order, and from where on the data is cut into windows.</param>
    /// <param name="shuffle">False: in the order of the data, cut from its first token.</param>
    /// <param name="separateDocuments">Keep the documents of a row apart: no state, no attention and no target crosses from one to the next. Off, as
    /// in arXiv 2510.04800, a row is read as one text.</param>
    public WindowSampler(TokenDataset data, int contextLength, long seed = 0, bool shuffle = true, bool separateDocuments = false)
    {
        ArgumentNullException.ThrowIfNull(data);
        Refuse.Unless(contextLength > 0, contextLength, nameof(contextLength), "at least 1 token");
        if (data.Count <= contextLength)
            throw new ArgumentOutOfRangeException(nameof(contextLength), contextLength,
                $"contextLength is {contextLength}; expected less than the data's {data.Count} tokens (a row needs one more than it holds)");
        (this.data, ContextLength, this.seed, this.shuffle, this.separateDocuments) = (data, contextLength, (ulong)seed, shuffle, separateDocuments);
    }

    /// <summary>Tokens a row.</summary>
    public int ContextLength { get; }

    /// <summary>Where the next row stands; may be set to go on from there.</summary>
    public DataPosition Position
    {
        get => position;
        set
        {
            Refuse.Unless(value.Epoch >= 0, value.Epoch, nameof(Position), "an epoch from 0");
            long windows = CountWindows(value.Epoch);
            Refuse.Unless(value.Index >= 0 && value.Index <= windows, value.Index, nameof(Position), $"an index from 0 to the epoch's {windows} windows");
            position = value;
        }
    }

    /// <summary>How many rows an epoch has: one less in some epochs, where the cut begins later.</summary>
    public long CountWindows(long epoch) => (data.Count - 1 - CutStart(epoch)) / ContextLength;

    // windows begin elsewhere in each epoch, so that a token is not always read with the same ones before it
    long CutStart(long epoch) => shuffle && data.Count - 1 >= 2L * ContextLength ? (long)(SeededPermutation.Mix(Key(epoch) ^ 0xc07) % (ulong)ContextLength) : 0;

    ulong Key(long epoch) => SeededPermutation.Mix(SeededPermutation.Mix(seed + 0x9e3779b97f4a7c15) + (ulong)epoch);

    /// <summary>The token where the window at a position begins.</summary>
    public long StartOf(DataPosition at)
    {
        long count = CountWindows(at.Epoch);
        return CutStart(at.Epoch) + ContextLength * (shuffle ? new SeededPermutation(count, Key(at.Epoch))[at.Index] : at.Index);
    }

    /// <summary>The next rows.</summary>
    /// <param name="rows">How many.</param>
    /// <param name="device">Where they shall live; null for main memory.</param>
    public TokenBatch Next(int rows, Device? device = null)
    {
        Refuse.Unless(rows > 0, rows, nameof(rows), "at least 1 row");
        var (before, first) = (position, Normalised(position));
        try
        {
            var places = new (TokenDataset, long)[rows];
            for (int row = 0; row < rows; row++) places[row] = (data, NextStart());
            return Read(first, places, ContextLength, separateDocuments, device);
        }
        catch
        {
            position = before;
            throw;
        }
    }

    /// <summary>Where the next row begins, which is passed by.</summary>
    internal long NextStart()
    {
        var at = Normalised(position);
        position = Normalised(at with { Index = at.Index + 1 });
        return StartOf(at);
    }

    internal DataPosition Normalised(DataPosition at) => at.Index < CountWindows(at.Epoch) ? at : new DataPosition(at.Epoch + 1, 0);

    /// <summary>Reads rows.</summary>
    /// <param name="position">The position that the batch reports.</param>
    /// <param name="rows">The data and the first token of each row.</param>
    /// <param name="contextLength">Tokens per row.</param>
    /// <param name="separateDocuments">Whether the documents of a row are kept apart.</param>
    /// <param name="device">Where the tensors go; null for main memory.</param>
    /// <param name="isCounted">Whether the token after the one at a position of the data is a target; null: all are.</param>
    internal static TokenBatch Read(DataPosition position, IReadOnlyList<(TokenDataset Data, long Start)> rows, int contextLength, bool separateDocuments, Device? device,
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

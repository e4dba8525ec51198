using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Training;

/// <summary>
/// Reads the rows of training data one after another, without end. The rows after a position depend on that position alone, so the position is all that a
/// checkpoint saves, and the number of rows asked for at a time changes nothing. Not safe for use by several threads at once.
/// </summary>
public abstract class TrainingReader
{
    readonly TrainingRow scratch;

    /// <summary>Creates a reader.</summary>
    /// <param name="contextLength">Positions per row.</param>
    protected TrainingReader(int contextLength)
    {
        Refuse.Unless(contextLength > 0, contextLength, nameof(contextLength), "at least 1 position");
        ContextLength = contextLength;
        scratch = new TrainingRow(contextLength);
    }

    /// <summary>Gets the number of positions per row.</summary>
    public int ContextLength { get; }

    /// <summary>Gets or sets the position of the next row. A reader that is set to a position gives the rows that followed it before.</summary>
    /// <exception cref="ArgumentException">No row has this position.</exception>
    public abstract DataPosition Position { get; set; }

    /// <summary>Fills a row, which arrives empty (<see cref="TrainingRow.Clear"/>), and moves on to the next.</summary>
    protected abstract void FillNext(TrainingRow row);

    /// <summary>Passes by rows without using them. The default implementation reads them.</summary>
    /// <param name="rows">How many; at least 0.</param>
    public virtual void Skip(long rows)
    {
        Refuse.Unless(rows >= 0, rows, nameof(rows), "at least 0 rows");
        for (; rows > 0; rows--) ReadRow(scratch);
    }

    /// <summary>Reads the next row.</summary>
    /// <param name="row">Is overwritten; has <see cref="ContextLength"/> positions.</param>
    public void ReadRow(TrainingRow row)
    {
        ArgumentNullException.ThrowIfNull(row);
        Refuse.Unless(row.ContextLength == ContextLength, row.ContextLength, nameof(row), $"{ContextLength} positions, as the reader's rows");
        row.Clear();
        FillNext(row);
    }

    /// <summary>Reads the next rows as one batch.</summary>
    /// <param name="rows">How many; at least 1.</param>
    /// <param name="device">Where the tensors go; null for main memory.</param>
    /// <returns>Tensors of shape (rows, <see cref="ContextLength"/>); the caller disposes the batch.</returns>
    public TokenBatch ReadBatch(int rows, Device? device = null)
    {
        Refuse.Unless(rows > 0, rows, nameof(rows), "at least 1 row");
        var before = Position;
        try
        {
            return BatchAssembly.Assemble(FirstPosition, rows, ContextLength, device, (_, row) => ReadRow(row), scratch);
        }
        catch
        {
            Position = before;
            throw;
        }
    }

    /// <summary>Gets the position that a batch beginning here reports. The default is <see cref="Position"/>.</summary>
    protected virtual DataPosition FirstPosition => Position;
}

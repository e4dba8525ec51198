using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Reads the rows of training data in order, without end. The rows after a position depend only on that position. A checkpoint therefore saves only
/// the position, and the number of rows per read does not matter. Instances are not thread-safe.
/// </summary>
public abstract class TrainingReader
{
    private protected const long MaxSkip = 1L << 32;

    readonly TrainingRow scratch;

    /// <summary>Initializes a reader.</summary>
    /// <param name="contextLength">The number of positions per row.</param>
    protected TrainingReader(int contextLength)
    {
        Require.InRange(contextLength > 0, nameof(contextLength), contextLength, "at least 1 position");
        ContextLength = contextLength;
        scratch = new TrainingRow(contextLength);
    }

    /// <summary>Gets the number of positions per row.</summary>
    public int ContextLength { get; }

    /// <summary>Gets whether every position of every row is a target with a weight of 1. False if it is unknown, as by default.</summary>
    internal virtual bool FillsRows => false;

    /// <summary>Gets or sets the position of the next row. A reader that is set to a position returns the rows that followed it before.</summary>
    /// <exception cref="ArgumentException">No row has this position.</exception>
    public abstract DataPosition Position { get; set; }

    /// <summary>Fills a row, which is empty (<see cref="TrainingRow.Clear"/>), and advances to the next one.</summary>
    protected abstract void FillNext(TrainingRow row);

    /// <summary>Skips rows. The default implementation reads them.</summary>
    /// <param name="rows">The number of rows, from 0 to 4,294,967,296.</param>
    public virtual void Skip(long rows)
    {
        RequireSkip(rows);
        for (; rows > 0; rows--) ReadRow(scratch);
    }

    /// <summary>Refuses numbers of rows that would take minutes to pass, such as those of a damaged file.</summary>
    private protected static void RequireSkip(long rows, [CallerArgumentExpression(nameof(rows))] string name = "") =>
        Require.InRange(rows is >= 0 and <= MaxSkip, name, rows, $"0 to {MaxSkip} rows");

    /// <summary>Reads the next row.</summary>
    /// <param name="row">The row to overwrite. It must have <see cref="ContextLength"/> positions.</param>
    public void ReadRow(TrainingRow row)
    {
        ArgumentNullException.ThrowIfNull(row);
        Require.InRange(row.ContextLength == ContextLength, nameof(row), row.ContextLength, $"{ContextLength} positions, as the reader's rows");
        row.Clear();
        FillNext(row);
    }

    /// <summary>Reads the next rows as one batch.</summary>
    /// <param name="rows">The number of rows, at least 1.</param>
    /// <param name="device">The device of the tensors. The default, null, means the CPU.</param>
    /// <returns>Tensors of shape (rows, <see cref="ContextLength"/>). The caller disposes the batch.</returns>
    public TokenBatch ReadBatch(int rows, Device? device = null)
    {
        Require.InRange(rows > 0, nameof(rows), rows, "at least 1 row");
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

    /// <summary>Gets the position of a batch that begins here. The default is <see cref="Position"/>.</summary>
    protected virtual DataPosition FirstPosition => Position;
}

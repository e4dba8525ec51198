using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// How the rows of a batch are filled: real tokens first, pads after them (rows are right-padded), and the real tokens of a row may be several documents.
/// <para>
/// What every operator along the sequence makes of it: at a pad the state stays as it is, the output is 0 and no gradient flows; at the first token of a
/// document the state is as before an empty row (zero); the final state is the one after a row's last real token, so a row without tokens gives its
/// initial state back. A given initial state belongs to the document of column 0.
/// </para>
/// </summary>
public sealed class SequenceLayout : IDisposable
{
    readonly long[]? rowLengths;

    SequenceLayout(long batch, long length, long[]? rowLengths, Tensor? documentIds, Tensor? valid, Tensor? starts, Tensor? lengths)
    {
        (Batch, Length, this.rowLengths) = (batch, length, rowLengths);
        DocumentIds = documentIds?.DetachFromDisposeScope();
        Valid = valid?.DetachFromDisposeScope();
        Starts = starts?.DetachFromDisposeScope();
        Lengths = lengths?.DetachFromDisposeScope();
    }

    /// <summary>The number of rows.</summary>
    public long Batch { get; }

    /// <summary>The number of columns, pads included.</summary>
    public long Length { get; }

    /// <summary>The number of real tokens of each row; null when every row is full.</summary>
    public IReadOnlyList<long>? RowLengths => rowLengths;

    /// <summary>(batch, length) int64, not decreasing along a row: the document each token belongs to. Null: one document per row.</summary>
    public Tensor? DocumentIds { get; }

    /// <summary>(batch, length) bool, false at pads. Null: no pads.</summary>
    public Tensor? Valid { get; }

    /// <summary>(batch, length) bool, true where a real token begins a new document; never in column 0, where a given initial state goes on. Null:
    /// nowhere.</summary>
    public Tensor? Starts { get; }

    /// <summary>(batch) int64: <see cref="RowLengths"/> as a tensor; null when every row is full.</summary>
    public Tensor? Lengths { get; }

    /// <summary>One document per row, of the given lengths.</summary>
    /// <param name="rowLengths">The real tokens of each row, 0 to <paramref name="length"/>.</param>
    /// <param name="length">The number of columns.</param>
    /// <param name="device">Where the tensors live; null for main memory.</param>
    public static SequenceLayout Padded(IReadOnlyList<long> rowLengths, long length, Device? device = null)
    {
        var lengths = CheckedLengths(rowLengths, length);
        using var scope = NewDisposeScope();
        return Create(lengths, length, null, null, device);
    }

    /// <summary>Rows of several documents, one after another; what they leave of a row is pads.</summary>
    /// <param name="documentLengths">For each row the lengths of its documents (0 is allowed), together at most <paramref name="length"/>.</param>
    /// <param name="length">The number of columns.</param>
    /// <param name="device">Where the tensors live; null for main memory.</param>
    public static SequenceLayout Packed(IReadOnlyList<IReadOnlyList<long>> documentLengths, long length, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(documentLengths);
        for (int row = 0; row < documentLengths.Count; row++)
            for (int i = 0; i < documentLengths[row]?.Count; i++)
                if (documentLengths[row][i] < 0) throw new ArgumentException($"documentLengths[{row}][{i}] is {documentLengths[row][i]}; expected at least 0", nameof(documentLengths));
        var lengths = CheckedLengths(documentLengths.Select(row => (row ?? throw new ArgumentNullException(nameof(documentLengths))).Sum()).ToArray(),
            length, nameof(documentLengths));
        var ids = new long[checked(lengths.Length * length)];
        var starts = new bool[ids.Length];
        for (int row = 0; row < lengths.Length; row++)
        {
            long column = row * length, document = 0;
            for (int i = 0; i < documentLengths[row].Count; i++)
            {
                long count = documentLengths[row][i];
                if (count == 0) continue;
                starts[column] = column > row * length;
                ids.AsSpan((int)column, (int)count).Fill(document = i);
                column += count;
            }
            ids.AsSpan((int)column, (int)((row + 1) * length - column)).Fill(document);
        }
        using var scope = NewDisposeScope();
        return Create(lengths, length, tensor(ids, [lengths.Length, length]), tensor(starts, [lengths.Length, length]), device);
    }

    /// <summary>Rows whose documents are told by a number at each token; a change of number begins a new document.</summary>
    /// <param name="documentIds">(batch, length) int64, not decreasing along a row. It is copied.</param>
    /// <param name="rowLengths">The real tokens of each row; null when every row is full.</param>
    public static SequenceLayout FromDocumentIds(Tensor documentIds, IReadOnlyList<long>? rowLengths = null)
    {
        ArgumentNullException.ThrowIfNull(documentIds);
        if (documentIds.dtype != ScalarType.Int64 || documentIds.dim() != 2)
            throw new ArgumentException($"documentIds is {documentIds.dtype} of shape {Checks.Describe(documentIds)}; expected Int64 of shape (batch, length)", nameof(documentIds));
        long batch = documentIds.size(0), length = documentIds.size(1);
        var lengths = rowLengths is null ? Enumerable.Repeat(length, checked((int)batch)).ToArray() : CheckedLengths(rowLengths, length);
        if (lengths.Length != batch) throw new ArgumentException($"rowLengths has {lengths.Length} entries; expected {batch}, the rows of documentIds",
            nameof(rowLengths));
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        // one copy to main memory, where the boundaries are found
        var ids = TensorMemory.Span<long>(documentIds.cpu().contiguous());
        var starts = new bool[ids.Length];
        for (int row = 0; row < batch; row++)
            for (long column = 1, i = row * length + 1; column < length; column++, i++)
            {
                if (column < lengths[row] && ids[(int)i] < ids[(int)i - 1])
                    throw new ArgumentException($"documentIds falls from {ids[(int)i - 1]} to {ids[(int)i]} at row {row}, column {column}; expected numbers that do not decrease", nameof(documentIds));
                starts[i] = column < lengths[row] && ids[(int)i] != ids[(int)i - 1];
            }
        return Create(lengths, length, documentIds.detach().clone(), tensor(starts, [batch, length]), documentIds.device);
    }

    /// <summary>Disposes the tensors.</summary>
    public void Dispose()
    {
        DocumentIds?.Dispose();
        Valid?.Dispose();
        Starts?.Dispose();
        Lengths?.Dispose();
    }

    /// <summary>Its tensors, for a gradient to keep.</summary>
    internal Tensor?[] Tensors => [DocumentIds, Valid, Starts, Lengths];

    /// <summary>The same layout, which may be disposed by now, over its <see cref="Tensors"/> as they were kept.</summary>
    internal SequenceLayout Over(IReadOnlyList<Tensor?> kept) => new(Batch, Length, rowLengths, kept[0], kept[1], kept[2], kept[3]);

    internal long RowLength(long row) => rowLengths is null ? Length : rowLengths[row];

    static SequenceLayout Create(long[] lengths, long length, Tensor? documentIds, Tensor? starts, Device? device)
    {
        bool full = lengths.All(value => value == length);
        Tensor Place(Tensor value) => device is null ? value : value.to(device);
        using var noGrad = no_grad();
        var counts = full ? null : Place(tensor(lengths));
        var valid = counts is null ? null : Indices.Range(0, length, counts.device).unsqueeze(0).lt(counts.unsqueeze(1));
        if (starts is not null && !TensorMemory.Span<bool>(starts).Contains(true)) starts = null;
        return new(lengths.Length, length, full ? null : lengths, documentIds is null ? null : Place(documentIds), valid,
            starts is null ? null : Place(starts), counts);
    }

    static long[] CheckedLengths(IReadOnlyList<long> rowLengths, long length, string name = nameof(rowLengths))
    {
        ArgumentNullException.ThrowIfNull(rowLengths, name);
        if (length < 1) throw new ArgumentOutOfRangeException(nameof(length), length, $"length is {length}; expected at least 1");
        if (rowLengths.Count == 0) throw new ArgumentException($"{name} is empty; expected one entry per row", name);
        for (int i = 0; i < rowLengths.Count; i++)
            if (rowLengths[i] < 0 || rowLengths[i] > length) throw new ArgumentException($"{name} gives row {i} {rowLengths[i]} tokens; expected 0 to {length}, the number of columns", name);
        return [.. rowLengths];
    }
}

using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Describes how the rows of a batch are filled: tokens first, then padding (rows are right-padded). The tokens of a row can be several documents.
/// <para>
/// Every operator along the sequence uses it in the same way. At padding, the state does not change, the output is 0, and no gradient flows. At the
/// first token of a document, the state is zero. The final state is that after the last token of a row, so a row without tokens returns its initial
/// state. An initial state belongs to the document of column 0.
/// </para>
/// </summary>
/// <example>
/// <code>
/// using var scope = NewDisposeScope();
/// using var layout = SequenceLayout.Packed([[100, 200], [250]], length: 300);        // two documents in row 0; 50 padding tokens in row 1
/// Tensor x = randn(2, 300, 32), weight = randn(32, 4);
/// var (output, state) = CausalConvolution.Forward(x, weight, silu: true, layout: layout);
/// </code>
/// </example>
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

    /// <summary>Gets the number of rows.</summary>
    public long Batch { get; }

    /// <summary>Gets the number of columns, including padding.</summary>
    public long Length { get; }

    /// <summary>Gets the number of tokens of each row. Null if every row is full.</summary>
    public IReadOnlyList<long>? RowLengths => rowLengths;

    /// <summary>Gets the document of each token, shape (batch, length), int64, not decreasing along a row. Null means one document per row.</summary>
    public Tensor? DocumentIds { get; }

    /// <summary>Gets whether each position is a token, shape (batch, length), bool, false at padding. Null means no padding.</summary>
    public Tensor? Valid { get; }

    /// <summary>
    /// Gets whether a token starts a new document, shape (batch, length), bool. It is never true in column 0, where an initial state continues. Null
    /// means that none starts.
    /// </summary>
    public Tensor? Starts { get; }

    /// <summary>Gets <see cref="RowLengths"/> as a tensor, shape (batch), int64. Null if every row is full.</summary>
    public Tensor? Lengths { get; }

    /// <summary>Creates a layout with one document per row.</summary>
    /// <param name="rowLengths">The number of tokens of each row, 0 to <paramref name="length"/>.</param>
    /// <param name="length">The number of columns.</param>
    /// <param name="device">The device of the tensors. The default, null, means the CPU.</param>
    public static SequenceLayout Padded(IReadOnlyList<long> rowLengths, long length, Device? device = null)
    {
        Require.KnownDevice(device);
        var lengths = CheckedLengths(rowLengths, length);
        using var scope = NewDisposeScope();
        return Create(lengths, length, null, null, device);
    }

    /// <summary>Creates a layout of rows with several consecutive documents. The rest of a row is padding.</summary>
    /// <param name="documentLengths">The lengths of the documents of each row, at least 0, and together at most <paramref name="length"/>.</param>
    /// <param name="length">The number of columns.</param>
    /// <param name="device">The device of the tensors. The default, null, means the CPU.</param>
    public static SequenceLayout Packed(IReadOnlyList<IReadOnlyList<long>> documentLengths, long length, Device? device = null)
    {
        Require.Items(documentLengths);
        Require.KnownDevice(device);
        for (int row = 0; row < documentLengths.Count; row++)
            for (int i = 0; i < documentLengths[row].Count; i++)
                if (documentLengths[row][i] < 0)
                    throw Require.Unfit(nameof(documentLengths), $"documentLengths[{row}][{i}] is {documentLengths[row][i]}", "at least 0");
        var lengths = CheckedLengths(documentLengths.Select(row => row.Sum()).ToArray(),
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

    /// <summary>Creates a layout from a document number at each token. A change of the number starts a new document.</summary>
    /// <param name="documentIds">The document numbers, shape (batch, length), int64, not decreasing along a row. They are copied.</param>
    /// <param name="rowLengths">The number of tokens of each row. The default, null, means that every row is full.</param>
    public static SequenceLayout FromDocumentIds(Tensor documentIds, IReadOnlyList<long>? rowLengths = null)
    {
        Require.Alive(documentIds);
        return FromDocumentIds(documentIds, rowLengths, documentIds.device);
    }

    /// <summary>Creates the same layout on another device, without waiting for it if the numbers are in main memory.</summary>
    internal static SequenceLayout FromDocumentIds(Tensor documentIds, IReadOnlyList<long>? rowLengths, Device? device)
    {
        if (documentIds.dtype != ScalarType.Int64 || documentIds.dim() != 2)
            throw Require.Unfit(nameof(documentIds), $"documentIds is {documentIds.dtype} of shape {Checks.Describe(documentIds)}",
                "Int64 of shape (batch, length)");
        long batch = documentIds.size(0), length = documentIds.size(1);
        var lengths = rowLengths is null ? Enumerable.Repeat(length, checked((int)batch)).ToArray() : CheckedLengths(rowLengths, length);
        if (lengths.Length != batch)
            throw Require.Unfit(nameof(rowLengths), $"rowLengths has {lengths.Length} entries", $"{batch}, the rows of documentIds");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        // one copy to main memory, where the boundaries are found
        var ids = TensorMemory.Span<long>(documentIds.cpu().contiguous());
        var starts = new bool[ids.Length];
        for (int row = 0; row < batch; row++)
            for (long column = 1, i = row * length + 1; column < length; column++, i++)
            {
                if (column < lengths[row] && ids[(int)i] < ids[(int)i - 1])
                    throw Require.Unfit(nameof(documentIds),
                        $"documentIds falls from {ids[(int)i - 1]} to {ids[(int)i]} at row {row}, column {column}", "numbers that do not decrease");
                starts[i] = column < lengths[row] && ids[(int)i] != ids[(int)i - 1];
            }
        return Create(lengths, length, documentIds.detach().clone(), tensor(starts, [batch, length]), device);
    }

    /// <summary>Disposes the tensors.</summary>
    public void Dispose()
    {
        DocumentIds?.Dispose();
        Valid?.Dispose();
        Starts?.Dispose();
        Lengths?.Dispose();
    }

    /// <summary>Gets the tensors, to save them for backward.</summary>
    internal Tensor?[] Tensors => [DocumentIds, Valid, Starts, Lengths];

    /// <summary>Returns the same layout, which may be disposed by now, with its saved <see cref="Tensors"/>.</summary>
    internal SequenceLayout Over(IReadOnlyList<Tensor?> kept) => new(Batch, Length, rowLengths, kept[0], kept[1], kept[2], kept[3]);

    internal long RowLength(long row) => rowLengths is null ? Length : rowLengths[row];

    static SequenceLayout Create(long[] lengths, long length, Tensor? documentIds, Tensor? starts, Device? device)
    {
        bool full = lengths.All(value => value == length);
        Tensor OnDevice(Tensor value) => DeviceCopy.Place(value, device);
        using var noGrad = no_grad();
        var counts = full ? null : OnDevice(tensor(lengths));
        var valid = counts is null ? null : Indices.Range(0, length, counts.device).unsqueeze(0).lt(counts.unsqueeze(1));
        if (starts is not null && !TensorMemory.Span<bool>(starts).Contains(true)) starts = null;
        return new(lengths.Length, length, full ? null : lengths, documentIds is null ? null : OnDevice(documentIds), valid,
            starts is null ? null : OnDevice(starts), counts);
    }

    static long[] CheckedLengths(IReadOnlyList<long> rowLengths, long length, string name = nameof(rowLengths))
    {
        ArgumentNullException.ThrowIfNull(rowLengths, name);
        Require.AtLeast(length, 1);
        if (rowLengths.Count == 0) throw Require.Unfit(name, $"{name} is empty", "one entry per row");
        for (int i = 0; i < rowLengths.Count; i++)
            if (rowLengths[i] < 0 || rowLengths[i] > length)
                throw Require.Unfit(name, $"{name} gives row {i} {rowLengths[i]} tokens", $"0 to {length}, the number of columns");
        return [.. rowLengths];
    }
}

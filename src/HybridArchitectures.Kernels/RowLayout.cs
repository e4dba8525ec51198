using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the part of a <see cref="SequenceLayout"/> that kernels read and save; all null for full rows of one document.</summary>
/// <param name="Starts">Whether a token starts a new document, shape (batch, length), bool.</param>
/// <param name="Lengths">The number of tokens of each row, shape (batch), int64.</param>
/// <param name="RowLengths">The same numbers in main memory.</param>
sealed record RowLayout(Tensor? Starts, Tensor? Lengths, IReadOnlyList<long>? RowLengths) : ISavedTensors<RowLayout>
{
    public static RowLayout From(SequenceLayout? layout) => new(layout?.Starts, layout?.Lengths, layout?.RowLengths);

    public RowLayout Map(Func<Tensor?, Tensor?> replace) => new(replace(Starts), replace(Lengths), RowLengths);

    /// <summary>Returns the layout of some rows.</summary>
    public RowLayout Rows(long first, long count) => first == 0 && (RowLengths is null || count == RowLengths.Count) ? this
        : new(Starts?.narrow(0, first, count), Lengths?.narrow(0, first, count), RowLengths?.Skip((int)first).Take((int)count).ToArray());
}

using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Data;

/// <summary>Assembles rows to the tensors of a <see cref="TokenBatch"/>.</summary>
static class BatchAssembly
{
    /// <summary>Assembles a batch.</summary>
    /// <param name="position">The position of the batch.</param>
    /// <param name="rows">The number of rows.</param>
    /// <param name="contextLength">The number of positions per row.</param>
    /// <param name="device">The device of the tensors. The default, null, means the CPU.</param>
    /// <param name="fill">Fills the row with an index.</param>
    /// <param name="row">A row to reuse.</param>
    public static TokenBatch Assemble(
        DataPosition position, int rows, int contextLength, Device? device, Action<int, TrainingRow> fill, TrainingRow row)
    {
        Require.KnownDevice(device);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var ids = empty([rows, contextLength], ScalarType.Int64);
        var targets = empty([rows, contextLength], ScalarType.Int64);
        var optional = new OptionalParts(rows, contextLength);
        long counted = 0;
        long? bytes = 0;
        for (int i = 0; i < rows; i++)
        {
            fill(i, row);
            row.Targets[row.Length..].Fill(TrainingRow.NoTarget);
            row.Ids.CopyTo(TensorMemory.Span<long>(ids).Slice(i * contextLength, contextLength));
            row.Targets.CopyTo(TensorMemory.Span<long>(targets).Slice(i * contextLength, contextLength));
            counted += contextLength - row.Targets.Count(TrainingRow.NoTarget);
            bytes += row.Bytes;
            optional.Add(i, row);
        }
        GC.KeepAlive(ids);
        GC.KeepAlive(targets);
        Tensor OnDevice(Tensor value) => DeviceCopy.Place(value, device);
        var (weights, sum) = optional.Weights(TensorMemory.Span<long>(targets), counted);
        return new TokenBatch(position, OnDevice(ids), OnDevice(targets), optional.Layout(device), counted, bytes ?? 0,
            weights is null ? null : OnDevice(weights), sum);
    }

    /// <summary>Contains the parts that most rows do not have: documents, weights and padding.</summary>
    sealed class OptionalParts(int rows, int contextLength)
    {
        readonly long[] lengths = new long[rows];
        long[]? documents;
        float[]? weights;

        public void Add(int index, TrainingRow row)
        {
            lengths[index] = row.Length;
            if (row.HasDocuments)
            {
                documents ??= new long[rows * contextLength];
                row.UseDocuments().CopyTo(documents.AsSpan(index * contextLength));
            }
            if (!row.HasWeights && weights is null) return;
            if (weights is null)
            {
                weights = new float[rows * contextLength];
                weights.AsSpan(0, index * contextLength).Fill(1);
            }
            if (row.HasWeights) row.UseWeights().CopyTo(weights.AsSpan(index * contextLength));
            else weights.AsSpan(index * contextLength, contextLength).Fill(1);
        }

        public (Tensor? Weights, double Sum) Weights(ReadOnlySpan<long> targets, long counted)
        {
            if (weights is null) return (null, counted);
            double sum = 0;
            for (int i = 0; i < weights.Length; i++)
            {
                if (!(weights[i] >= 0) || !float.IsFinite(weights[i]))
                    throw new InvalidDataException(
                        $"the weight at row {i / contextLength}, position {i % contextLength} is {weights[i]}; expected a finite number of at "
                        + "least 0");
                if (targets[i] != TrainingRow.NoTarget) sum += weights[i];
            }
            return (tensor(weights, [rows, contextLength]), sum);
        }

        public SequenceLayout? Layout(Device? device)
        {
            bool isFull = lengths.All(length => length == contextLength);
            if (documents is not null)
                return SequenceLayout.FromDocumentIds(tensor(documents, [rows, contextLength]), isFull ? null : lengths, device);
            return isFull ? null : SequenceLayout.Padded(lengths, contextLength, device);
        }
    }
}

using HybridArchitectures.Cost;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Verification;

/// <summary>
/// Implements the checks of <see cref="DesignVerifier"/>. A check that is not about several rows uses one row, so that a dependence between rows
/// fails only the checks about rows.
/// </summary>
sealed class InvarianceChecks
{
    const int Rows = 3;

    readonly HybridLanguageModel model;
    readonly LayerProbe probe;
    readonly int length;
    readonly Tensor ids, others;        // (rows, length)
    readonly int[] order = [2, 0, 1];

    public InvarianceChecks(HybridLanguageModel model, LayerProbe probe, VerificationOptions options)
    {
        (this.model, this.probe, length) = (model, probe, options.Length);
        using var generator = new Generator((ulong)options.Seed + 1, CPU);
        ids = randint(model.VocabularySize, [Rows, length], ScalarType.Int64, generator: generator).to(model.Device);
        // differs from ids at every position
        others = model.VocabularySize == 1 ? ids
            : ids.add(randint(1, model.VocabularySize, [Rows, length], ScalarType.Int64, generator: generator).to(model.Device),
            Scalars.One).remainder(Scalars.From(model.VocabularySize));
    }

    /// <summary>Gets a description of the last pass.</summary>
    public string Trying { get; private set; } = "";

    public void Run(Invariance invariance, LayerErrors errors)
    {
        Trying = "rows alone";
        switch (invariance)
        {
            case Invariance.Causality: Causality(errors); break;
            case Invariance.BatchOrder: BatchOrder(errors); break;
            case Invariance.Padding: Padding(errors); break;
            case Invariance.Packing: Packing(errors); break;
            case Invariance.ChunkedPrefill: ChunkedPrefill(errors); break;
            case Invariance.SingleSteps: Chunks(errors, Enumerable.Repeat(1, length).ToArray(), "token by token"); break;
            case Invariance.RaggedBatch: RaggedBatch(errors); break;
            case Invariance.CacheRows: CacheRows(errors); break;
            case Invariance.CacheReturn: CacheReturn(errors); break;
            case Invariance.CacheBytes: CacheBytes(errors); break;
            default: throw new InvalidOperationException($"unknown invariance {invariance}");
        }
    }

    void Causality(LayerErrors errors)
    {
        var whole = probe.Run(Row(ids, 0));
        foreach (int at in new[] { 1, length / 2, length - 1 })
        {
            Trying = $"other tokens from {at} on";
            errors.Compare(Columns(whole, 0, at),
                Columns(probe.Run(cat([Columns(Row(ids, 0), 0, at), Columns(Row(others, 0), at, length - at)], 1)), 0, at), Trying);
        }
    }

    void BatchOrder(LayerErrors errors)
    {
        var alone = Alone(ids);
        Trying = $"{Rows} rows at once";
        var together = probe.Run(ids);
        for (int row = 0; row < Rows; row++) errors.Compare(alone[row], RowOf(together, row), Trying);
        Trying = "rows in another order";
        var reordered = probe.Run(Take(ids, order));
        for (int row = 0; row < Rows; row++) errors.Compare(alone[order[row]], RowOf(reordered, row), Trying);
        Trying = "other rows in the batch";
        var withOthers = probe.Run(cat([Row(ids, 0), Row(others, 1), Row(others, 2)], 0));
        errors.Compare(alone[0], RowOf(withOthers, 0), Trying);
    }

    void Padding(LayerErrors errors)
    {
        foreach (int real in new[] { length / 2, 1 })
        {
            var row = Columns(Row(ids, 0), 0, real);
            var alone = probe.Run(row);
            foreach (int left in new[] { 0, length - real, (length - real) / 2 })
            {
                int right = length - real - left;
                Trying = $"{real} tokens with {left} padding tokens before and {right} after";
                var padded = cat([Columns(Row(others, 1), 0, left), row, Columns(Row(others, 2), 0, right)], 1);
                using (var context = SequenceContext.FromMask(Mask(left, real, right)))
                    errors.Compare(alone, Columns(probe.Run(padded, context), 0, real), Trying);
                Trying += ", then more through the cache";
                // not longer than necessary: rotary scaling can depend on the length of a row
                var whole = probe.Run(cat([row, Columns(Row(others, 0), 0, 4)], 1));
                using var cache = model.CreateCache(1);
                using (var context = SequenceContext.FromMask(Mask(left, real, right), cache))
                    errors.Compare(Columns(whole, 0, real), Columns(probe.Run(padded, context), 0, real), Trying);
                errors.Compare(Columns(whole, real, 3), Continue(cache, Columns(Row(others, 0), 0, 3)), Trying);
                errors.Compare(Columns(whole, real + 3, 1), Continue(cache, Columns(Row(others, 0), 3, 1)), Trying);
            }
        }
    }

    Tensor Mask(int left, int real, int right) =>
        cat([zeros([1, left], ScalarType.Int64), ones([1, real], ScalarType.Int64), zeros([1, right], ScalarType.Int64)], 1).to(model.Device);

    void Packing(LayerErrors errors)
    {
        foreach (long[] documents in new long[][] { [length / 3, 0, 1, length - length / 3 - 1], [1, 1, length - 2],
            [length / 2, length - length / 2] })
        {
            Trying = $"documents of {string.Join(", ", documents)} tokens in a row";
            using var layout = SequenceLayout.Packed([documents], length, model.Device);
            using var context = new SequenceContext(layout);
            var packed = probe.Run(Row(ids, 0), context);
            long start = 0;
            foreach (long count in documents.Where(count => count > 0))
            {
                errors.Compare(probe.Run(Columns(Row(ids, 0), start, count)), Columns(packed, start, count), Trying);
                start += count;
            }
        }
    }

    void ChunkedPrefill(LayerErrors errors)
    {
        foreach (int[] chunks in new int[][] { [length], [length / 2, length - length / 2], [2, length - 2], [length - 1, 1],
            [length / 3, 1, length / 4, length - length / 3 - 1 - length / 4] })
            Chunks(errors, chunks, $"chunks of {string.Join(", ", chunks)} tokens");
    }

    void Chunks(LayerErrors errors, int[] chunks, string what)
    {
        var whole = probe.Run(Row(ids, 0));
        Trying = what;
        using var cache = model.CreateCache(1);
        long start = 0;
        foreach (int count in chunks)
        {
            errors.Compare(Columns(whole, start, count), Continue(cache, Columns(Row(ids, 0), start, count)), $"{what}, at token {start + 1}");
            start += count;
        }
    }

    void RaggedBatch(LayerErrors errors)
    {
        long[] real = [length / 2, 1, length / 3];
        // all rows have the length of the longest with the tokens that follow it
        long AsLongAsOthers(int row) => real.Max() - real[row] + 5;
        var alone = Enumerable.Range(0, Rows)
            .Select(row => probe.Run(cat([Columns(Row(ids, row), 0, real[row]), Columns(Row(others, row), 0, AsLongAsOthers(row))], 1))).ToArray();
        using var cache = model.CreateCache(Rows);
        long start = 0, maxLength = real.Max();
        foreach (long count in new[] { maxLength - 2, 2 })
        {
            Trying = $"prompts of {string.Join(", ", real)} tokens, {count} at a time from {start + 1} on";
            var lengths = real.Select(total => Math.Clamp(total - start, 0, count)).ToArray();
            using (var layout = SequenceLayout.Padded(lengths, count, model.Device))
            using (var context = new SequenceContext(layout, cache))
            {
                var read = probe.Run(Columns(ids, start, count), context);
                for (int row = 0; row < Rows; row++)
                    errors.Compare(Columns(alone[row], start, lengths[row]), Columns(RowOf(read, row), 0, lengths[row]), Trying);
            }
            start += count;
        }
        long done = 0;
        foreach (long count in new long[] { 3, 1, 1 })
        {
            Trying = $"{count} tokens more on each of unequal rows";
            var more = Continue(cache, Columns(others, done, count));
            for (int row = 0; row < Rows; row++) errors.Compare(Columns(alone[row], real[row] + done, count), RowOf(more, row), Trying);
            done += count;
        }
    }

    void CacheRows(LayerErrors errors)
    {
        int half = length / 2;
        var alone = Alone(ids);
        using var first = model.CreateCache(2);
        Trying = "a prompt for each of two rows";
        Continue(first, Columns(Take(ids, [0, 1]), 0, half));
        using var second = model.CreateCache(1);
        Continue(second, Columns(Row(ids, 2), 0, half - 2));
        Trying = "rows copied and put in another order";
        using var copied = first.Select(1, 0, 1);
        Follow(errors, alone, copied, [1, 0, 1], [half, half, half], 2);
        Trying = "a row that joins a batch";
        using var joined = first.Append(second);
        Follow(errors, alone, joined, [0, 1, 2], [half, half, half - 2], 2);
        Trying = "a row that has left a batch";
        using var left = joined.Drop(0);
        Follow(errors, alone, left, [1, 2], [half + 2, half], 1);
    }

    void CacheReturn(LayerErrors errors)
    {
        int half = length / 2;
        var alone = Alone(ids);
        using var cache = model.CreateCache(2);
        Trying = "a prompt for each of two rows";
        Continue(cache, Columns(Take(ids, [0, 1]), 0, half));
        using var snapshot = cache.Snapshot();
        for (int time = 0; time < 2; time++)
        {
            Trying = "back to a snapshot after other tokens";
            Continue(cache, Columns(Take(others, [0, 1]), 0, 3 + time));
            cache.Rewind(snapshot);
            Follow(errors, alone, cache, [0, 1], [half, half], 2);
            cache.Rewind(snapshot);
        }
        Trying = "a cache restored from what is saved of it";
        using var restored = model.CreateCache(2);
        for (int block = 0; block < cache.States.Count; block++)
            restored.States[block]?.Restore([.. cache.States[block]!.Save(cache.Lengths).Select(value => value.cpu())], cache.Lengths);
        restored.SetLengths(cache.Lengths);
        Follow(errors, alone, restored, [0, 1], [half, half], 2);
    }

    void CacheBytes(LayerErrors errors)
    {
        int elementSize = model.ComputeType switch { ScalarType.BFloat16 => 2, ScalarType.Float64 => 8, _ => 4 };
        foreach (int count in new[] { 1, length / 2, length - 1 })
        {
            Trying = $"{Rows} rows of {count} tokens and a step";
            using var cache = model.CreateCache(Rows);
            Continue(cache, Columns(ids, 0, count));
            Continue(cache, Columns(ids, count, 1));
            cache.Trim();
            for (int block = 0; block < cache.States.Count; block++)
            {
                long counted = Rows * CacheSize.FromDesign(model.Design, model.Design.Blocks[block], count + 1, elementSize).Total,
                    held = Held(cache.States[block]);
                errors.Compare(block, counted, held, $"{Trying}: {counted:N0} bytes are counted and {held:N0} are held");
            }
        }
    }

    // a custom state is counted by its tensors, regardless of the count that it reports
    static long Held(MixerState? state) => state is null ? 0
        : state.GetType().Assembly == typeof(MixerState).Assembly ? state.Bytes
        : state.Tensors.Sum(tensor => tensor.NumberOfElements * tensor.ElementSize);

    // reads the tokens of each row from its own position on
    void Follow(LayerErrors errors, IReadOnlyList<Tensor>[] alone, HybridCache cache, int[] rows, int[] from, int count)
    {
        var more = Continue(cache, cat([.. rows.Select((row, i) => Columns(Row(ids, row), from[i], count))], 0));
        for (int i = 0; i < rows.Length; i++) errors.Compare(Columns(alone[rows[i]], from[i], count), RowOf(more, i), Trying);
    }

    IReadOnlyList<Tensor> Continue(HybridCache cache, Tensor tokens)
    {
        using var context = new SequenceContext(cache: cache);
        return probe.Run(tokens, context);
    }

    IReadOnlyList<Tensor>[] Alone(Tensor tokens) => [.. Enumerable.Range(0, Rows).Select(row => probe.Run(Row(tokens, row)))];

    static Tensor Row(Tensor tokens, int row) => tokens.narrow(0, row, 1);

    static Tensor Take(Tensor tokens, int[] rows) => cat([.. rows.Select(row => Row(tokens, row))], 0);

    static Tensor Columns(Tensor tokens, long start, long count) => tokens.narrow(1, start, count);

    static IReadOnlyList<Tensor> Columns(IReadOnlyList<Tensor> layers, long start, long count) =>
        [.. layers.Select(layer => layer.narrow(1, start, count))];

    static IReadOnlyList<Tensor> RowOf(IReadOnlyList<Tensor> layers, int row) => [.. layers.Select(layer => layer.narrow(0, row, 1))];
}

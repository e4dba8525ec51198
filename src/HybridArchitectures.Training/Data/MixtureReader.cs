namespace HybridArchitectures.Training.Data;

/// <summary>
/// Reads rows of a <see cref="DataMixture"/> with several sources. The position counts rows in one endless epoch. The source of row n, and the row of
/// that source, follow from n.
/// </summary>
sealed class MixtureReader : TrainingReader
{
    readonly TrainingReader[] readers;
    readonly DataPosition[] beginnings;
    readonly double[] shares;
    readonly long[] drawn;      // the number of rows of each source before the position
    long rows;

    public MixtureReader(DataMixture mixture, TrainingReaderOptions options) : base(options.ContextLength)
    {
        readers = [.. mixture.Sources.Select((source, index) => source.Data.OpenReader(options with { Seed = SeedOf(options.Seed, index) }))];
        beginnings = [.. readers.Select(reader => reader.Position)];
        double sum = mixture.Sources.Sum(source => source.Weight);
        shares = [.. mixture.Sources.Select(source => source.Weight / sum)];
        drawn = new long[shares.Length];
    }

    internal static long SeedOf(long seed, int source) =>
        source == 0 ? seed : (long)SeededPermutation.Mix((ulong)seed + 0x9e3779b97f4a7c15 * (ulong)source);

    internal override bool FillsRows => Array.TrueForAll(readers, reader => reader.FillsRows);

    public override DataPosition Position
    {
        get => new(0, rows);
        set
        {
            Require.InRange(value.Epoch == 0, nameof(Position), value.Epoch, "epoch 0, because several sources are mixed without end");
            RequireSkip(value.Index, nameof(Position));
            Array.Clear(drawn);
            for (rows = 0; rows < value.Index; rows++) drawn[NextSource()]++;
            for (int i = 0; i < readers.Length; i++)
            {
                readers[i].Position = beginnings[i];
                readers[i].Skip(drawn[i]);
            }
        }
    }

    // the same sums are always computed in the same order, so rounding does not depend on whether the run was resumed
    int NextSource()
    {
        int best = 0;
        double furthest = double.NegativeInfinity;
        for (int i = 0; i < shares.Length; i++)
        {
            double behind = shares[i] * (rows + 1) - drawn[i];
            if (behind > furthest) (best, furthest) = (i, behind);
        }
        return best;
    }

    protected override void FillNext(TrainingRow row)
    {
        int source = NextSource();
        readers[source].ReadRow(row);
        drawn[source]++;
        rows++;
    }

    public override void Skip(long rows)
    {
        RequireSkip(rows);
        var passed = new long[readers.Length];
        for (; rows > 0; rows--, this.rows++)
        {
            int source = NextSource();
            drawn[source]++;
            passed[source]++;
        }
        for (int i = 0; i < readers.Length; i++) readers[i].Skip(passed[i]);
    }
}

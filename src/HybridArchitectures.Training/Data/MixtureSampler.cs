using static TorchSharp.torch;

namespace HybridArchitectures.Training;

/// <summary>
/// Rows of a <see cref="DataMixture"/>. Of several sources each has a <see cref="WindowSampler"/> of its own, and the position counts rows in one epoch without end; which source row n is from, and
/// which of its rows, follows from n.
/// </summary>
sealed class MixtureSampler
{
    readonly WindowSampler[] samplers;
    readonly double[] shares;
    readonly long[] drawn;      // rows of each source before the position
    readonly bool separateDocuments;
    long rows;

    public MixtureSampler(DataMixture mixture, int context, long seed, bool separateDocuments)
    {
        samplers = [.. mixture.Sources.Select((source, index) => new WindowSampler(source.Data, context, SeedOf(seed, index), shuffle: true, separateDocuments))];
        double sum = mixture.Sources.Sum(source => source.Weight);
        shares = [.. mixture.Sources.Select(source => source.Weight / sum)];
        drawn = new long[shares.Length];
        this.separateDocuments = separateDocuments;
        (Context, Mixture) = (context, mixture);
    }

    static long SeedOf(long seed, int source) => source == 0 ? seed : (long)SeededPermutation.Mix((ulong)seed + 0x9e3779b97f4a7c15 * (ulong)source);

    DataMixture Mixture { get; }

    int Context { get; }

    public DataPosition Position
    {
        get => samplers.Length == 1 ? samplers[0].Position : new DataPosition(0, rows);
        set
        {
            if (samplers.Length == 1)
            {
                samplers[0].Position = value;
                return;
            }
            Refuse.Unless(value.Epoch == 0, value.Epoch, nameof(Position), "epoch 0, since several sources are mixed without end");
            Refuse.Unless(value.Index >= 0, value.Index, nameof(Position), "an index from 0");
            Array.Clear(drawn);
            for (rows = 0; rows < value.Index; rows++) drawn[NextSource()]++;
            for (int i = 0; i < samplers.Length; i++) samplers[i].Position = PositionOf(samplers[i], drawn[i]);
        }
    }

    static DataPosition PositionOf(WindowSampler sampler, long row)
    {
        long epoch = 0;
        for (long windows; row > (windows = sampler.CountWindows(epoch)); row -= windows) epoch++;
        return new DataPosition(epoch, row);
    }

    // the same sums in the same order whenever they are formed: no rounding can tell a resumed run from the first
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

    public TokenBatch Next(int count, Device? device)
    {
        if (samplers.Length == 1) return samplers[0].Next(count, device);
        var first = Position;
        var places = new (TokenDataset Data, long Start)[count];
        for (int row = 0; row < count; row++, rows++)
        {
            int source = NextSource();
            drawn[source]++;
            places[row] = (Mixture.Sources[source].Data, samplers[source].NextStart());
        }
        return WindowSampler.Read(first, places, Context, separateDocuments, device);
    }
}

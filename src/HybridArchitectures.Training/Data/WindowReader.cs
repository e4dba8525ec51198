namespace HybridArchitectures.Training.Data;

/// <summary>Reads rows that are windows of a <see cref="TokenDataset"/>, in the order of a <see cref="WindowSampler"/>.</summary>
sealed class WindowReader(TokenDataset data, WindowSampler sampler, bool separateDocuments) : TrainingReader(sampler.ContextLength)
{
    readonly long[] tokens = new long[sampler.ContextLength + 1], owners = separateDocuments ? new long[sampler.ContextLength + 1] : [];

    internal override bool FillsRows => !separateDocuments;

    public override DataPosition Position
    {
        get => sampler.Position;
        set => sampler.Position = value;
    }

    protected override DataPosition FirstPosition => sampler.Normalised(sampler.Position);

    protected override void FillNext(TrainingRow row) => Fill(row, data, sampler.NextStart(), tokens, owners, isCounted: null);

    public override void Skip(long rows)
    {
        RequireSkip(rows);
        var (epoch, index) = sampler.Position;
        index += rows;
        for (long windows; index > (windows = sampler.CountWindows(epoch)); index -= windows) epoch++;
        sampler.Position = new DataPosition(epoch, index);
    }

    /// <summary>Fills a row with a window of the data.</summary>
    /// <param name="row">The row.</param>
    /// <param name="data">The tokens.</param>
    /// <param name="start">The position of the first token of the window.</param>
    /// <param name="tokens">A buffer for the window and the token after it.</param>
    /// <param name="owners">A buffer for the same number of document numbers. Empty if documents are not kept apart.</param>
    /// <param name="isCounted">Returns whether the token after a position of the data is a target. Null means that all are.</param>
    public static void Fill(TrainingRow row, TokenDataset data, long start, Span<long> tokens, Span<long> owners, Func<long, bool>? isCounted)
    {
        int context = row.ContextLength;
        data.CopyTo(start, tokens);
        tokens[..context].CopyTo(row.Ids);
        tokens[1..].CopyTo(row.Targets);
        for (int i = 0; isCounted is not null && i < context; i++)
            if (!isCounted(start + i)) row.Targets[i] = TrainingRow.NoTarget;
        if (!owners.IsEmpty)
        {
            data.CopyDocumentsTo(start, owners);
            owners[..context].CopyTo(row.UseDocuments());
            for (int i = 0; i < context; i++)
                if (owners[i] != owners[i + 1]) row.Targets[i] = TrainingRow.NoTarget;
        }
        if (data.KnowsBytes) row.Bytes = data.CountBytes(row.Targets);
    }
}

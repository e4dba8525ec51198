namespace HybridArchitectures.Reports.Drawing;

/// <summary>
/// Draws the legend of a loss chart: one entry for each run and baseline with its final held-out loss, in as many rows as necessary.
/// </summary>
sealed class LossLegend
{
    /// <summary>Specifies the length of the line before an entry.</summary>
    public const float Sample = 26;

    const float Size = 12, Row = 20, Gap = 22, Edge = 16, Between = 8, Padding = 8;
    const float MaxShare = 0.45f;                       // fraction of the height of the picture

    readonly List<Shape> shapes = [];
    readonly float width;
    float x = Edge, y;

    LossLegend(float width) => this.width = width;

    /// <summary>Lays out the legend from height 0 downwards.</summary>
    /// <param name="frame">The runs and baselines.</param>
    /// <param name="layout">The layout of the picture. Entries that do not fit into 45 % of its height are summarized in a last entry.</param>
    public static (IReadOnlyList<Shape> Shapes, float Height) Create(LossFrame frame, LossLayout layout)
    {
        var legend = new LossLegend(layout.Width);
        var entries = Entries(frame).ToList();
        if (entries.Count == 0) return ([], 0);
        float maxHeight = Math.Max(Row, layout.Height * MaxShare - 2 * Row);
        int shown = 0;
        while (shown < entries.Count && legend.TryAdd(entries[shown].Line, entries[shown].Words, maxHeight)) shown++;
        if (shown < entries.Count) legend.Write(legend.NewRow(), [new($"and {Figures.Full(entries.Count - shown)} more", Inks.Soft)]);
        var caption = "line: training loss, smoothed · dots: held-out loss · numbers: final held-out loss";
        legend.Write(legend.NewRow(), legend.Fit([new(caption, Inks.Soft)], Edge));
        return (legend.shapes, legend.y + Row / 2 + Padding);
    }

    static IEnumerable<(RunLook? Line, List<Shape.Words> Words)> Entries(LossFrame frame)
    {
        for (int i = 0; i < frame.Runs.Count; i++)
        {
            List<Shape.Words> words = [new(frame.Runs[i].Name, Inks.Text)];
            if (frame.Runs[i].Final is { } final) words.Add(new(Figures.Loss(final), Inks.Text, Bold: true));
            yield return (RunLook.At(i), words);
        }
        foreach (var baseline in frame.Baselines)
        {
            List<Shape.Words> words = [new(baseline.Name, Inks.Soft), new(Figures.Loss(baseline.HeldOutLoss), Inks.Soft, Bold: true)];
            if (!frame.Shows(baseline)) words.Add(new(frame.NoteOutside(baseline), Inks.Soft));
            yield return (null, words);
        }
    }

    bool TryAdd(RunLook? line, List<Shape.Words> words, float maxHeight)
    {
        words = Fit(words, Edge + Sample + Between);
        float length = Sample + Between + Shape.Sentence.Measure(words, Size);
        if (y == 0) y = Row / 2;
        if (x > Edge && x + length > width - Edge)
        {
            if (y + Row * 1.5f > maxHeight) return false;
            NewRow();
        }
        shapes.Add(line is null ? new Shape.Segment(x, y, x + Sample, y, Inks.Soft, 1.2f, Dash: LossPicture.BaselineDash)
            : new Shape.Segment(x, y, x + Sample, y, line.Ink, 2.5f, Dash: line.Dash));
        Write(x + Sample + Between, words);
        x += length + Gap;
        return true;
    }

    float NewRow()
    {
        (x, y) = (Edge, y + Row);
        return x;
    }

    void Write(float at, List<Shape.Words> words) => shapes.Add(new Shape.Sentence(at, y, Size, words));

    // shortens the first part until the line fits
    List<Shape.Words> Fit(List<Shape.Words> words, float from)
    {
        var name = words[0].Content;
        while (name.Length > 1 && Shape.Sentence.Measure(words, Size) > width - Edge - from)
        {
            name = name[..^1];
            words = [words[0] with { Content = name.TrimEnd() + "…" }, .. words.Skip(1)];
        }
        return words;
    }
}
